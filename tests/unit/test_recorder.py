"""The one writer of a partition's deliveries: one append at a time, together what comes together, said when it is durable."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

import pytest

import consumers.telling.recorder
from consumers.fanout import LANES
from consumers.telling.recorder import LaneStep, Recorder, lane_in
from consumers.view import View
from notifier.deliveries import delivery
from notifier.deliveries.delivery import DeliveryRecord, Lane, Outcome, Ref, lane_key, settle, wait
from notifier.outage import Outages
from notifier.record import Record
from tests.fakes import Fault
from tests.owners import NOON, TOPICS, P, World, spin

WITHIN_S = 5.0


class Writer:
    """A recorder at work on fakes, whose appends can be held up."""

    def __init__(self) -> None:
        self.world = World()
        self.may_write = asyncio.Event()
        self.may_write.set()
        self.appends: list[int] = []
        """How many records each of them had."""
        self.out = 0
        self.out_max = 0
        self.moves: list[tuple[bytes, int, int]] = []
        view = View(TOPICS.deliveries, P, LANES, store=self.world.views, reader=self.world.logs, appender=self)
        self.recorder = Recorder(view, Outages(sleep=lambda _: asyncio.sleep(0)), on_record=self._moved)

    async def record(self, key: bytes, step: LaneStep) -> Lane:
        """As the recorder, within a bound."""
        async with asyncio.timeout(WITHIN_S):
            return await self.recorder.record_lane(key, step)

    async def append(self, topic: str, partition: int, records: Sequence[Record]) -> list[int]:
        """As `notifier.ports.Appender`."""
        self.appends.append(len(records))
        self.out += 1
        self.out_max = max(self.out_max, self.out)
        try:
            await self.may_write.wait()
            return await self.world.logs.append(topic, partition, records)
        finally:
            self.out -= 1

    def _moved(self, key: bytes, before: Record | None, after: Record | None) -> None:
        self.moves.append((key, lane_in(before).settled, lane_in(after).settled))

    def settled(self) -> list[tuple[str, int]]:
        """What the log says, record by record: the order, and what of it is settled."""
        found = [delivery.from_record(stored.record) for stored in self.world.logs.records(TOPICS.deliveries, P)]
        return [(one.order, one.lane.settled) for one in found]


@pytest.fixture
async def writer() -> AsyncIterator[Writer]:
    made = Writer()
    task = asyncio.get_running_loop().create_task(made.recorder.run())
    yield made
    task.cancel()
    await asyncio.wait({task})


def key(order: str) -> bytes:
    return lane_key("oms", "shop-hkd", order)


def record_of(order: str, version: int, after: Lane) -> DeliveryRecord:
    return DeliveryRecord(
        event_id=f"evt_{version}",
        endpoint="oms",
        channel="shop-hkd",
        order=order,
        version=version,
        event_partition=P,
        event_offset=version,
        attempt=1,
        outcome=Outcome.ACCEPTED,
        status_code=204,
        duration_ms=1.0,
        error=None,
        next_attempt_at=after.next_attempt_at,
        lane=after,
    )


def settles(order: str, version: int) -> LaneStep:
    """An accepted delivery."""

    def step(before: Lane) -> DeliveryRecord | None:
        return record_of(
            order, version, settle(before, Ref(version, version, f"evt_{version:032x}"), now=NOON, is_dead=False)
        )

    return step


async def test_an_outcome_is_said_to_be_recorded_when_it_is_durable(writer: Writer) -> None:
    writer.may_write.clear()
    async with asyncio.TaskGroup() as tasks:
        recording = tasks.create_task(writer.record(key("T1"), settles("T1", 1)))
        await spin()
        assert (writer.appends, recording.done(), writer.moves) == ([1], False, [])
        writer.may_write.set()

    assert recording.result().settled == 1
    assert writer.settled() == [("T1", 1)]
    assert writer.moves == [(key("T1"), 0, 1)]


async def test_there_is_one_writer_and_what_comes_meanwhile_goes_together_in_its_order(writer: Writer) -> None:
    writer.may_write.clear()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(writer.record(key("T0"), settles("T0", 1)))
        await spin()
        for number in range(1, 6):
            tasks.create_task(writer.record(key(f"T{number}"), settles(f"T{number}", 1)))
        await spin()
        writer.may_write.set()

    assert writer.appends == [1, 5]
    assert writer.out_max == 1
    assert [order for order, _ in writer.settled()] == ["T0", "T1", "T2", "T3", "T4", "T5"]


async def test_a_batch_has_a_bound(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumers.telling.recorder, "BATCH_MAX", 2)
    async with asyncio.TaskGroup() as tasks:
        for number in range(5):
            tasks.create_task(writer.record(key(f"T{number}"), settles(f"T{number}", 1)))

    assert writer.appends == [2, 2, 1]


async def test_steps_of_one_lane_build_on_each_other_and_each_is_a_record(writer: Writer) -> None:
    """In one batch or in two: a step sees what the one before it has made of the lane."""
    async with asyncio.TaskGroup() as tasks:
        for version in (1, 2, 3):
            tasks.create_task(writer.record(key("T1"), settles("T1", version)))

    assert writer.settled() == [("T1", 1), ("T1", 2), ("T1", 3)]
    assert writer.moves == [(key("T1"), 0, 1), (key("T1"), 1, 2), (key("T1"), 2, 3)]


async def test_where_there_is_nothing_to_record_nothing_is_appended(writer: Writer) -> None:
    assert await writer.record(key("T1"), lambda _: None) == Lane()

    assert writer.appends == []


@pytest.mark.parametrize(
    ("fault", "records", "why"),
    [
        (Fault.LOST, [("T1", 1)], "tried again until it is there"),
        (Fault.UNKNOWN, [("T1", 1), ("T1", 1)], "it had landed: the step is taken again on what the log says"),
    ],
)
async def test_what_was_not_acknowledged_is_tried_again_and_not_said_before(
    writer: Writer, fault: Fault, records: list[tuple[str, int]], why: str
) -> None:
    writer.world.logs.faults[TOPICS.deliveries] += [fault]

    assert (await writer.record(key("T1"), settles("T1", 1))).settled == 1

    assert writer.settled() == records, why
    assert len(writer.appends) == 2
    assert writer.moves[-1][2] == 1


async def test_while_redis_is_away_nothing_is_recorded_on_a_guess(writer: Writer) -> None:
    writer.world.views.is_down = True
    async with asyncio.TaskGroup() as tasks:
        recording = tasks.create_task(writer.record(key("T1"), settles("T1", 1)))
        await spin()
        assert (writer.appends, recording.done()) == ([], False)
        writer.world.views.is_down = False

    assert writer.settled() == [("T1", 1)]


async def test_one_who_waits_no_more_takes_nobody_with_it(writer: Writer) -> None:
    """Its outcome is recorded all the same: the POST was made."""
    writer.may_write.clear()
    async with asyncio.TaskGroup() as tasks:
        leaving = tasks.create_task(writer.record(key("T1"), settles("T1", 1)))
        other = tasks.create_task(writer.record(key("T2"), settles("T2", 1)))
        await spin()
        leaving.cancel()
        await asyncio.wait({leaving})
        writer.may_write.set()

    assert other.result().settled == 1
    assert writer.settled() == [("T1", 1), ("T2", 1)]


async def test_a_step_is_taken_on_what_the_log_says_and_not_on_what_was_seen_before(writer: Writer) -> None:
    """Another owner wrote down version 1 meanwhile: what is written next forgets nothing of it."""
    waiting = wait(
        Lane(),
        [Ref(1, 0, "evt_00000000000000000000000000000001")],
        since=NOON,
        attempt=1,
        due=NOON + timedelta(seconds=5),
    )
    writer.world.logs.put(TOPICS.deliveries, P, delivery.to_record(record_of("T1", 1, waiting)))
    await writer.record(key("T2"), settles("T2", 1))  # its offset tells that somebody else was there

    def step(before: Lane) -> DeliveryRecord | None:
        return record_of(
            "T1", 2, wait(before, [Ref(2, 1, "evt_00000000000000000000000000000002")], since=NOON, attempt=1, due=NOON)
        )

    lane = await writer.record(key("T1"), step)

    assert [ref.version for ref in lane.waiting] == [1, 2]
