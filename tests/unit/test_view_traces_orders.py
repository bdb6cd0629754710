"""
The view protocol's rules, by what breaks without them: the orders log (design, section 5).

Each test is the shortest history in which one rule is all that keeps the promise; `tests/README.md` says which rule, and what was
taken out of the code to see the test fail. A1 is order A at version 1, made of A's first evidence; `[A1 A2 A1]` is a log.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest

import consumers.orders
from notifier import events
from notifier.facts import Waiting
from notifier.kafka.group import Source
from notifier.ports import Pointer
from notifier.record import Record
from tests.fakes import Fault
from tests.held import HeldLogs, HeldViews
from tests.owners import NOON, TOPICS, Owner, P, World, later, notification, spin

INBOX, ORDERS = Source(TOPICS.inbox, P), TOPICS.orders

STATUSES = ("WAIT_BUYER_PAY", "TRADE_SUCCESS", "TRADE_FINISHED")


def evidence_of(order: str, number: int) -> Record:
    """The first, second or third evidence of an order; each adds a fact."""
    return notification(order, STATUSES[number - 1])


class Process(Owner):
    """An owner with lines of its own, on which it can be held up."""

    def __init__(self, world: World) -> None:
        self.logs, self.views = HeldLogs(world.logs), HeldViews(world.views)
        job = replace(world.orders_job(), store=self.views, reader=self.logs, appender=self.logs)
        super().__init__(world, job.work(P))


Started = Callable[[], Awaitable[Process]]


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def started(world: World) -> AsyncIterator[Started]:
    """Starts processes that own the partition, or believe that they do, and ends them with the test."""
    processes: list[Process] = []

    async def starting() -> Process:
        processes.append(Process(world))
        await processes[-1].start()
        return processes[-1]

    yield starting
    for process in processes:
        await process.crash()


@pytest.fixture
def always_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    """The minute between two looks is over at once."""
    monkeypatch.setattr(consumers.orders, "LOOK_EVERY_S", 0.0)


def versions(world: World, order: str) -> list[int]:
    """The versions of an order as they lie in the log."""
    return [version for name, version, _ in world.told() if name == order]


async def with_late_first_version(world: World, process: Process) -> None:
    """A1 and A2 are acknowledged and done; another A1 is still under way, and lands when it is told to."""
    world.logs.faults[ORDERS].append(Fault.LATE)
    await world.receive(evidence_of("A", 1))
    await process.work_off()
    await world.receive(evidence_of("A", 2))
    await process.work_off()
    process.commit()
    assert versions(world, "A") == [1, 2]


async def assert_third_evidence_is_third_version(world: World, process: Process) -> None:
    """Nothing that was told of A is forgotten: what comes next is A3, and no version has two contents."""
    told_before = {stored.record for stored in world.logs.records(ORDERS, P)}
    await world.receive(evidence_of("A", 3))
    await process.work_off()
    told_now = [stored.record for stored in world.logs.records(ORDERS, P) if stored.record not in told_before]
    assert [events.version_of(record) for record in told_now] == [3]


async def test_a_late_record_takes_nothing_back(world: World, started: Started) -> None:
    """Merge: `[A1 A2 A1]` is A at version 2, whatever lands last."""
    process = await started()
    await with_late_first_version(world, process)

    world.logs.land_late()
    world.views.flush()

    await assert_third_evidence_is_third_version(world, process)


async def test_a_silent_fact_lies_in_the_log(world: World, started: Started) -> None:
    """One record per fact: the state lives in no other place, so what changes nothing named is a record too."""
    process = await started()
    await world.receive(evidence_of("A", 2), evidence_of("A", 1))
    await process.work_off()
    process.commit()

    world.views.flush()
    await world.receive(evidence_of("A", 3))
    await process.work_off()

    assert [kind for _, _, kind in world.told()] == ["order.paid", "order.noted", "order.finalized"]
    facts = events.from_record(world.logs.records(ORDERS, P)[-1].record).facts
    assert any(isinstance(fact, Waiting) for fact in facts)


async def test_two_pieces_of_evidence_are_two_versions_however_they_are_fetched(world: World, started: Started) -> None:
    """No coalescing: a zombie that fetched one piece and an owner that fetched two tell the same A1."""
    zombie, owner = await started(), await started()
    await world.receive(evidence_of("A", 1), evidence_of("A", 2))
    held = zombie.logs.holds.request("append", ORDERS)

    await zombie.fetch(1)
    await spin(lambda: held.is_reached)
    await owner.work_off(2)
    held.let_go()
    await spin(lambda: INBOX in zombie.feed.uncommitted)

    assert versions(world, "A") == [1, 2, 1]
    world.assert_one_content_per_version()


async def test_evidence_whose_record_landed_unnoticed_adds_nothing(world: World, started: Started) -> None:
    """Idempotent facts: A1 landed, its owner died before it knew, and the evidence is folded again."""
    first = await started()
    held = first.logs.holds.answer("append", ORDERS)
    await world.receive(evidence_of("A", 1))
    await first.fetch()
    await spin(lambda: held.is_reached)
    await first.crash()

    second = await started()
    await second.work_off()

    assert versions(world, "A") == [1]


async def test_where_an_append_was_cut_the_next_fold_goes_on(world: World, started: Started) -> None:
    """Prefix: A1 landed and A2 did not; folded again, the log has both, and no version twice with two contents."""
    process = await started()
    world.logs.faults[ORDERS].append(Fault.CUT)
    await world.receive(evidence_of("A", 1), evidence_of("A", 2))

    await process.work_off()

    assert world.latest() == {"A": 2}
    world.assert_one_content_per_version()
    await assert_third_evidence_is_third_version(world, process)


async def test_after_a_flush_nothing_is_folded_on_nothing(world: World, started: Started) -> None:
    """Known end: the log is longer than the view, so the view is caught up first."""
    process = await started()
    await world.receive(evidence_of("A", 1))
    await process.work_off()

    world.views.flush()
    await world.receive(evidence_of("A", 2))
    await process.work_off()

    assert versions(world, "A") == [1, 2]
    world.assert_one_content_per_version()


async def test_an_owner_that_is_told_an_old_end_does_not_fold_on_nothing(world: World, started: Started) -> None:
    """
    The commit carries E: an isolated old leader says that the log is empty, and Redis was flushed.

    The commit knows better. The new owner refuses to begin; started again, it is told the right end.
    """
    first = await started()
    bounds_before = await world.logs.bounds(ORDERS, P)
    await world.receive(evidence_of("A", 1))
    await first.work_off()
    await first.stop()
    world.views.flush()
    await world.receive(evidence_of("A", 2))

    misled = Process(world)
    misled.logs.told_bounds[ORDERS] = bounds_before
    await misled.start()
    await misled.fetch()
    await spin()
    await misled.crash()
    second = await started()
    await second.work_off()

    assert versions(world, "A") == [1, 2]
    world.assert_one_content_per_version()


@pytest.mark.parametrize("moved_meanwhile", ["flushed", "an old copy"])
async def test_a_view_is_not_moved_from_where_it_is_no_more(
    world: World, started: Started, moved_meanwhile: str
) -> None:
    """Compare-and-set: B1 is appended on a view that knows A; what it is written to does not know A any more."""
    process = await started()
    empty = world.views.save()
    await world.receive(evidence_of("A", 1), evidence_of("A", 2))
    await process.work_off()
    held = process.views.holds.request("write", ORDERS)
    await world.receive(evidence_of("B", 1))
    await process.fetch()
    await spin(lambda: held.is_reached)

    world.views.flush() if moved_meanwhile == "flushed" else world.views.restore(empty)
    held.let_go()
    await spin(lambda: process.feed.done_upto[INBOX] == 3)

    await assert_third_evidence_is_third_version(world, process)


async def test_a_record_of_somebody_else_is_not_jumped_over(world: World, started: Started) -> None:
    """Offsets run on: a late A1 lies between the view's position and the own B1. Jumped over, compaction would keep it."""
    process = await started()
    await with_late_first_version(world, process)
    world.logs.land_late()
    await world.receive(evidence_of("B", 1))
    await process.work_off()
    await process.stop()

    second = await started()
    world.logs.compact(ORDERS, P)
    world.views.flush()

    await assert_third_evidence_is_third_version(world, second)


async def test_the_newest_is_appended_again_where_an_older_one_lies_last(world: World, started: Started) -> None:
    """Repair: of `[A1 A2 A1]` compaction would keep A1 alone."""
    process = await started()
    await with_late_first_version(world, process)
    world.logs.land_late()
    world.views.flush()
    await world.receive(evidence_of("B", 1))

    await process.work_off()
    world.logs.compact(ORDERS, P)
    world.views.flush()

    assert world.latest() == {"A": 2, "B": 1}
    await assert_third_evidence_is_third_version(world, process)


async def test_the_view_does_not_pass_an_older_record_before_the_repair_is_acknowledged(
    world: World, started: Started, always_looking: None
) -> None:
    """Repair before the position moves: who dies in between leaves the older record to be found."""
    first = await started()
    await with_late_first_version(world, first)
    held = first.logs.holds.request("append", ORDERS)
    world.logs.land_late()
    await spin(lambda: held.is_reached)
    await first.crash()

    second = await started()
    await spin(lambda: world.latest() == {"A": 2})
    world.logs.compact(ORDERS, P)
    world.views.flush()

    await assert_third_evidence_is_third_version(world, second)


async def test_a_late_record_in_an_idle_partition_is_seen_by_the_look(
    world: World, started: Started, always_looking: None
) -> None:
    """Look: no evidence comes, a late A1 lands, and it is repaired long before compaction may take A2."""
    process = await started()
    await with_late_first_version(world, process)

    world.logs.land_late()
    await spin(lambda: world.latest() == {"A": 2})
    world.logs.compact(ORDERS, P)
    world.views.flush()

    await assert_third_evidence_is_third_version(world, process)


async def test_a_late_record_is_seen_by_who_is_assigned_an_idle_partition(world: World, started: Started) -> None:
    """Look, at assignment."""
    first = await started()
    await with_late_first_version(world, first)
    await first.stop()
    world.logs.land_late()

    await started()

    assert world.latest() == {"A": 2}


async def test_what_never_landed_is_not_done(world: World, started: Started) -> None:
    """Acknowledged before commit: the append was lost, and its owner died before it tried again."""
    first = await started()
    world.logs.faults[ORDERS].append(Fault.LOST)
    await world.receive(evidence_of("A", 1))
    first.logs.holds.request("append", ORDERS).let_go()
    held = first.logs.holds.request("append", ORDERS)
    await first.fetch()
    await spin(lambda: held.is_reached)
    first.commit()
    await first.crash()

    second = await started()
    await second.work_off()

    assert versions(world, "A") == [1]


async def test_a_quiet_order_is_known_by_its_pointer(world: World, started: Started, always_looking: None) -> None:
    """Pointer: an order that was simply removed would be never seen, and its next evidence another A1."""
    process = await started()
    world.logs.now_ms = world.clock.now_ms()
    await world.receive(evidence_of("A", 1))
    await process.work_off()
    world.clock.at = NOON + later(days=8)
    await spin(lambda: b"shop-hkd/A" in world.views.views[ORDERS, P].resting)

    await world.receive(evidence_of("A", 2))
    await process.work_off()

    assert versions(world, "A") == [1, 2]
    world.assert_one_content_per_version()


async def test_a_pointer_whose_record_was_superseded_is_not_taken_for_never_seen(
    world: World, started: Started
) -> None:
    """
    Pointer: an old copy of Redis points at A1, which compaction took because there is A2.

    The view reaches the end that this owner knows; only the missing record says that there is more to catch up with.
    """
    owner, other = await started(), await started()
    await world.receive(evidence_of("A", 1))
    await owner.work_off()
    await world.views.rest(ORDERS, P, {b"shop-hkd/A": Pointer(0, 1)}, upto=1)
    old_copy = world.views.save()
    await world.receive(evidence_of("A", 2))
    await other.work_off()
    world.logs.compact(ORDERS, P)
    world.views.restore(old_copy)

    await owner.work_off()

    assert versions(world, "A") == [2]
    await assert_third_evidence_is_third_version(world, owner)


async def test_a_pointer_follows_the_repetitions_of_its_record(
    world: World, started: Started, always_looking: None
) -> None:
    """
    Pointer: A1 landed unnoticed and was appended again; it rests, and compaction keeps the second of the two alone.

    A pointer to the first would dangle for ever.
    """
    process = await started()
    world.logs.now_ms = world.clock.now_ms()
    world.logs.faults[ORDERS].append(Fault.UNKNOWN)
    await world.receive(evidence_of("A", 1))
    await process.work_off()
    assert versions(world, "A") == [1, 1]
    world.clock.at = NOON + later(days=8)
    await spin(lambda: b"shop-hkd/A" in world.views.views[ORDERS, P].resting)
    world.logs.compact(ORDERS, P)

    await world.receive(evidence_of("A", 2))
    await process.work_off()

    assert versions(world, "A") == [1, 2]
    world.assert_one_content_per_version()


async def test_after_too_long_a_commit_is_not_believed(world: World, started: Started) -> None:
    """Away too long: a late A1 landed when nobody was there, and compaction took A2; only the evidence still has it."""
    first = await started()
    await with_late_first_version(world, first)
    (_, second_version) = (stored.record for stored in world.logs.records(ORDERS, P))
    await first.stop()
    world.logs.land_late()
    world.clock.at = NOON + later(days=15)
    world.logs.compact(ORDERS, P)
    assert versions(world, "A") == [1]
    world.views.flush()

    second = await started()
    await world.receive(evidence_of("A", 3))
    await second.work_off()

    assert versions(world, "A") == [1, 2, 3]
    assert world.logs.records(ORDERS, P)[1].record == second_version


async def test_a_commit_of_a_clock_that_was_far_ahead_is_not_believed_for_as_long(
    world: World, started: Started
) -> None:
    """The same history. By its committer's clock it was made next year: it would not have been too old for a year and a week."""
    world.clock.at = NOON + later(days=365)
    first = await started()
    await with_late_first_version(world, first)
    await first.stop()
    world.logs.land_late()
    world.clock.at = NOON + later(days=15)
    world.logs.compact(ORDERS, P)
    world.views.flush()

    second = await started()
    await world.receive(evidence_of("A", 3))
    await second.work_off()

    assert versions(world, "A") == [1, 2, 3]


async def test_a_resend_leaves_no_trace_in_the_view(world: World, started: Started, always_looking: None) -> None:
    """Evidence without effect: were its offset kept in the view, a repair would append A2 with another content."""
    process = await started()
    await with_late_first_version(world, process)
    await world.receive(evidence_of("A", 2))
    await process.work_off()

    world.logs.land_late()
    await spin(lambda: versions(world, "A") == [1, 2, 1, 2])

    world.assert_one_content_per_version()
