"""Fan-out on one partition: where an endpoint begins, when it is left alone, and what an operator says (design, section 6)."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest

import consumers.fanout
import consumers.telling.reading_back
import consumers.telling.serving
import consumers.telling.taking_up
import consumers.telling.upkeep
from consumers.client import Answer
from consumers.fanout import FanoutPartition
from consumers.partition import Batch
from consumers.telling.gauges import show_endpoints
from notifier import deliveries, logs, metrics
from notifier.config import Endpoint
from notifier.deliveries import command, endpoint_state, position
from notifier.deliveries.command import Command, Wanted
from notifier.deliveries.delivery import DeliveryRecord, Outcome
from notifier.deliveries.endpoint_state import EndpointState, State, Why
from notifier.kafka.group import Source
from notifier.record import Record
from tests.merchants import FAILED, WAIT_S, Merchants, endpoint, fanout_job
from tests.owners import NOON, TOPICS, Owner, P, World, later, notification, orders_owner, spin

ORDERS, COMMANDS = Source(TOPICS.orders, P), Source(TOPICS.commands, P)
GONE = Answer(410, None, 1.0)
LIFE = ("WAIT_BUYER_PAY", "TRADE_SUCCESS", "TRADE_FINISHED")

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
    """Opens owners of the orders log's partition, each as a new process has it, and ends them with the test."""
    owners: list[Owner] = []

    async def opening(*endpoints: Endpoint, **settings: Any) -> Owner:
        job = fanout_job(world, merchants, *endpoints, **settings)
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


@pytest.fixture
def always_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    """The minute between two looks is over at once, and so is the second between two readings for who is behind."""
    monkeypatch.setattr(consumers.telling.upkeep, "LOOK_EVERY_S", 0.0)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumers.telling.reading_back, "PAUSE_S", 0.0)


def recorded(world: World) -> list[DeliveryRecord]:
    found = (deliveries.delivery_in(stored.record) for stored in world.logs.records(TOPICS.deliveries, P))
    return [one for one in found if one is not None]


def state_of(world: World, name: str = "oms") -> EndpointState:
    """What the log says of an endpoint."""
    found = [one.record for one in world.logs.records(TOPICS.deliveries, P) if one.record.key == name.encode()]
    return endpoint_state.from_record(found[-1])


def places(world: World) -> list[tuple[int, int]]:
    """Where fan-out was in its two inputs, each time it wrote that down."""
    found = [one.record for one in world.logs.records(TOPICS.deliveries, P) if one.record.key == position.KEY]
    return [(at.orders, at.commands) for at in map(position.from_record, found)]


async def until(world: World, holds: Callable[[], bool]) -> None:
    """Return when something holds, looked at whenever a record lands."""
    async with asyncio.timeout(WAIT_S):
        while not holds():
            world.logs.landed.clear()
            await world.logs.landed.wait()


async def said(world: World, owner: Owner, *words: Command) -> None:
    """Give an operator's word, and wait until it is obeyed."""
    await world.logs.append(TOPICS.commands, P, [command.to_record(word) for word in words])
    await read_commands(world, owner)


async def read_commands(world: World, owner: Owner, first: int = 0) -> None:
    """Let an owner read the commands topic from an offset on."""
    records = [one for one in world.logs.records(TOPICS.commands, P) if one.offset >= first]
    owner.feed.put(Batch(TOPICS.commands, records))
    await spin(lambda: owner.feed.done_upto.get(COMMANDS, 0) == records[-1].offset + 1)


def word(what: Any, *wanted: Wanted) -> Command:
    return Command(what, "oms", NOON, by="li", deliveries=wanted)


def once_more(world: World, version: int = 1, order: str = "T1") -> Wanted:
    """A delivery, as an operator names it."""
    one = next(one for one in recorded(world) if (one.order, one.version) == (order, version))
    return Wanted(one.channel, one.order, one.version, one.event_offset, one.event_id)


# Where to begin


async def test_without_a_commit_fan_out_goes_on_from_its_own_position(
    opened: Opened, published: Published, merchants: Merchants, world: World, always_looking: None
) -> None:
    """Kafka forgets what a group has committed when it was idle for a week; T1 lies further back than 72 h by then."""
    owner = await opened()
    await published("T1")
    await owner.work_off()
    await until(world, lambda: world.logs.records(TOPICS.deliveries, P)[-1].record.key == position.KEY)
    await owner.crash()
    await published("T2")
    world.clock.at += later(days=8)

    second = await opened()
    await second.work_off()

    assert merchants.versions("oms", "T1") == [1]
    assert merchants.versions("oms", "T2") == [1]


async def test_who_was_never_seen_begins_with_what_comes(
    opened: Opened, published: Published, merchants: Merchants, world: World
) -> None:
    first = await opened(endpoint("oms"))
    await published("T1")
    await first.work_off()
    await first.stop()

    second = await opened(endpoint("oms"), endpoint("erp"))
    await published("T2")
    await second.work_off()

    assert merchants.versions("erp", "T1") == []
    assert merchants.versions("erp", "T2") == [1]
    assert (state_of(world, "erp").start, state_of(world, "erp").reason) == (1, Why.FIRST_MET)


async def test_who_asks_for_it_hears_everything_from_the_earliest_in_order(
    opened: Opened, published: Published, merchants: Merchants, world: World
) -> None:
    """What is read for it beside the others, and what comes meanwhile with them, are one lane: 3 never goes before 1 and 2."""
    first = await opened(endpoint("oms"))
    await published("T1", "T2", statuses=LIFE[:2])
    await first.work_off()
    await first.stop()

    second = await opened(endpoint("oms"), endpoint("erp", start="earliest"))
    await published("T1", "T2", statuses=LIFE[2:])
    await second.work_off()

    await merchants.until(lambda: len([one for one in merchants.told if one.endpoint == "erp"]) == 6)
    assert merchants.versions("erp", "T1") == merchants.versions("erp", "T2") == [1, 2, 3]
    assert merchants.versions("oms", "T1") == [1, 2, 3]
    await until(world, lambda: state_of(world, "erp").behind is None)


async def test_reading_for_who_is_behind_goes_on_where_it_was_after_a_crash(
    opened: Opened, published: Published, merchants: Merchants, world: World
) -> None:
    first = await opened(endpoint("oms"))
    await published(*(f"T{number}" for number in range(9)))
    await first.work_off()
    await first.stop()
    second = await opened(endpoint("oms"), endpoint("erp", start="earliest"))
    await until(world, lambda: (state_of(world, "erp").behind or 0) >= 3)
    await second.crash()

    third = await opened(endpoint("oms"), endpoint("erp", start="earliest"))
    await third.work_off()

    await until(world, lambda: state_of(world, "erp").behind is None)
    await merchants.until(lambda: len({one.order for one in merchants.told if one.endpoint == "erp"}) == 9)


# Left alone


async def test_a_suspended_endpoint_is_sent_nothing_and_hears_all_of_it_when_it_is_resumed(
    opened: Opened, published: Published, merchants: Merchants, world: World
) -> None:
    owner = await opened()
    await published("T1", statuses=LIFE[:1])
    await owner.work_off()
    await said(world, owner, word("suspend"))
    await published("T1", statuses=LIFE[1:])
    await owner.work_off()
    await spin()
    assert merchants.versions("oms", "T1") == [1]
    assert owner.work.waiting == 1

    await world.logs.append(TOPICS.commands, P, [command.to_record(word("resume"))])
    await read_commands(world, owner, first=1)

    await merchants.until(lambda: merchants.versions("oms", "T1") == [1, 2, 3])
    assert (state_of(world).state, state_of(world).reason) == (State.ACTIVE, Why.OPERATOR)


async def test_an_operators_word_outlives_the_process(
    opened: Opened, published: Published, merchants: Merchants, world: World
) -> None:
    owner = await opened()
    await said(world, owner, word("suspend"))
    await owner.crash()

    second = await opened()
    await published("T1")
    await second.work_off()
    await spin()

    assert merchants.told == []


async def test_a_command_that_is_read_again_does_nothing(
    opened: Opened, published: Published, merchants: Merchants, world: World
) -> None:
    """It was obeyed and not committed: read again after a later one, it would suspend who was resumed."""
    owner = await opened()
    await said(world, owner, word("suspend"), word("resume"))
    before = state_of(world)

    await read_commands(world, owner)
    await published("T1")
    await owner.work_off()

    assert state_of(world) == before
    assert merchants.versions("oms", "T1") == [1]


async def test_a_command_that_nobody_here_wrote_holds_nothing_up(
    opened: Opened, published: Published, merchants: Merchants, world: World
) -> None:
    owner = await opened()
    await world.logs.append(TOPICS.commands, P, [Record(b"oms", b'{"state_version": 1}', ())])
    await said(world, owner, word("suspend"))

    assert state_of(world).state is State.SUSPENDED


async def test_who_answers_410_is_left_alone_until_it_is_resumed(
    opened: Opened, published: Published, merchants: Merchants, world: World
) -> None:
    """Not even a probe, and not by the next process either."""
    merchants.answers["oms"] += [GONE]
    owner = await opened()
    await published("T1")
    await owner.work_off()
    await until(world, lambda: state_of(world).reason is Why.GONE)
    await published("T2")
    await owner.work_off()
    await owner.stop()
    world.clock.at += later(days=2)
    second = await opened()
    await spin()
    assert len(merchants.told) == 1

    await said(world, second, word("resume"))

    await merchants.until(lambda: merchants.versions("oms", "T2") == [1] and merchants.versions("oms", "T1") == [1, 1])


async def test_the_metrics_say_who_is_suspended_and_what_waits(
    opened: Opened, published: Published, merchants: Merchants, world: World
) -> None:
    """Asked at each scrape: of what this process owns, as it is then."""
    merchants.answers["oms"] += [GONE]
    job = fanout_job(world, merchants)
    show_endpoints(job)
    owner = await Owner(world, job.work(P), TOPICS.orders).start()
    await published("T1")
    await owner.work_off()
    await until(world, lambda: state_of(world).reason is Why.GONE)
    await published("T2")
    await owner.work_off()

    shown = _shown("oms")
    await owner.stop()

    assert shown == {"notifier_endpoint_suspended": 1, "notifier_endpoint_waiting": 2}
    assert _shown("oms") == {"notifier_endpoint_suspended": 0, "notifier_endpoint_waiting": 0}, "it owns nothing now"


def _shown(name: str) -> dict[str, float]:
    samples = [one for family in metrics.REGISTRY.collect() for one in family.samples]
    return {
        one.name: one.value
        for one in samples
        if one.name.startswith("notifier_endpoint_") and one.labels["endpoint"] == name
    }


async def test_what_got_a_410_is_ready_when_its_endpoint_is_resumed(
    opened: Opened, published: Published, merchants: Merchants, world: World
) -> None:
    """It waited for the end of its own retry, an hour at worst, after an operator had said that all is well."""
    merchants.answers["oms"] += [Answer(410, None, 1.0, "3600")]
    owner = await opened(first_retry_s=0.05)
    await published("T1")
    await owner.work_off()

    (told,) = recorded(world)
    assert told.next_attempt_at is not None
    assert told.next_attempt_at <= NOON + timedelta(seconds=0.05)


@pytest.mark.parametrize(
    ("answer", "is_tried_again"),
    [
        pytest.param(FAILED, True, id="it failed: when it is tried again"),
        pytest.param(GONE, False, id="it is gone: not until an operator says so"),
    ],
)
async def test_the_line_of_an_attempt_says_when_the_next_one_is_if_there_is_one(
    answer: Answer, is_tried_again: bool, *, opened: Opened, published: Published, merchants: Merchants, world: World
) -> None:
    """After a 410 it promised one within seconds, to an endpoint that nobody calls until an operator resumes it."""
    written = io.BytesIO()
    logs.configure(service="fanout", instance="test", out=written)
    merchants.answers["oms"] += [answer]
    owner = await opened()
    await published("T1")
    await owner.work_off()

    await until(world, lambda: b'"delivery.attempted"' in written.getvalue())

    (attempted,) = [one for one in map(json.loads, written.getvalue().splitlines()) if "retry_in_s" in one]
    assert (attempted["retry_in_s"] is not None) == is_tried_again


async def test_who_answered_410_elsewhere_is_not_called_for_its_first_event_here_either(
    opened: Opened, published: Published, merchants: Merchants, world: World
) -> None:
    """A partition in which an endpoint was never met called it once more: 24 partitions, 24 calls."""
    owner = await opened()
    assert isinstance(owner.work, FanoutPartition)

    owner.work._on_gone("oms")  # as another partition of the process tells it
    await until(world, lambda: b"oms" in [one.record.key for one in world.logs.records(TOPICS.deliveries, P)])
    await published("T1")
    await owner.work_off()

    await until(world, lambda: [one.outcome for one in recorded(world)] == [Outcome.WAITING])
    assert merchants.told == []


async def test_no_deliverys_time_runs_while_its_endpoint_is_left_alone(
    opened: Opened, published: Published, merchants: Merchants, world: World
) -> None:
    merchants.answers["oms"] += [FAILED, FAILED]
    owner = await opened(give_up_after_s=3600.0)
    await published("T1")
    await owner.work_off()
    await said(world, owner, word("suspend"))
    world.clock.at += later(days=7)

    await world.logs.append(TOPICS.commands, P, [command.to_record(word("resume"))])
    await read_commands(world, owner, first=1)
    await merchants.until(lambda: len(merchants.told) == 2)
    await until(world, lambda: recorded(world)[-1].attempt == 2)

    assert recorded(world)[-1].outcome is Outcome.FAILED


async def test_who_failed_for_long_is_found_so_by_the_next_process(
    opened: Opened, published: Published, merchants: Merchants, world: World
) -> None:
    """It is not met with full force by whoever takes over, but with one probe."""
    merchants.answers["oms"] += [FAILED] * 1_000
    owner = await opened(suspend_after_s=0.05)
    await published("T1")
    await owner.work_off()
    async with asyncio.timeout(WAIT_S):
        while state_of(world).state is State.ACTIVE:
            world.clock.at += timedelta(seconds=1)
            await asyncio.sleep(0.01)
    assert state_of(world).reason is Why.FAILING
    await owner.crash()
    told = len(merchants.told)
    merchants.gates["oms"] = asyncio.Event()

    second = await opened(suspend_after_s=0.05)
    await published(*(f"T{number}" for number in range(2, 30)))
    await second.work_off()
    world.clock.at += timedelta(seconds=10)
    await merchants.until(lambda: len(merchants.told) > told)
    await spin()

    assert len(merchants.told) == told + 1
    merchants.answers["oms"].clear()
    merchants.gates["oms"].set()
    await merchants.until(lambda: {one.order for one in merchants.told} >= {f"T{number}" for number in range(1, 30)})
    await until(world, lambda: state_of(world).state is State.ACTIVE)


async def test_what_comes_while_a_redriven_delivery_waits_for_its_turn_goes_before_it(
    opened: Opened, published: Published, merchants: Merchants, world: World
) -> None:
    """It was told first, and its failure was recorded as one of the new event, which nobody had been told of."""
    owner = await opened(endpoint("oms", concurrency=1))
    await published("T1", "T2", statuses=LIFE[:1])
    await owner.work_off()
    merchants.gates["oms/T2"] = asyncio.Event()
    await published("T2", statuses=LIFE[1:2])
    await owner.fetch()
    await merchants.until(lambda: merchants.versions("oms", "T2") == [1, 2])
    await said(world, owner, word("redrive", once_more(world)))
    await spin()
    merchants.answers["oms/T1"] += [FAILED]

    await published("T1", statuses=LIFE[1:2])
    await owner.fetch()
    await spin()
    merchants.gates["oms/T2"].set()
    await merchants.until(lambda: len(merchants.versions("oms", "T1")) == 2)

    assert merchants.versions("oms", "T1") == [1, 2]
    await until(world, lambda: recorded(world)[-1].outcome is Outcome.FAILED)
    assert recorded(world)[-1].version == 2


# What waits


async def test_what_waits_for_an_endpoint_that_only_fails_is_given_up_in_its_time(
    opened: Opened, published: Published, merchants: Merchants, world: World
) -> None:
    """Probes are few and far between: most of what waits never had an attempt of its own, and would wait for ever."""
    merchants.answers["oms"] += [FAILED] * 1_000
    owner = await opened(give_up_after_s=60.0, first_retry_s=30.0, retry_s_max=60.0)
    await published(*(f"T{number}" for number in range(20)))
    await owner.work_off()
    await until(world, lambda: len(recorded(world)) >= 20)
    world.clock.at += timedelta(seconds=61)

    async with asyncio.timeout(WAIT_S):
        while len({one.order for one in recorded(world) if one.outcome is Outcome.DEAD}) < 20:
            world.clock.at += timedelta(seconds=30)
            await asyncio.sleep(0.02)

    assert len(merchants.told) < 20
    assert {one.error for one in recorded(world) if one.outcome is Outcome.DEAD} <= {None, "endpoint_failing"}


async def test_it_is_given_up_when_its_time_is_over_and_not_when_a_probe_comes_round(
    opened: Opened, published: Published, merchants: Merchants, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With six seconds to give up after, some were dead after a hundred: what was due later was not looked at before."""
    monkeypatch.setattr(consumers.telling.taking_up, "GIVE_UP_EVERY_S_MAX", 0.01)
    merchants.answers["oms"] += [FAILED] * 1_000
    owner = await opened(give_up_after_s=60.0, first_retry_s=300.0, retry_s_max=300.0)
    await published(*(f"T{number}" for number in range(20)))
    await owner.work_off()
    await until(world, lambda: len(recorded(world)) >= 20)
    told = len(merchants.told)

    world.clock.at += timedelta(seconds=61)
    await until(world, lambda: len({one.order for one in recorded(world) if one.outcome is Outcome.DEAD}) == 20)

    assert len(merchants.told) == told


async def test_all_that_waits_is_written_again_though_more_than_one_look_takes_is_due_at_one_moment(
    opened: Opened,
    published: Published,
    world: World,
    always_looking: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same ones were looked at again and again; what lay behind them would have been deleted after a month, unheard."""
    monkeypatch.setattr(consumers.telling.upkeep, "RENEWED_AT_ONCE_MAX", 5)
    owner = await opened()
    await said(world, owner, word("suspend"))
    await published(*(f"T{number}" for number in range(12)), statuses=LIFE[:1])
    await owner.work_off()
    written = len(world.logs.records(TOPICS.deliveries, P))

    world.clock.at += later(days=2)
    world.logs.now_ms = world.clock.now_ms()

    def lanes() -> set[bytes]:
        again = world.logs.records(TOPICS.deliveries, P)[written:]
        return {one.record.key for one in again if deliveries.kind_of(one.record.key) is deliveries.Kind.LANE}

    await until(world, lambda: len(lanes()) == 12)


async def test_an_event_that_comes_while_its_lane_is_being_given_up_waits_durably(
    opened: Opened, published: Published, merchants: Merchants, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was added to a lane that nobody served any more, and went with it: its partition could not commit past it."""
    monkeypatch.setattr(consumers.telling.taking_up, "GIVE_UP_EVERY_S_MAX", 0.01)
    merchants.answers["oms"] += [FAILED] * 1_000
    owner = await opened(give_up_after_s=60.0, first_retry_s=300.0, retry_s_max=300.0)
    await published(*(f"T{number}" for number in range(20)), statuses=LIFE[:1])
    await owner.work_off()
    await until(world, lambda: len(recorded(world)) >= 20)
    append, begun, go_on = world.logs.append, asyncio.Event(), asyncio.Event()

    async def slow(topic: str, partition: int, records: Sequence[Record]) -> list[int]:
        if topic == TOPICS.deliveries:
            begun.set()
            await go_on.wait()
        return await append(topic, partition, records)

    monkeypatch.setattr(world.logs, "append", slow)
    world.clock.at += timedelta(seconds=61)
    async with asyncio.timeout(WAIT_S):
        await begun.wait()

    await published("T7", statuses=LIFE[1:2])
    await owner.fetch()
    await spin()
    go_on.set()
    await spin(lambda: owner.feed.done_upto[ORDERS] == 21)

    (lane,) = [one.lane for one in recorded(world) if one.order == "T7"][-1:]
    assert ([ref.version for ref in lane.dead], [ref.version for ref in lane.waiting]) == ([1], [2])


async def test_what_was_put_off_by_a_clock_that_was_wrong_is_not_put_off_until_then(
    opened: Opened, published: Published, merchants: Merchants, world: World
) -> None:
    """For a minute the machine believed that it was next year: what failed in that minute waited for it, and nothing said so."""
    merchants.answers["oms"] += [FAILED]
    owner = await opened()
    world.clock.at += later(days=365)
    await published("T1", statuses=LIFE[:1])
    await owner.work_off()
    await until(world, lambda: [one.outcome for one in recorded(world)] == [Outcome.FAILED])

    world.clock.at -= later(days=365)
    await published("T2", statuses=LIFE[:1])
    await owner.work_off()
    await merchants.until(lambda: merchants.versions("oms", "T1") == [1, 1])
    await until(world, lambda: recorded(world)[-1].outcome is Outcome.ACCEPTED)


async def test_the_time_to_give_up_does_not_begin_next_year(
    opened: Opened, published: Published, merchants: Merchants, world: World
) -> None:
    """By the same clock: it would be called again and again for a year, and hold up what comes after it in its order."""
    merchants.answers["oms"] += [FAILED] * 3
    owner = await opened(give_up_after_s=3600.0)
    world.clock.at += later(days=365)
    await published("T1", statuses=LIFE[:1])
    await owner.work_off()
    await until(world, lambda: len(recorded(world)) == 1)

    world.clock.at -= later(days=365)
    await owner.crash()
    owner = await opened(give_up_after_s=3600.0)
    await until(world, lambda: len(recorded(world)) == 2)
    world.clock.at += timedelta(seconds=3601)
    await until(world, lambda: recorded(world)[-1].outcome is Outcome.DEAD)

    assert merchants.versions("oms", "T1") == [1, 1, 1]


async def test_what_comes_when_too_much_waits_is_a_dead_letter_at_once(
    opened: Opened, published: Published, merchants: Merchants, world: World
) -> None:
    """References only, and a bounded number of them; a redrive brings back what was not heard."""
    owner = await opened(waiting_max=5)
    await said(world, owner, word("suspend"))
    await published(*(f"T{number}" for number in range(5)))
    await owner.work_off()
    await published("T5", "T6")
    await owner.work_off()

    dead = [one for one in recorded(world) if one.outcome is Outcome.DEAD]
    assert owner.work.waiting == 5
    assert [one.error for one in dead] == ["too_many_waiting"] * 2
    await said(world, owner, word("redrive", *(once_more(world, order=one.order) for one in dead)))


async def test_what_comes_behind_what_waits_waits_with_it_however_much_waits(
    opened: Opened, published: Published, merchants: Merchants, world: World
) -> None:
    """Lanes are counted, not events: given up, it would come to its merchant after what came later."""
    owner = await opened(waiting_max=2)
    await said(world, owner, word("suspend"))
    await published("T1", "T2")
    await owner.work_off()
    await published("T1", statuses=LIFE[2:])
    await owner.work_off()
    await said(world, owner, word("resume"))

    await merchants.until(lambda: merchants.versions("oms", "T1") == [1, 2])
    assert all(one.outcome is not Outcome.DEAD for one in recorded(world))


async def test_what_waits_is_written_again_daily(
    opened: Opened, published: Published, world: World, always_looking: None
) -> None:
    """The topic deletes what is a month old: what waits, who is left alone and where fan-out is must not go with it."""
    owner = await opened()
    await said(world, owner, word("suspend"))
    await published("T1")
    await owner.work_off()
    await until(world, lambda: any(one.outcome is Outcome.WAITING for one in recorded(world)))
    await until(world, lambda: places(world)[-1:] == [(1, 1)])
    count = len(world.logs.records(TOPICS.deliveries, P))
    world.clock.at += later(days=1.1)
    world.logs.now_ms = world.clock.now_ms()

    def renewed() -> set[bytes]:
        return {one.record.key for one in world.logs.records(TOPICS.deliveries, P)[count:]}

    await until(world, lambda: renewed() >= {b"oms", b"oms/shop-hkd/T1", position.KEY})

    of_oms = [one.record for one in world.logs.records(TOPICS.deliveries, P) if one.record.key == b"oms"]
    assert len(of_oms) > len(set(of_oms)) == 1, "byte for byte"
    await spin()
    assert len(world.logs.records(TOPICS.deliveries, P)) <= count + 4, "once a day"


# Once more


async def test_a_dead_letter_that_is_redriven_is_told_under_the_same_id_with_the_same_body(
    opened: Opened, published: Published, merchants: Merchants, world: World
) -> None:
    merchants.answers["oms"] += [FAILED]
    owner = await opened(give_up_after_s=0.0)
    await published("T1", statuses=LIFE[:2])
    await owner.work_off()
    assert [one.outcome for one in recorded(world)] == [Outcome.DEAD, Outcome.ACCEPTED]

    await said(world, owner, word("redrive", once_more(world)))
    await merchants.until(lambda: merchants.versions("oms", "T1") == [1, 2, 1])
    await until(world, lambda: recorded(world)[-1].outcome is Outcome.ACCEPTED)

    dead, _, again = merchants.told
    assert (again.webhook_id, again.body) == (dead.webhook_id, dead.body)
    assert recorded(world)[-1].lane.dead_letters == ()


async def test_a_redrive_that_is_read_again_tells_nothing_again(
    opened: Opened, published: Published, merchants: Merchants, world: World
) -> None:
    owner = await opened()
    await published("T1")
    await owner.work_off()
    await said(world, owner, word("redrive", once_more(world)))
    await merchants.until(lambda: merchants.versions("oms", "T1") == [1, 1])
    await until(world, lambda: recorded(world)[-1].outcome is Outcome.ACCEPTED)
    await owner.crash()

    second = await opened()
    await read_commands(world, second)
    await second.work_off()
    await spin()

    assert merchants.versions("oms", "T1") == [1, 1]


async def test_a_redriven_delivery_that_fails_is_tried_again_and_then_dead_again(
    opened: Opened, published: Published, merchants: Merchants, world: World
) -> None:
    owner = await opened(give_up_after_s=60.0)
    await published("T1")
    await owner.work_off()
    merchants.answers["oms"] += [FAILED, FAILED]

    await said(world, owner, word("redrive", once_more(world)))
    await until(world, lambda: recorded(world)[-1].outcome is Outcome.FAILED)
    world.clock.at += timedelta(seconds=90)
    await until(world, lambda: recorded(world)[-1].outcome is Outcome.DEAD)

    assert [ref.version for ref in recorded(world)[-1].lane.dead_letters] == [1]
