"""
Kafka's logs and Redis' views in memory, for tests that must choose what goes wrong and when.

They are believed only because `tests/contracts` holds them and the real adapters to the same laws.
"""

from __future__ import annotations

import asyncio
import copy
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from enum import Enum, auto
from typing import Literal, Protocol, TypeVar

from notifier.errors import Unavailable
from notifier.ports import Chunk, DueChange, DueGroup, Kept, Pointer, ViewRead
from notifier.record import Record, Stored

Place = tuple[str, int]
"""Topic and partition."""


_T = TypeVar("_T")


class Network(Protocol):
    """What lies between a client and its server."""

    async def carry(self, to: Literal["kafka", "redis"], work: Callable[[], _T]) -> _T:
        """
        Bring a request there, let the server do its work in one step, and bring the answer back.

        Raises:
            Unavailable: no answer came; the work may be done all the same, now or later.
        """
        ...


class Wire:
    """A network on which nothing goes wrong: a turn of the event loop there, and one back."""

    async def carry(self, to: Literal["kafka", "redis"], work: Callable[[], _T]) -> _T:
        """As `Network`."""
        await asyncio.sleep(0)
        answer = work()
        await asyncio.sleep(0)
        return answer


class Fault(Enum):
    """What becomes of an append. All but the last are not acknowledged."""

    LOST = auto()
    UNKNOWN = auto()
    """It landed, and nobody was told."""
    CUT = auto()
    """Only its beginning landed."""
    LATE = auto()
    """It lands when `FakeLogs.land_late` is called."""
    DOUBLED = auto()
    """It landed and is acknowledged, and lands once more when `FakeLogs.land_late` is called."""


class FakeLogs:
    """All topics of a cluster: appends, reads, and compaction when it is asked for (`notifier.ports.Appender`, `LogReader`)."""

    def __init__(self, network: Network | None = None) -> None:
        self._network = network or Wire()
        self.logs: defaultdict[Place, list[Stored | None]] = defaultdict(list)
        self.starts: defaultdict[Place, int] = defaultdict(int)
        self.faults: defaultdict[str, deque[Fault]] = defaultdict(deque)
        """By topic: what becomes of the next appends."""
        self.now_ms = 0
        self.landed = asyncio.Event()
        """Set by each record that lands."""
        self.late: list[tuple[Place, Sequence[Record]]] = []

    async def append(self, topic: str, partition: int, records: Sequence[Record]) -> list[int]:
        """Append in order, unless a fault is due."""
        return await self._network.carry("kafka", lambda: self._take((topic, partition), list(records)))

    def _take(self, place: Place, records: list[Record]) -> list[int]:
        fault = self.fault_of(place[0], len(records))
        if fault in (Fault.LATE, Fault.DOUBLED):
            self.late.append((place, records))
        if fault in (Fault.LATE, Fault.LOST):
            raise Unavailable("kafka", "kafka_timeout")
        offsets = [self._land(place, record) for record in records[: len(records) // 2 if fault is Fault.CUT else None]]
        if fault in (Fault.UNKNOWN, Fault.CUT):
            raise Unavailable("kafka", "kafka_timeout")
        return offsets

    def fault_of(self, topic: str, count: int) -> Fault | None:
        """What becomes of the next append to a topic, of so many records."""
        return self.faults[topic].popleft() if self.faults[topic] else None

    def land_late(self, count: int | None = None) -> None:
        """Let what was late land now: all of it, or so many of its appends."""
        late, self.late = self.late[:count], self.late[len(self.late[:count]) :]
        for place, records in late:
            for record in records:
                self._land(place, record)

    def put(self, topic: str, partition: int, record: Record) -> None:
        """Let a record lie in a log, whoever wrote it."""
        self._land((topic, partition), record)

    def _land(self, place: Place, record: Record) -> int:
        log = self.logs[place]
        log.append(Stored(record, len(log), self.now_ms))
        self.landed.set()
        return len(log) - 1

    def compact(self, topic: str, partition: int, upto: int | None = None) -> None:
        """Keep the last record of each key below an offset, as Kafka's cleaner does below the compaction lag; offsets stay."""
        log = self.logs[topic, partition]
        old = log[:upto]
        last = {stored.record.key: stored.offset for stored in old if stored is not None}
        log[: len(old)] = [one if one is not None and last[one.record.key] == one.offset else None for one in old]

    def truncate(self, topic: str, partition: int, start: int) -> None:
        """Delete what lies below an offset, as retention does."""
        self.starts[topic, partition] = start

    def records(self, topic: str, partition: int) -> list[Stored]:
        """Everything that lies in a log."""
        start = self.starts[topic, partition]
        return [stored for stored in self.logs[topic, partition][start:] if stored is not None]

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """The log's start and end."""
        place = topic, partition
        return await self._network.carry("kafka", lambda: (self.starts[place], len(self.logs[place])))

    async def offset_at(self, topic: str, partition: int, at_ms: int) -> int:
        """The offset of the first record appended at or after a time; the end if there is none."""

        def find() -> int:
            found = (one.offset for one in self.records(topic, partition) if one.appended_at_ms >= at_ms)
            return next(found, len(self.logs[topic, partition]))

        return await self._network.carry("kafka", find)

    async def read(self, topic: str, partition: int, start: int, upto: int) -> AsyncGenerator[Chunk, None]:
        """The records from `start` to at least `upto`, three at a time, so that chunks end anywhere."""
        place, position = (topic, partition), max(start, self.starts[topic, partition])

        def fetch() -> Chunk:
            after = min(position + 3, len(self.logs[place]))
            return Chunk([one for one in self.logs[place][position:after] if one is not None], after)

        while position < upto:
            chunk = await self._network.carry("kafka", fetch)
            position = chunk.next_offset
            yield chunk

    async def one(self, topic: str, partition: int, offset: int) -> Stored | None:
        """The record at an offset; None where it is no more."""
        place = topic, partition
        return await self._network.carry(
            "kafka", lambda: self.logs[place][offset] if self.starts[place] <= offset < len(self.logs[place]) else None
        )

    async def some(self, topic: str, partition: int, offsets: Collection[int]) -> dict[int, Stored]:
        """The records at these offsets, as far as they are still there."""
        there = {one.offset: one for one in self.records(topic, partition)}
        return await self._network.carry("kafka", lambda: {at: there[at] for at in offsets if at in there})


class _View:
    def __init__(self) -> None:
        self.position: int | None = None
        self.entries: dict[bytes, Kept] = {}
        self.resting: dict[bytes, Pointer] = {}
        self.rested_upto = 0
        self.due: defaultdict[str, dict[bytes, int]] = defaultdict(dict)


class FakeViews:
    """All views of a Redis (`notifier.ports.ViewStore`)."""

    def __init__(self, network: Network | None = None) -> None:
        self._network = network or Wire()
        self.views: defaultdict[Place, _View] = defaultdict(_View)
        self.is_down = False

    def flush(self) -> None:
        """Lose everything."""
        self.views.clear()

    def save(self) -> dict[Place, _View]:
        """A backup."""
        return copy.deepcopy(dict(self.views))

    def restore(self, backup: dict[Place, _View]) -> None:
        """Put a backup in place of what is there."""
        self.views = defaultdict(_View, copy.deepcopy(backup))

    async def read(self, topic: str, partition: int, keys: Sequence[bytes]) -> ViewRead:
        """Entries and position at one moment."""

        def work() -> ViewRead:
            view = self.views[topic, partition]
            return ViewRead(view.position, [view.entries.get(key) or view.resting.get(key) for key in keys])

        return await self._ask(work)

    async def write(
        self,
        topic: str,
        partition: int,
        *,
        expected: int | None,
        position: int,
        entries: Mapping[bytes, Kept],
        due: Sequence[DueChange],
    ) -> bool:
        """Move the view if it is where it was read."""

        def work() -> bool:
            view = self.views[topic, partition]
            if view.position != expected:
                return False
            view.position = position
            view.entries |= entries
            for change in due:
                if change.due_ms is None:
                    view.due[change.group].pop(change.key, None)
                else:
                    view.due[change.group][change.key] = change.due_ms
            return True

        return await self._ask(work)

    async def due(
        self, topic: str, partition: int, group: str, *, until_ms: int | None, limit: int, from_ms: int = 0
    ) -> list[tuple[bytes, int]]:
        """What is due, the longest due first."""

        def work() -> list[tuple[bytes, int]]:
            found = sorted(self.views[topic, partition].due[group].items(), key=lambda item: (item[1], item[0]))
            return [(key, at) for key, at in found if at >= from_ms and (until_ms is None or at <= until_ms)][:limit]

        return await self._ask(work)

    async def due_groups(self, topic: str, partition: int) -> list[DueGroup]:
        """What the due index holds, group by group."""

        def work() -> list[DueGroup]:
            groups = self.views[topic, partition].due.items()
            return [DueGroup(name, len(due), min(due.values())) for name, due in groups if due]

        return await self._ask(work)

    async def rested_upto(self, topic: str, partition: int) -> int:
        """How far `rest` has come."""
        return await self._ask(lambda: self.views[topic, partition].rested_upto)

    async def rest(self, topic: str, partition: int, pointers: Mapping[bytes, Pointer], *, upto: int) -> None:
        """Keep only a pointer of what still lies where the pointer says."""

        def work() -> None:
            view = self.views[topic, partition]
            if view.position is None:
                return
            for key, pointer in pointers.items():
                if key in view.entries and view.entries[key].offset == pointer.offset:
                    view.resting[key] = pointer
                    del view.entries[key]
            view.rested_upto = upto

        await self._ask(work)

    async def drop_below(self, topic: str, partition: int, start: int) -> None:
        """Take out pointers to what lies below an offset."""

        def work() -> None:
            view = self.views[topic, partition]
            view.resting = {key: pointer for key, pointer in view.resting.items() if pointer.offset >= start}

        await self._ask(work)

    async def forget(self, topic: str, partition: int) -> None:
        """Throw the view away."""
        await self._ask(lambda: self.views.pop((topic, partition), None))

    async def _ask(self, work: Callable[[], _T]) -> _T:
        def answer() -> _T:
            if self.is_down:
                raise Unavailable("redis", "ConnectionError")
            return work()

        return await self._network.carry("redis", answer)
