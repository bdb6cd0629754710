"""
Kafka's logs and Redis' views in memory, for tests that must choose what goes wrong and when.

They are believed only because `tests/contracts` holds them and the real adapters to the same laws.
"""

from __future__ import annotations

import asyncio
import copy
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Mapping, Sequence
from enum import Enum, auto

from notifier.errors import Unavailable
from notifier.ports import Chunk, DueChange, Kept, Pointer, ViewRead
from notifier.record import Record, Stored

Place = tuple[str, int]
"""Topic and partition."""


class Fault(Enum):
    """What becomes of an append that is not acknowledged."""

    LOST = auto()
    UNKNOWN = auto()
    """It landed, and nobody was told."""
    LATE = auto()
    """It lands when `FakeLogs.land_late` is called."""


class FakeLogs:
    """All topics of a cluster: appends, reads, and compaction when it is asked for (`notifier.ports.Appender`, `LogReader`)."""

    def __init__(self) -> None:
        self.logs: defaultdict[Place, list[Stored | None]] = defaultdict(list)
        self.starts: defaultdict[Place, int] = defaultdict(int)
        self.faults: defaultdict[str, deque[Fault]] = defaultdict(deque)
        """By topic: what becomes of the next appends."""
        self.now_ms = 0
        self.landed = asyncio.Event()
        """Set by each record that lands."""
        self._late: list[tuple[Place, Sequence[Record]]] = []

    async def append(self, topic: str, partition: int, records: Sequence[Record]) -> list[int]:
        """Append in order, unless a fault is due."""
        await asyncio.sleep(0)
        fault = self.faults[topic].popleft() if self.faults[topic] else None
        if fault is Fault.LATE:
            self._late.append(((topic, partition), list(records)))
        if fault in (Fault.LATE, Fault.LOST):
            raise Unavailable("kafka", "kafka_timeout")
        offsets = [self._land((topic, partition), record) for record in records]
        if fault is Fault.UNKNOWN:
            raise Unavailable("kafka", "kafka_timeout")
        await asyncio.sleep(0)
        return offsets

    def land_late(self) -> None:
        """Let what was late land now."""
        for place, records in self._late:
            for record in records:
                self._land(place, record)
        self._late.clear()

    def _land(self, place: Place, record: Record) -> int:
        log = self.logs[place]
        log.append(Stored(record, len(log), self.now_ms))
        self.landed.set()
        return len(log) - 1

    def compact(self, topic: str, partition: int) -> None:
        """Keep the last record of each key, as Kafka's cleaner does; offsets stay."""
        log = self.logs[topic, partition]
        last = {stored.record.key: stored.offset for stored in log if stored is not None}
        log[:] = [stored if stored is not None and last[stored.record.key] == stored.offset else None for stored in log]

    def truncate(self, topic: str, partition: int, start: int) -> None:
        """Delete what lies below an offset, as retention does."""
        self.starts[topic, partition] = start

    def records(self, topic: str, partition: int) -> list[Stored]:
        """Everything that lies in a log."""
        start = self.starts[topic, partition]
        return [stored for stored in self.logs[topic, partition][start:] if stored is not None]

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """The log's start and end."""
        await asyncio.sleep(0)
        return self.starts[topic, partition], len(self.logs[topic, partition])

    async def offset_at(self, topic: str, partition: int, at_ms: int) -> int:
        """The offset of the first record appended at or after a time; the end if there is none."""
        await asyncio.sleep(0)
        found = (stored.offset for stored in self.records(topic, partition) if stored.appended_at_ms >= at_ms)
        return next(found, len(self.logs[topic, partition]))

    async def read(self, topic: str, partition: int, start: int, upto: int) -> AsyncIterator[Chunk]:
        """The records from `start` to at least `upto`, three at a time, so that chunks end anywhere."""
        position = max(start, self.starts[topic, partition])
        while position < upto:
            await asyncio.sleep(0)
            after = min(position + 3, len(self.logs[topic, partition]))
            found = [stored for stored in self.logs[topic, partition][position:after] if stored is not None]
            position = after
            yield Chunk(found, position)

    async def one(self, topic: str, partition: int, offset: int) -> Stored | None:
        """The record at an offset; None where it is no more."""
        await asyncio.sleep(0)
        if not self.starts[topic, partition] <= offset < len(self.logs[topic, partition]):
            return None
        return self.logs[topic, partition][offset]


class _View:
    def __init__(self) -> None:
        self.position: int | None = None
        self.entries: dict[bytes, Kept] = {}
        self.resting: dict[bytes, Pointer] = {}
        self.rested_upto = 0
        self.due: defaultdict[str, dict[bytes, int]] = defaultdict(dict)


class FakeViews:
    """All views of a Redis (`notifier.ports.ViewStore`)."""

    def __init__(self) -> None:
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
        await self._answer()
        view = self.views[topic, partition]
        return ViewRead(view.position, [view.entries.get(key) or view.resting.get(key) for key in keys])

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
        await self._answer()
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

    async def due(
        self, topic: str, partition: int, group: str, *, until_ms: int | None, limit: int
    ) -> list[tuple[bytes, int]]:
        """What is due, the longest due first."""
        await self._answer()
        found = sorted(self.views[topic, partition].due[group].items(), key=lambda item: (item[1], item[0]))
        return [(key, at) for key, at in found if until_ms is None or at <= until_ms][:limit]

    async def waiting(self, topic: str, partition: int, group: str) -> int:
        """How many keys of a group are in the due index."""
        await self._answer()
        return len(self.views[topic, partition].due[group])

    async def rested_upto(self, topic: str, partition: int) -> int:
        """How far `rest` has come."""
        await self._answer()
        return self.views[topic, partition].rested_upto

    async def rest(self, topic: str, partition: int, pointers: Mapping[bytes, Pointer], *, upto: int) -> None:
        """Keep only a pointer of what still lies where the pointer says."""
        await self._answer()
        view = self.views[topic, partition]
        for key, pointer in pointers.items():
            if key in view.entries and view.entries[key].offset == pointer.offset:
                view.resting[key] = pointer
                del view.entries[key]
        view.rested_upto = upto

    async def drop_below(self, topic: str, partition: int, start: int) -> None:
        """Take out pointers to what lies below an offset."""
        await self._answer()
        view = self.views[topic, partition]
        view.resting = {key: pointer for key, pointer in view.resting.items() if pointer.offset >= start}

    async def forget(self, topic: str, partition: int) -> None:
        """Throw the view away."""
        await self._answer()
        self.views.pop((topic, partition), None)

    async def _answer(self) -> None:
        await asyncio.sleep(0)
        if self.is_down:
            raise Unavailable("redis", "ConnectionError")
