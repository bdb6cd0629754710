"""The orders job on one partition: what must hold whatever fails in between (design, section 8)."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from notifier import logs, metrics
from notifier.events import to_record
from notifier.evidence import Evidence
from notifier.kafka.group import Source
from notifier.order import Changed, decide
from notifier.record import Record
from tests.fakes import Fault
from tests.owners import NOON, TOPICS, Owner, P, World, later, notification, orders_owner, spin

INBOX = Source(TOPICS.inbox, P)
Opened = Callable[[World], Any]


@pytest.fixture
async def opened() -> AsyncIterator[Opened]:
    """Opens owners, and ends them with the test."""
    owners: list[Owner] = []

    async def opening(world: World) -> Owner:
        owners.append(await orders_owner(world))
        return owners[-1]

    yield opening
    for owner in owners:
        await owner.crash()


async def test_one_life_of_an_order_is_one_record_for_each_new_fact(opened: Opened) -> None:
    world = World()
    owner = await opened(world)
    await world.receive(
        notification("T1", "WAIT_BUYER_PAY"),
        notification("T1", "TRADE_SUCCESS"),
        notification("T1", "TRADE_SUCCESS", made_at="20:04:00"),  # a resend
        notification("T1", "TRADE_FINISHED"),
    )

    await owner.work_off()

    assert world.told() == [("T1", 1, "order.pending"), ("T1", 2, "order.paid"), ("T1", 3, "order.finalized")]
    assert owner.feed.uncommitted[INBOX].offset == 4


@pytest.mark.parametrize("batch", [1, 2, 3, 6])
async def test_batch_boundaries_mean_nothing(opened: Opened, batch: int) -> None:
    world = World()
    owner = await opened(world)
    await world.receive(
        *(notification(order, status) for status in ("WAIT_BUYER_PAY", "TRADE_SUCCESS") for order in "ABC")
    )

    while owner.feed.done_upto.get(INBOX, 0) < 6:
        await owner.work_off(batch)

    assert [version for _, version, _ in world.told()] == [1, 1, 1, 2, 2, 2]
    world.assert_one_content_per_version()


async def test_nothing_is_committed_before_its_effect_is_durable(opened: Opened) -> None:
    """S9: while the append has not been acknowledged the offset is not done."""
    world = World()
    owner = await opened(world)
    acknowledge = asyncio.Event()
    append = world.logs.append

    async def slow(topic: str, partition: int, records: list[Record]) -> list[int]:
        if topic == TOPICS.orders:
            await acknowledge.wait()
        return await append(topic, partition, records)

    world.logs.append = slow  # type: ignore[method-assign, assignment] # the fault of this test
    await world.receive(notification("T1"))

    await owner.fetch()
    await spin()
    assert INBOX not in owner.feed.uncommitted

    acknowledge.set()
    await spin(lambda: INBOX in owner.feed.uncommitted)
    assert world.told() == [("T1", 1, "order.paid")]


@pytest.mark.parametrize(
    ("fault", "records"),
    [
        (Fault.LOST, 1),  # folded again and appended
        (Fault.UNKNOWN, 2),  # it had landed: folded again, the same record lies there twice
        (Fault.LATE, 1),  # as if lost, until it lands
    ],
)
async def test_an_append_without_an_answer_makes_no_second_version(opened: Opened, fault: Fault, records: int) -> None:
    world = World()
    owner = await opened(world)
    world.logs.faults[TOPICS.orders].append(fault)
    await world.receive(notification("T1"))

    await owner.work_off()

    assert len(world.told()) == records
    world.logs.land_late()
    await world.receive(notification("T1", "TRADE_FINISHED"))
    await owner.work_off()
    assert max(version for _, version, _ in world.told()) == 2
    assert world.latest() == {"T1": 2}
    world.assert_one_content_per_version()


async def test_a_resend_after_a_flush_of_redis_is_still_no_new_version(opened: Opened) -> None:
    """C21, and the first half of S10."""
    world = World()
    owner = await opened(world)
    await world.receive(notification("T1"))
    await owner.work_off()

    world.views.flush()
    await world.receive(notification("T1"), notification("T1", "TRADE_FINISHED"))
    await owner.work_off()

    assert world.told() == [("T1", 1, "order.paid"), ("T1", 2, "order.finalized")]


async def test_redis_from_a_backup_is_caught_up_before_it_is_believed(opened: Opened) -> None:
    world = World()
    owner = await opened(world)
    await world.receive(notification("T1", "WAIT_BUYER_PAY"))
    await owner.work_off()
    backup = world.views.save()
    await world.receive(notification("T1"))
    await owner.work_off()

    world.views.restore(backup)
    await world.receive(notification("T1", "TRADE_FINISHED"))
    await owner.work_off()

    assert [version for _, version, _ in world.told()] == [1, 2, 3]
    world.assert_one_content_per_version()


async def test_while_redis_is_away_nothing_is_applied_on_a_guess(opened: Opened) -> None:
    world = World()
    owner = await opened(world)
    world.views.is_down = True
    await world.receive(notification("T1"))

    await owner.fetch()
    await spin()
    assert world.told() == []
    assert INBOX not in owner.feed.uncommitted

    world.views.is_down = False
    await spin(lambda: INBOX in owner.feed.uncommitted)
    assert world.told() == [("T1", 1, "order.paid")]


async def test_a_successor_goes_on_where_the_last_commit_stands(opened: Opened) -> None:
    world = World()
    first = await opened(world)
    await world.receive(notification("T1"), notification("T2"))
    await first.work_off()
    await first.stop()
    assert world.commits[INBOX].offset == 2

    second = await opened(world)
    await world.receive(notification("T1", "TRADE_FINISHED"))
    await second.work_off()

    assert world.latest() == {"T1": 2, "T2": 1}
    assert len(world.told()) == 3


async def test_after_a_crash_before_the_commit_the_same_evidence_makes_nothing_new(opened: Opened) -> None:
    world = World()
    first = await opened(world)
    await world.receive(notification("T1"))
    await first.work_off()
    await first.crash()

    second = await opened(world)
    await second.work_off()

    assert world.told() == [("T1", 1, "order.paid")]


async def test_two_owners_at_once_repeat_and_never_invent(opened: Opened) -> None:
    """Nobody is fenced: both fold the same evidence, and whatever they append is the same record."""
    world = World()
    zombie, owner = await opened(world), await opened(world)
    await world.receive(notification("T1", "WAIT_BUYER_PAY"), notification("T1"), notification("T2"))

    await asyncio.gather(zombie.work_off(1), owner.work_off(3))
    await asyncio.gather(zombie.work_off(3), owner.work_off())
    await world.receive(notification("T1", "TRADE_FINISHED"))
    await asyncio.gather(zombie.work_off(), owner.work_off())

    world.assert_one_content_per_version()
    assert max(version for order, version, _ in world.told() if order == "T1") == 3


@pytest.mark.parametrize(
    ("record", "reason", "why"),
    [
        (notification("T1", amount="1e2"), "bad_field", "the amount is the fold's to judge"),
        (notification("T1", seller_id="2088999999999999"), "payee_mismatch", "another merchant's money"),
        (notification("T1", currency="USD"), "currency_mismatch", "held, and set aside as well"),
        (notification("T1", "PAID"), "unknown_status", "the table of statuses is closed"),
        (Record(b"shop-hkd/T1", b"x", ()), "internal_error", "none of ours: it holds nothing up"),
    ],
)
async def test_what_cannot_be_applied_is_set_aside_and_holds_nothing_up(
    opened: Opened, record: Record, reason: str, why: str
) -> None:
    """L2."""
    world = World()
    owner = await opened(world)
    await world.receive(record, notification("T2"))

    await owner.work_off()

    (aside,) = world.logs.records(TOPICS.quarantine, P)
    headers = dict(aside.record.headers)
    assert headers["reason"] == reason.encode(), why
    assert (headers["inbox_partition"], headers["inbox_offset"]) == (b"0", b"0")
    assert (aside.record.key, aside.record.value) == (record.key, record.value)
    assert world.latest()["T2"] == 1
    assert owner.feed.uncommitted[INBOX].offset == 2


async def test_a_verdict_of_the_door_is_not_judged_again(opened: Opened) -> None:
    world = World()
    owner = await opened(world)
    judged = notification("T1")
    headers = tuple((name, b"ambiguous" if name == "verdict" else value) for name, value in judged.headers)
    await world.receive(judged._replace(headers=headers))

    await owner.work_off()

    (aside,) = world.logs.records(TOPICS.quarantine, P)
    assert aside.record.header("reason") == b"ambiguous"
    assert world.told() == []


async def test_what_is_set_aside_is_durable_before_the_order_changes(opened: Opened) -> None:
    """Else a crash between the two leaves a held payment that nobody is told of."""
    world = World()
    owner = await opened(world)
    written: list[str] = []
    append = world.logs.append

    async def noting(topic: str, partition: int, records: list[Record]) -> list[int]:
        offsets = await append(topic, partition, records)
        written.append(topic)
        return offsets

    world.logs.append = noting  # type: ignore[method-assign, assignment] # the watch of this test
    await append(TOPICS.inbox, P, [notification("T1", currency="USD")])

    await owner.work_off()

    assert written == [TOPICS.quarantine, TOPICS.orders]


async def test_a_bug_about_one_record_sets_that_one_aside(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    def buggy(known: Any, statement: Any, evidence: Any) -> Any:
        if evidence.order == "T1":
            raise ZeroDivisionError
        return decide(known, statement, evidence)

    monkeypatch.setattr("consumers.folding.decide", buggy)
    world = World()
    owner = await opened(world)
    await world.receive(notification("T0"), notification("T1"), notification("T2"))

    await owner.work_off()

    (aside,) = world.logs.records(TOPICS.quarantine, P)
    assert aside.record.header("reason") == b"internal_error"
    assert world.latest() == {"T0": 1, "T2": 1}


async def test_a_record_that_cannot_be_made_leaves_no_hole(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was decided after it, in the same turn, stood on it; it is decided again without."""

    def buggy(change: Changed, read: Evidence, order: str, inbox_offset: int) -> Record:
        if inbox_offset == 1:
            raise ZeroDivisionError
        return to_record(change, read, order, inbox_offset)

    monkeypatch.setattr("consumers.folding.events.to_record", buggy)
    world = World()
    owner = await opened(world)
    await world.receive(
        notification("T0"),
        notification("T1", "WAIT_BUYER_PAY"),
        notification("T1"),
        notification("T1", "TRADE_FINISHED"),
    )

    await owner.work_off()

    (aside,) = world.logs.records(TOPICS.quarantine, P)
    assert aside.record.header("inbox_offset") == b"1"
    assert world.told() == [("T0", 1, "order.paid"), ("T1", 1, "order.paid"), ("T1", 2, "order.finalized")]


async def test_a_state_of_a_later_release_is_left_alone_uncommitted(opened: Opened) -> None:
    world = World()
    owner = await opened(world)
    await world.receive(notification("T1", "WAIT_BUYER_PAY"))
    await owner.work_off()
    (stored,) = world.logs.records(TOPICS.orders, P)
    newer = stored.record._replace(
        value=stored.record.value.replace(b'"state_version":1', b'"state_version":2'),
        headers=tuple((n, b"2" if n == "ce_orderversion" else v) for n, v in stored.record.headers),
    )
    await world.logs.append(TOPICS.orders, P, [newer])
    world.views.flush()
    await world.receive(notification("T1"))

    await owner.fetch()
    await spin()

    assert owner.feed.done_upto[INBOX] == 1
    assert len(world.logs.records(TOPICS.orders, P)) == 2


async def test_without_a_commit_everything_is_read_from_the_earliest(opened: Opened) -> None:
    """Rule 9: Kafka forgets the offsets of a group that was idle for a week."""
    world = World()
    first = await opened(world)
    await world.receive(notification("T1"), notification("T2"))
    await first.work_off()
    await first.crash()
    world.commits.clear()
    world.views.flush()

    second = await opened(world)
    await second.work_off()

    assert second.feed.uncommitted[INBOX].offset == 2
    assert len(world.told()) == 2, "what is there is not told again"


async def test_a_commit_that_is_too_old_is_not_believed(opened: Opened) -> None:
    """Rule 9: what it relied on may be compacted away."""
    world = World()
    first = await opened(world)
    await world.receive(notification("T1"))
    await first.work_off()
    await first.stop()
    world.clock.at = NOON + later(days=8)

    second = await opened(world)
    await second.work_off()

    assert second.feed.done_upto[INBOX] == 1
    assert world.told() == [("T1", 1, "order.paid")]


async def test_unavailable_is_the_only_error_that_is_waited_out(opened: Opened) -> None:
    """Any other out of an adapter ends the work uncommitted."""
    world = World()
    owner = await opened(world)

    async def broken(topic: str, partition: int, records: list[Record]) -> list[int]:
        raise RuntimeError("a bug of the adapter")

    await world.receive(notification("T1"))
    world.logs.append = broken  # type: ignore[method-assign, assignment] # the fault of this test
    await owner.fetch()
    assert owner._task is not None
    await asyncio.wait([owner._task])

    with pytest.raises(RuntimeError):
        owner._task.result()
    assert INBOX not in owner.feed.uncommitted


async def test_a_third_resend_is_told_and_worked_on_like_any_other(opened: Opened) -> None:
    """We failed before, whether this one is the first that lies in the inbox or a repetition of what does."""
    out = io.BytesIO()
    logs.configure(service="orders", instance="test", out=out)
    world = World()
    owner = await opened(world)
    counted = metrics.EVIDENCE_RESENT_LATE.of("shop-hkd")
    before = counted._value.get()
    await world.receive(
        notification("T1", gmt_payment="2026-11-22+19:48:00"),
        notification("T2", gmt_payment="2026-11-22+19:36:00"),
        notification("T2", gmt_payment="2026-11-22+19:36:00", made_at="20:00:01"),
    )

    await owner.work_off()

    late = [line for line in map(json.loads, out.getvalue().splitlines()) if line["event"] == "evidence.resent_late"]
    assert [(line["level"], line["order"], line["since_s"], line["offset"]) for line in late] == [
        ("warning", "T2", 1440, 1),
        ("warning", "T2", 1440, 2),
    ]
    assert counted._value.get() - before == 2
    assert [order for order, *_ in world.told()] == ["T1", "T2"]
