"""
The view protocol's rules, by what breaks without them: the deliveries log (design, sections 5 and 6).

Each test is the shortest history in which one rule is all that keeps the promise; `tests/README.md` says which rule, and what was
taken out of the code to see the test fail. `A:1/2` is the lane of order A, settled up to version 1, in which version 2 waits.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest

import consumers.fanout
import consumers.telling.upkeep
from consumers.view import RecreatedTopicError
from notifier.deliveries import delivery
from notifier.deliveries.delivery import Lane
from notifier.kafka.group import Source
from notifier.ports import Pointer
from tests.fakes import Fault
from tests.held import HeldLogs, HeldViews
from tests.merchants import FAILED, Merchants, fanout_job, meet
from tests.owners import NOON, TOPICS, Owner, P, World, later, notification, orders_owner, spin

ORDERS, DELIVERIES = Source(TOPICS.orders, P), TOPICS.deliveries
LANE_A, LANE_B = b"oms/shop-hkd/A", b"oms/shop-hkd/B"


class Process(Owner):
    """An owner with lines of its own, on which it can be held up."""

    def __init__(self, world: World, merchants: Merchants) -> None:
        meet(world, "oms")
        self.logs, self.views = HeldLogs(world.logs), HeldViews(world.views)
        job = fanout_job(world, merchants, first_retry_s=3600.0, retry_s_max=3600.0)
        means = replace(job.means, store=self.views, reader=self.logs)
        job = replace(job, means=means, appender=self.logs)
        super().__init__(world, job.work(P), TOPICS.orders)


Started = Callable[[], Awaitable[Process]]
Published = Callable[..., Awaitable[None]]


@pytest.fixture
def world() -> World:
    world = World()
    world.logs.now_ms = world.clock.now_ms()
    return world


@pytest.fixture
async def merchants() -> Merchants:
    return Merchants()


@pytest.fixture
async def started(world: World, merchants: Merchants) -> AsyncIterator[Started]:
    """Starts processes that own the partition, or believe that they do, and ends them with the test."""
    processes: list[Process] = []

    async def starting() -> Process:
        processes.append(Process(world, merchants))
        await processes[-1].start()
        return processes[-1]

    yield starting
    for process in processes:
        await process.crash()


@pytest.fixture
async def published(world: World) -> AsyncIterator[Published]:
    """Puts the next version of each order into the orders log."""
    owner = await orders_owner(world)
    statuses = {order: iter(("WAIT_BUYER_PAY", "TRADE_SUCCESS", "TRADE_FINISHED")) for order in "AB"}

    async def publishing(*orders: str) -> None:
        await world.receive(*(notification(order, next(statuses[order])) for order in orders))
        await owner.work_off()

    yield publishing
    await owner.crash()


@pytest.fixture
def always_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    """The minute between two looks is over at once."""
    monkeypatch.setattr(consumers.telling.upkeep, "LOOK_EVERY_S", 0.0)


def lanes(world: World, key: bytes = LANE_A) -> list[Lane]:
    """The states of a lane as they lie in the log."""
    found = [stored.record for stored in world.logs.records(DELIVERIES, P) if stored.record.key == key]
    return [delivery.from_record(record).lane for record in found]


def when_due(world: World) -> None:
    """What waits is due."""
    world.clock.at += later(days=1 / 12)


async def with_late_record(world: World, process: Process, published: Published, merchants: Merchants) -> None:
    """`[A:1/1 A:1/2]`, both done; another `A:1/1` is still under way, and lands when it is told to."""
    world.logs.faults[DELIVERIES].append(Fault.LATE)
    await published("A")
    await process.work_off()
    merchants.answers["oms/A"].append(FAILED)
    await published("A")
    await process.work_off()
    process.commit()
    assert [(lane.settled, lane.known) for lane in lanes(world)] == [(1, 1), (1, 2)]
    assert merchants.versions("oms", "A") == [1, 2]


async def with_first_version_waiting(process: Process, published: Published, merchants: Merchants) -> None:
    """`[A:0/1]`, done."""
    merchants.answers["oms/A"].append(FAILED)
    await published("A")
    await process.work_off()
    process.commit()


async def assert_second_version_is_told(world: World, started: Started, merchants: Merchants) -> None:
    """What waits is not forgotten: who comes next tells it when it is due."""
    when_due(world)
    await started()
    await merchants.until(lambda: merchants.versions("oms", "A") == [1, 2, 2])


async def assert_second_version_waits(process: Process, published: Published, merchants: Merchants) -> None:
    """No version overtakes another: the second stands behind the first, which is not due."""
    await published("A")
    await process.work_off()
    assert merchants.versions("oms", "A") == [1]


async def test_a_late_record_forgets_nothing_that_waits(
    world: World, started: Started, published: Published, merchants: Merchants
) -> None:
    """Merge: `[A:1/1 A:1/2 A:1/1]` is `A:1/2`, whatever lands last."""
    process = await started()
    await with_late_record(world, process, published, merchants)
    await process.crash()

    world.logs.land_late()
    world.views.flush()

    await assert_second_version_is_told(world, started, merchants)


async def test_after_a_flush_nothing_overtakes_what_waits(
    world: World, started: Started, published: Published, merchants: Merchants
) -> None:
    """Known end: the log is longer than the view, so the view is caught up first."""
    process = await started()
    await with_first_version_waiting(process, published, merchants)

    world.views.flush()

    await assert_second_version_waits(process, published, merchants)


async def test_an_owner_that_is_told_an_old_end_overtakes_nothing(
    world: World, started: Started, published: Published, merchants: Merchants
) -> None:
    """
    The commit carries E: an isolated old leader says that the log is empty, and Redis was flushed.

    The commit knows better. The new owner refuses to begin; started again, it is told the right end.
    """
    first = await started()
    await with_first_version_waiting(first, published, merchants)
    await first.crash()
    world.views.flush()
    await published("A")

    misled = Process(world, merchants)
    misled.logs.told_bounds[DELIVERIES] = (0, 0)
    await misled.start()
    await misled.fetch()
    await spin()
    await misled.crash()
    second = await started()
    await second.work_off()

    assert merchants.versions("oms", "A") == [1]
    assert [ref.version for ref in lanes(world)[-1].waiting] == [1, 2]


async def test_a_view_is_not_moved_from_where_it_is_no_more(
    world: World, started: Started, published: Published, merchants: Merchants
) -> None:
    """Compare-and-set: B's outcome is recorded on a view that knows A's lane; what it is written to does not any more."""
    process = await started()
    await with_first_version_waiting(process, published, merchants)
    held = process.views.holds.request("write", DELIVERIES)
    await published("B")
    await process.fetch()
    await spin(lambda: held.is_reached)

    world.views.flush()
    held.let_go()
    await spin(lambda: process.feed.done_upto[ORDERS] == 2)

    await assert_second_version_waits(process, published, merchants)


async def test_a_record_of_somebody_else_is_not_jumped_over(
    world: World, started: Started, published: Published, merchants: Merchants
) -> None:
    """
    Offsets run on: a zombie's record of B lands behind the owner's `A:0/1`, and Redis was flushed meanwhile.

    Had the zombie moved the view past both, the next owner, which begins behind A1, would know nothing of it.
    """
    zombie, owner = await started(), await started()
    merchants.answers["oms/A"].append(FAILED)
    await published("B", "A")
    held = zombie.logs.holds.request("append", DELIVERIES)
    await zombie.fetch(1)
    await spin(lambda: held.is_reached)
    await owner.work_off()
    owner.commit()
    await owner.crash()
    world.views.flush()
    held.let_go()
    await spin(lambda: zombie.feed.done_upto[ORDERS] == 1)
    await zombie.crash()

    next_owner = await started()

    await assert_second_version_waits(next_owner, published, merchants)


async def test_the_whole_lane_is_appended_again_where_less_of_it_lies_last(
    world: World, started: Started, published: Published, merchants: Merchants
) -> None:
    """Repair: of `[A:1/1 A:1/2 A:1/1]` compaction would keep `A:1/1` alone."""
    process = await started()
    await with_late_record(world, process, published, merchants)
    await process.crash()
    world.logs.land_late()
    world.views.flush()
    await (await started()).crash()

    world.logs.compact(DELIVERIES, P)
    world.views.flush()

    await assert_second_version_is_told(world, started, merchants)


async def test_the_view_does_not_pass_an_older_record_before_the_repair_is_acknowledged(
    world: World, started: Started, published: Published, merchants: Merchants, always_looking: None
) -> None:
    """Repair before the position moves: who dies in between leaves the older record to be found."""
    first = await started()
    await with_late_record(world, first, published, merchants)
    held = first.logs.holds.request("append", DELIVERIES)
    world.logs.land_late()
    await spin(lambda: held.is_reached)
    await first.crash()

    await (await started()).crash()
    world.logs.compact(DELIVERIES, P)
    world.views.flush()

    await assert_second_version_is_told(world, started, merchants)


async def test_a_late_record_in_an_idle_partition_is_seen_by_the_look(
    world: World, started: Started, published: Published, merchants: Merchants, always_looking: None
) -> None:
    """Look: no event comes, a late `A:1/1` lands, and it is repaired long before compaction may take `A:1/2`."""
    process = await started()
    await with_late_record(world, process, published, merchants)

    world.logs.land_late()
    await spin(lambda: bool(lanes(world)[-1].waiting))
    await process.crash()
    world.logs.compact(DELIVERIES, P)
    world.views.flush()

    await assert_second_version_is_told(world, started, merchants)


async def test_what_was_not_recorded_is_not_done(
    world: World, started: Started, published: Published, merchants: Merchants
) -> None:
    """Acknowledged before commit: that A1 waits was appended and lost, and its owner died before it tried again."""
    first = await started()
    merchants.answers["oms/A"].append(FAILED)
    world.logs.faults[DELIVERIES].append(Fault.LOST)
    first.logs.holds.request("append", DELIVERIES).let_go()
    held = first.logs.holds.request("append", DELIVERIES)
    await published("A")
    await first.fetch()
    await spin(lambda: held.is_reached)
    first.commit()
    await first.crash()

    second = await started()
    await second.work_off()

    assert merchants.versions("oms", "A") == [1, 1]


async def test_a_quiet_lane_is_known_by_its_pointer(
    world: World, started: Started, published: Published, merchants: Merchants
) -> None:
    """Pointer: a lane that was simply removed would be never seen, and a repetition of its event told once more."""
    process = await started()
    await published("A")
    await process.work_off()
    (stored,) = world.logs.records(TOPICS.orders, P)
    await world.views.rest(DELIVERIES, P, {LANE_A: Pointer(1, 1)}, upto=2)

    await world.logs.append(TOPICS.orders, P, [stored.record])
    await process.work_off()

    assert merchants.versions("oms", "A") == [1]


async def test_a_claim_dies_with_its_process(
    world: World, started: Started, published: Published, merchants: Merchants
) -> None:
    """Due index: taken up, A1 is still in it; had it been popped, nobody would serve it after a crash."""
    first = await started()
    await with_first_version_waiting(first, published, merchants)
    await first.crash()
    when_due(world)
    merchants.gates["oms/A"] = asyncio.Event()
    second = await started()
    await merchants.until(lambda: merchants.versions("oms", "A") == [1, 1])
    await second.crash()

    del merchants.gates["oms/A"]
    await started()

    await merchants.until(lambda: merchants.versions("oms", "A") == [1, 1, 1])


async def test_what_is_done_behind_an_attempt_under_way_is_not_committed_past_it(
    world: World, started: Started, published: Published, merchants: Merchants
) -> None:
    """Watermark: A1's POST is under way when B1 is done."""
    first = await started()
    merchants.gates["oms/A"] = asyncio.Event()
    await published("A", "B")
    await first.fetch()
    await spin(lambda: len(lanes(world, LANE_B)) == 1)
    first.commit()
    await first.crash()

    del merchants.gates["oms/A"]
    second = await started()
    await second.work_off()

    assert merchants.versions("oms", "A") == [1, 1]


async def test_after_too_long_a_commit_is_not_believed(
    world: World, started: Started, published: Published, merchants: Merchants
) -> None:
    """Away too long: a late `A:1/1` landed when nobody was there, and compaction took `A:1/2`; only the event is left."""
    first = await started()
    await with_late_record(world, first, published, merchants)
    await first.crash()
    world.logs.land_late()
    world.clock.at = NOON + later(days=1.2)
    world.logs.compact(DELIVERIES, P)
    assert [(lane.settled, lane.known) for lane in lanes(world)] == [(1, 1)]
    world.views.flush()

    second = await started()
    await second.work_off()

    assert merchants.versions("oms", "A") == [1, 2, 2]


async def test_an_orders_log_that_was_made_anew_is_refused(
    world: World, started: Started, published: Published
) -> None:
    """The lanes know the old log's versions: of the new one's events the first would be taken for told."""
    first = await started()
    await published("A", "B")
    await first.work_off()
    await first.stop()
    world.logs.logs[TOPICS.orders, P].clear()

    second = await started()

    with pytest.raises(RecreatedTopicError, match=r"ends at 0 each time .* but 2 was known of it.*topic_prefix"):
        await second.ended()
