"""The fan-out job on one partition: in order, durable, and nobody held up by another (design, sections 6 and 8)."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

import consumers.fanout
import consumers.telling.serving
from consumers.client import Answer, Fault
from consumers.fanout import FanoutPartition
from consumers.telling.callees import Callee
from notifier import deliveries
from notifier.clock import SystemClock
from notifier.config import Endpoint
from notifier.deliveries.delivery import DeliveryRecord, Outcome
from notifier.kafka.group import Source
from notifier.ports import ViewRead
from notifier.record import Record
from tests.merchants import FAILED, WAIT_S, Merchants, endpoint, fanout_job, meet
from tests.owners import TOPICS, Owner, P, World, notification, orders_owner, spin
from tests.virtual import in_virtual_time

ORDERS = Source(TOPICS.orders, P)

Opened = Callable[..., Awaitable[Owner]]
Published = Callable[..., Awaitable[None]]


@pytest.fixture
async def merchants() -> Merchants:
    return Merchants()


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def opened(world: World, merchants: Merchants) -> AsyncIterator[Opened]:
    """Opens owners of the orders log's partition, and ends them with the test."""
    owners: list[Owner] = []

    async def opening(*endpoints: Endpoint, **settings: Any) -> Owner:
        meet(world, *(one.name for one in endpoints or (endpoint("oms"),)))
        job = fanout_job(world, merchants, *endpoints, clock=SystemClock(), **settings)
        owners.append(await Owner(world, job.work(P), TOPICS.orders).start())
        return owners[-1]

    yield opening
    for owner in owners:
        await owner.crash()


@pytest.fixture
async def published(world: World) -> AsyncIterator[Published]:
    """Puts events into the orders log, as the orders job makes them of evidence."""
    owner = await orders_owner(world)

    async def publishing(*orders: str, statuses: tuple[str, ...] = ("TRADE_SUCCESS",)) -> None:
        await world.receive(*(notification(order, status) for status in statuses for order in orders))
        await owner.work_off()

    yield publishing
    await owner.crash()


LIFE = ("WAIT_BUYER_PAY", "TRADE_SUCCESS", "TRADE_FINISHED")


def recorded(world: World) -> list[DeliveryRecord]:
    found = (deliveries.delivery_in(stored.record) for stored in world.logs.records(TOPICS.deliveries, P))
    return [one for one in found if one is not None]


async def until_recorded(world: World, holds: Callable[[list[DeliveryRecord]], bool]) -> None:
    """Return when something holds of the deliveries log."""
    async with asyncio.timeout(WAIT_S):
        while not holds(recorded(world)):
            world.logs.landed.clear()
            await world.logs.landed.wait()


async def test_each_event_reaches_each_endpoint_that_wants_it_in_version_order(
    opened: Opened, published: Published, merchants: Merchants, world: World
) -> None:
    """S7 and S8."""
    owner = await opened(endpoint("oms"), endpoint("erp", events=("order.paid",)), endpoint("far", channels=("other",)))
    await published("T1", "T2", statuses=LIFE)

    await owner.work_off()

    for order in ("T1", "T2"):
        assert merchants.versions("oms", order) == [1, 2, 3]
        assert merchants.versions("erp", order) == [2]
        assert merchants.versions("far", order) == []
    assert {one.outcome for one in recorded(world)} == {Outcome.ACCEPTED}


async def test_an_event_is_done_only_when_its_deliveries_are_recorded(
    opened: Opened, published: Published, merchants: Merchants, world: World
) -> None:
    """S9: a POST under way is not done."""
    merchants.gates["oms"] = asyncio.Event()
    owner = await opened()
    await published("T1")

    await owner.fetch()
    await merchants.until(lambda: merchants.versions("oms", "T1") == [1])
    await spin()
    assert owner.feed.done_upto[ORDERS] == 0
    assert recorded(world) == []

    merchants.gates["oms"].set()
    await until_recorded(world, lambda found: len(found) == 1)


async def test_a_failed_delivery_is_durable_with_its_time_and_tried_again_under_the_same_id(
    opened: Opened, published: Published, merchants: Merchants, world: World
) -> None:
    merchants.answers["oms"] += [FAILED, FAILED]
    owner = await opened()
    await published("T1")

    await owner.work_off()
    (failed,) = recorded(world)
    assert (failed.outcome, failed.attempt, failed.status_code) == (Outcome.FAILED, 1, 500)
    assert failed.next_attempt_at is not None
    await until_recorded(world, lambda found: found[-1].outcome is Outcome.ACCEPTED)

    assert [one.attempt for one in recorded(world)] == [1, 2, 3]
    assert len({(one.webhook_id, one.body) for one in merchants.told}) == 1


async def test_a_failing_lane_holds_back_itself_and_nothing_else(
    opened: Opened, published: Published, merchants: Merchants, world: World
) -> None:
    merchants.answers["oms/T1"] += [FAILED, FAILED]
    owner = await opened()
    await published("T1", "T2", statuses=LIFE)

    await owner.work_off()
    assert merchants.versions("oms", "T2") == [1, 2, 3]
    assert merchants.versions("oms", "T1") == [1]

    await merchants.until(lambda: 3 in merchants.versions("oms", "T1"))
    assert merchants.versions("oms", "T1") == [1, 1, 1, 2, 3], "no version overtakes another"


async def test_an_event_that_comes_while_a_failure_is_being_recorded_is_not_lost(
    opened: Opened, published: Published, merchants: Merchants, world: World
) -> None:
    """It was added to a lane that was about to end, and went with it: `order.paid` was never told, and nothing said so."""
    record, append = asyncio.Event(), world.logs.append

    async def slow(topic: str, partition: int, records: Sequence[Record]) -> list[int]:
        if topic == TOPICS.deliveries:
            await record.wait()
        return await append(topic, partition, records)

    world.logs.append = slow  # type: ignore[method-assign] # the delay of this test
    merchants.answers["oms"] += [FAILED]
    owner = await opened()
    await published("T1", statuses=LIFE[:1])
    await owner.fetch()
    await merchants.until(lambda: merchants.versions("oms", "T1") == [1])
    await spin()

    await published("T1", statuses=LIFE[1:])
    await owner.fetch()
    await spin()
    record.set()

    await merchants.until(lambda: 3 in merchants.versions("oms", "T1"))
    assert merchants.versions("oms", "T1") == [1, 1, 2, 3]


async def test_a_view_read_before_a_failure_was_recorded_lets_no_version_overtake(
    opened: Opened, published: Published, merchants: Merchants, world: World
) -> None:
    """Between the read and what follows from it the lane ended: what was read knew nothing that waits."""
    merchants.answers["oms"] += [FAILED]
    merchants.gates["oms"] = asyncio.Event()
    owner = await opened(first_retry_s=0.5, retry_s_max=0.5)
    await published("T1", statuses=LIFE[:1])
    await owner.fetch()
    await merchants.until(lambda: merchants.versions("oms", "T1") == [1])
    await published("T1", statuses=LIFE[1:])
    read, go_on = world.views.read, asyncio.Event()
    held = False

    async def stale(topic: str, partition: int, keys: Sequence[bytes]) -> ViewRead:
        nonlocal held
        found = await read(topic, partition, keys)
        if topic == TOPICS.deliveries and keys and not held:
            held = True
            await go_on.wait()
        return found

    world.views.read = stale  # type: ignore[method-assign] # the delay of this test
    await owner.fetch()
    await spin(lambda: held)
    merchants.gates["oms"].set()
    await until_recorded(world, lambda found: len(found) == 1)
    await spin()
    go_on.set()

    await merchants.until(lambda: 3 in merchants.versions("oms", "T1"))
    assert merchants.versions("oms", "T1") == [1, 1, 2, 3]


async def test_no_version_overtakes_one_that_is_being_written_down(
    opened: Opened, published: Published, merchants: Merchants, world: World
) -> None:
    """
    Version 2 was on its way into the log, behind a failed 1, when 1 was tried again: 3 joined that lane and was told before 2,
    which then counted as told.
    """
    record, append = asyncio.Event(), world.logs.append
    record.set()

    async def slow(topic: str, partition: int, records: Sequence[Record]) -> list[int]:
        if topic == TOPICS.deliveries:
            await record.wait()
        return await append(topic, partition, records)

    world.logs.append = slow  # type: ignore[method-assign] # the delay of this test
    merchants.answers["oms/T1"] += [FAILED]
    merchants.answers["oms/T2"] += [FAILED]
    owner = await opened(first_retry_s=0.2, retry_s_max=0.2)
    await published("T1", "T2", statuses=LIFE[:1])
    await owner.work_off()
    record.clear()

    await published("T1", statuses=LIFE[1:2])
    await owner.fetch()
    await merchants.until(lambda: merchants.versions("oms", "T2") == [1, 1])  # the time of T1's retry has come as well
    await published("T1", statuses=LIFE[2:])
    await owner.fetch()
    await spin()
    record.set()

    await merchants.until(lambda: 3 in merchants.versions("oms", "T1"))
    assert merchants.versions("oms", "T1") == [1, 1, 2, 3]


@in_virtual_time
async def test_what_is_being_written_down_is_not_overtaken_when_its_lane_has_ended() -> None:
    """Parked while the record of version 1 was slow, the lane ended with that; 3 came before the log knew that 2 waits."""
    world, merchants = World(), Merchants()
    append, appends = world.logs.append, [asyncio.Event(), asyncio.Event()]
    gates = list(appends)

    async def slow(topic: str, partition: int, records: Sequence[Record]) -> list[int]:
        if topic == TOPICS.deliveries and gates:
            await gates.pop(0).wait()
        return await append(topic, partition, records)

    meet(world, "oms")
    orders = await orders_owner(world)
    owner = await Owner(world, fanout_job(world, merchants, clock=SystemClock()).work(P), TOPICS.orders).start()
    world.logs.append = slow  # type: ignore[method-assign] # the delay of this test
    await world.receive(*(notification("T1", status) for status in LIFE[:2]))
    await orders.work_off()
    await owner.fetch()
    await merchants.until(lambda: merchants.versions("oms", "T1") == [1])
    await asyncio.sleep(2 * consumers.telling.serving.PARK_AFTER_S)
    appends[0].set()
    await until_recorded(world, lambda found: len(found) == 1)
    await spin()

    await world.receive(notification("T1", LIFE[2]))
    await orders.work_off()
    await owner.fetch()
    await spin()
    appends[1].set()

    await merchants.until(lambda: 3 in merchants.versions("oms", "T1"))
    assert merchants.versions("oms", "T1") == [1, 2, 3]
    await owner.crash()
    await orders.crash()


async def test_what_another_owner_wrote_down_is_told_in_its_place(
    opened: Opened, published: Published, merchants: Merchants, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Version 2 was known to wait, so this owner passed over it; 3 joined the lane that it still served, and 2 was never told."""
    monkeypatch.setattr(consumers.telling.serving, "PARK_AFTER_S", 0.05)
    merchants.gates["oms"] = asyncio.Event()
    owner, other = await opened(), await opened()
    await published("T1", statuses=LIFE)
    await owner.fetch(1)
    await merchants.until(lambda: merchants.versions("oms", "T1") == [1])
    await other.fetch(2)
    await until_recorded(world, lambda found: any(len(one.lane.waiting) == 2 for one in found))
    await other.crash()
    await (await opened()).crash()  # whoever opens brings the view up to the log's end

    await owner.fetch(1)
    await spin()
    await owner.fetch(1)
    await spin()
    merchants.gates["oms"].set()

    await merchants.until(lambda: 3 in merchants.versions("oms", "T1"))
    assert list(dict.fromkeys(merchants.versions("oms", "T1"))) == [1, 2, 3]


async def test_what_waits_survives_a_crash_and_keeps_its_order(
    opened: Opened, published: Published, merchants: Merchants, world: World
) -> None:
    merchants.answers["oms"] += [FAILED]
    first = await opened(first_retry_s=0.2, retry_s_max=0.2)
    await published("T1", statuses=LIFE[:2])
    await first.work_off()
    first.commit()
    await first.crash()

    await opened()
    await published("T1", statuses=LIFE[2:])
    second = await opened()
    await second.work_off()

    await merchants.until(lambda: 3 in merchants.versions("oms", "T1"))
    first_seen = list(dict.fromkeys(merchants.versions("oms", "T1")))
    assert first_seen == [1, 2, 3]


@pytest.mark.parametrize("lost", ["flushed", "an old copy"])
async def test_what_waits_survives_a_loss_of_redis(
    opened: Opened, published: Published, merchants: Merchants, world: World, lost: str
) -> None:
    """S10: the due index comes back with the view."""
    backup = world.views.save()
    merchants.answers["oms"] += [FAILED]
    first = await opened(first_retry_s=0.2, retry_s_max=0.2)
    await published("T1", statuses=LIFE[:2])
    await first.work_off()
    first.commit()
    await first.crash()

    world.views.restore(backup) if lost == "an old copy" else world.views.flush()
    await opened()

    await merchants.until(lambda: 2 in merchants.versions("oms", "T1"))
    assert merchants.versions("oms", "T1") == [1, 1, 2]


async def test_a_slow_endpoint_never_holds_the_watermark(
    opened: Opened, published: Published, merchants: Merchants, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers.telling.serving, "PARK_AFTER_S", 0.05)
    merchants.gates["oms"] = asyncio.Event()
    owner = await opened(endpoint("oms", concurrency=1), endpoint("erp"))
    await published("T1", "T2")

    await owner.fetch()
    await until_recorded(world, lambda found: sum(one.endpoint == "oms" for one in found) == 2)

    waiting = [one for one in recorded(world) if one.endpoint == "oms"]
    assert {one.outcome for one in waiting} == {Outcome.WAITING}
    assert all(one.next_attempt_at is not None for one in waiting)
    await spin(lambda: owner.feed.done_upto[ORDERS] == 2)
    await published("T3")
    await owner.fetch()
    await merchants.until(lambda: merchants.versions("erp", "T3") == [1])
    merchants.gates["oms"].set()
    await merchants.until(lambda: merchants.versions("oms", "T2") == [1] and merchants.versions("oms", "T1") == [1])


async def test_what_is_given_up_is_a_dead_letter_and_its_lane_goes_on(
    opened: Opened, published: Published, merchants: Merchants, world: World
) -> None:
    merchants.answers["oms/T1"] += [FAILED] * 3
    owner = await opened(give_up_after_s=0.12)
    await published("T1", statuses=LIFE[:2])

    await owner.work_off()
    await merchants.until(lambda: 2 in merchants.versions("oms", "T1"))

    (dead,) = [one for one in recorded(world) if one.outcome is Outcome.DEAD]
    assert dead.version == 1
    assert [ref.version for ref in dead.lane.dead] == [1]


async def test_an_event_that_lies_twice_in_its_log_is_told_once(
    opened: Opened, published: Published, merchants: Merchants, world: World
) -> None:
    owner = await opened()
    await published("T1")
    (stored,) = world.logs.records(TOPICS.orders, P)
    await owner.work_off()

    await world.logs.append(TOPICS.orders, P, [stored.record])
    await owner.work_off()

    assert merchants.versions("oms", "T1") == [1]


async def test_a_retry_of_what_was_compacted_away_is_skipped_and_says_so(
    opened: Opened, published: Published, merchants: Merchants, world: World
) -> None:
    merchants.answers["oms"] += [FAILED]
    owner = await opened(first_retry_s=0.2, retry_s_max=0.2)
    await published("T1", statuses=LIFE[:1])
    await owner.work_off()
    await published("T1", statuses=LIFE[1:2])
    await owner.work_off()

    world.logs.compact(TOPICS.orders, P)
    await merchants.until(lambda: 2 in merchants.versions("oms", "T1"))

    assert merchants.versions("oms", "T1") == [1, 2]
    assert [one.version for one in recorded(world) if one.outcome is Outcome.SKIPPED] == [1]


async def test_an_endpoint_that_only_fails_is_suspended_and_probed_one_at_a_time(
    opened: Opened, published: Published, merchants: Merchants, world: World
) -> None:
    merchants.answers["oms"] += [FAILED] * 40
    owner = await opened(suspend_after_s=0.05)
    await published(*(f"T{number}" for number in range(20)))
    await owner.work_off()
    await merchants.until(lambda: len(merchants.told) >= 24)
    merchants.most_at_once = 0
    merchants.gates["oms"] = asyncio.Event()
    told = len(merchants.told)
    await merchants.until(lambda: len(merchants.told) == told + 1)

    written = len(recorded(world))
    await spin()

    assert len(merchants.told) == told + 1, "one probe is out, and no other"
    assert len(recorded(world)) - written <= 20, "and nothing is written down again and again meanwhile"
    merchants.answers["oms"].clear()
    merchants.gates["oms"].set()
    await until_recorded(world, lambda found: sum(one.outcome is Outcome.ACCEPTED for one in found) == 20)


async def test_an_endpoint_is_called_as_often_at_once_as_it_may_be(
    opened: Opened, published: Published, merchants: Merchants
) -> None:
    merchants.gates["oms"] = asyncio.Event()
    owner = await opened(endpoint("oms", concurrency=3))
    await published(*(f"T{number}" for number in range(10)))

    await owner.fetch()
    await merchants.until(lambda: len(merchants.told) == 3)
    await spin()
    assert len(merchants.told) == 3

    merchants.gates["oms"].set()
    await merchants.until(lambda: len(merchants.told) == 10)
    assert merchants.most_at_once == 3


async def test_what_is_held_in_memory_is_bounded(
    opened: Opened, published: Published, merchants: Merchants, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many endpoints want however many events: what is beyond stays in the log."""
    monkeypatch.setattr(consumers.fanout, "DELIVERIES_IN_MEMORY_MAX", 40)
    monkeypatch.setattr(consumers.fanout, "DELIVERIES_AT_ONCE", 20)
    names = [f"oms-{number}" for number in range(5)]
    for name in names:
        merchants.gates[name] = asyncio.Event()
    owner = await opened(*(endpoint(name, concurrency=1) for name in names))
    await published(*(f"T{number}" for number in range(60)))

    await owner.fetch()
    await merchants.until(lambda: len(merchants.told) == 5)
    await spin()

    assert 0 < owner.work.in_flight <= 60


async def test_what_becomes_due_while_redis_is_asked_is_not_forgotten(
    opened: Opened, published: Published, merchants: Merchants, world: World
) -> None:
    """It waited for the next look, up to a minute."""
    merchants.answers["oms/T1"] += [FAILED]
    merchants.answers["oms/T2"] += [FAILED]
    owner = await opened(first_retry_s=0.2, retry_s_max=0.2)
    ask, asked, go_on = world.views.due, asyncio.Event(), asyncio.Event()

    async def slow(
        topic: str, partition: int, group: str, *, until_ms: int | None, limit: int, from_ms: int = 0
    ) -> list[tuple[bytes, int]]:
        found = await ask(topic, partition, group, until_ms=until_ms, limit=limit, from_ms=from_ms)
        if not asked.is_set():
            asked.set()
            await go_on.wait()
        return found

    await published("T1", statuses=LIFE[:1])
    await owner.work_off()
    world.views.due = slow  # type: ignore[method-assign] # the delay of this test
    async with asyncio.timeout(WAIT_S):
        await asked.wait()
    await published("T2", statuses=LIFE[:1])
    await owner.work_off()

    go_on.set()

    await merchants.until(lambda: merchants.versions("oms", "T2") == [1, 1])


async def test_what_lost_its_turn_to_another_partition_comes_back_when_there_is_room(
    opened: Opened, published: Published, merchants: Merchants, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was put off for the pause of an endpoint that failed, and waited for its end though the endpoint accepted again."""
    merchants.answers["oms/T1"] += [FAILED]
    owner = await opened()
    job = owner.work
    assert isinstance(job, FanoutPartition)
    callee = job._job.callees.by_name["oms"]
    slot, turns = callee.slot, iter((True, False))

    @asynccontextmanager
    async def contested() -> AsyncIterator[bool]:
        if not next(turns, True):
            yield False
            return
        async with slot() as is_free:
            yield is_free

    monkeypatch.setattr(callee, "slot", contested)
    monkeypatch.setattr(Callee, "ready_in_s", 60.0)
    await published("T1")
    await owner.work_off()

    await merchants.until(lambda: merchants.versions("oms", "T1") == [1, 1])


async def test_stopping_begins_nothing(
    opened: Opened, published: Published, merchants: Merchants, world: World
) -> None:
    """Else the next version is told, cut off, and told again by the next owner, at every stop and every rebalance."""
    merchants.gates["oms"] = asyncio.Event()
    owner = await opened()
    await published("T1", statuses=LIFE)
    await owner.fetch()
    await merchants.until(lambda: merchants.versions("oms", "T1") == [1])

    stopping = asyncio.get_running_loop().create_task(owner.stop())
    await asyncio.sleep(0)
    merchants.gates["oms"].set()
    await stopping

    assert merchants.versions("oms", "T1") == [1]
    assert [(one.version, one.outcome) for one in recorded(world)] == [(1, Outcome.ACCEPTED)]


async def test_a_lane_of_a_later_release_is_left_alone_uncommitted(
    opened: Opened, published: Published, merchants: Merchants, world: World
) -> None:
    owner = await opened()
    await published("T1", statuses=LIFE[:1])
    await owner.work_off()
    *_, stored = world.logs.records(TOPICS.deliveries, P)
    newer = stored.record._replace(value=stored.record.value.replace(b'"state_version":1', b'"state_version":2'))
    await world.logs.append(TOPICS.deliveries, P, [newer])
    world.views.flush()

    await published("T1", statuses=LIFE[1:])
    await owner.fetch()
    await spin()

    assert owner.feed.done_upto[ORDERS] == 1
    assert merchants.versions("oms", "T1") == [1]
    await owner.stop()


async def test_a_wish_to_be_left_alone_is_honoured(
    opened: Opened, published: Published, merchants: Merchants, world: World
) -> None:
    merchants.answers["oms"] += [Answer(503, None, 1.0, retry_after="120")]
    owner = await opened()
    await published("T1")

    await owner.work_off()

    (failed,) = recorded(world)
    assert failed.next_attempt_at is not None
    seconds = (failed.next_attempt_at - SystemClock().now()).total_seconds()
    assert 100 < seconds <= 120


async def test_a_time_out_is_a_failure_with_its_word(
    opened: Opened, published: Published, merchants: Merchants, world: World
) -> None:
    merchants.answers["oms"] += [Answer(None, Fault.TIMEOUT, 5000.0)]
    owner = await opened(first_retry_s=3600.0, retry_s_max=3600.0)
    await published("T1")

    await owner.work_off()

    (failed,) = recorded(world)
    assert (failed.status_code, failed.error, failed.duration_ms) == (None, "timeout", 5000.0)


async def test_stopping_lets_the_attempts_in_flight_end(
    opened: Opened, published: Published, merchants: Merchants, world: World
) -> None:
    merchants.gates["oms"] = asyncio.Event()
    owner = await opened()
    await published("T1")
    await owner.fetch()
    await merchants.until(lambda: merchants.versions("oms", "T1") == [1])

    stopping = asyncio.get_running_loop().create_task(owner.stop())
    await asyncio.sleep(0)
    merchants.gates["oms"].set()
    await stopping

    assert [one.outcome for one in recorded(world)] == [Outcome.ACCEPTED]
    assert world.commits[ORDERS].offset == 1
