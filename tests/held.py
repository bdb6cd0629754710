"""One process' own lines to the fakes: a request or its answer can be held up, so that a test chooses what happens meanwhile."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

from notifier.ports import DueChange, Kept
from notifier.record import Record
from tests.fakes import FakeLogs, FakeViews

Call = Literal["append", "write"]


@dataclass(slots=True)
class Hold:
    """A call that is held up until it is let go."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_reached(self) -> bool:
        """Has the call come to where it is held up?"""
        return self.reached.is_set()

    def let_go(self) -> None:
        """Let it go on."""
        self.go_on.set()


class Holds:
    """The calls of one line that are to be held up, each once."""

    def __init__(self) -> None:
        self._requests: defaultdict[tuple[Call, str], deque[Hold]] = defaultdict(deque)
        self._answers: defaultdict[tuple[Call, str], deque[Hold]] = defaultdict(deque)

    def request(self, call: Call, topic: str) -> Hold:
        """Hold the next such call up before it arrives."""
        self._requests[call, topic].append(Hold())
        return self._requests[call, topic][-1]

    def answer(self, call: Call, topic: str) -> Hold:
        """Hold the answer of the next such call up: it has done its work, and the caller does not know."""
        self._answers[call, topic].append(Hold())
        return self._answers[call, topic][-1]

    @asynccontextmanager
    async def on(self, call: Call, topic: str) -> AsyncIterator[None]:
        """Around the call itself."""
        await _pass(self._requests[call, topic])
        yield
        await _pass(self._answers[call, topic])


async def _pass(holds: deque[Hold]) -> None:
    if holds:
        hold = holds.popleft()
        hold.reached.set()
        await hold.go_on.wait()


class HeldLogs:
    """The same logs, over a line of one's own."""

    def __init__(self, logs: FakeLogs) -> None:
        self.holds = Holds()
        self.told_bounds: dict[str, tuple[int, int]] = {}
        """By topic: what a leader says that has lost its followers."""
        self._logs = logs
        self.offset_at, self.read, self.one, self.some = logs.offset_at, logs.read, logs.one, logs.some

    async def append(self, topic: str, partition: int, records: Sequence[Record]) -> list[int]:
        """As `notifier.ports.Appender`."""
        async with self.holds.on("append", topic):
            return await self._logs.append(topic, partition, records)

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """As `notifier.ports.LogReader`."""
        bounds = await self._logs.bounds(topic, partition)
        return self.told_bounds.get(topic, bounds)


class HeldViews:
    """The same views, over a line of one's own."""

    def __init__(self, views: FakeViews) -> None:
        self.holds = Holds()
        self._views = views
        self.read, self.due, self.due_groups = views.read, views.due, views.due_groups
        self.rest, self.rested_upto = views.rest, views.rested_upto
        self.drop_below, self.forget = views.drop_below, views.forget

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
        """As `notifier.ports.ViewStore`."""
        async with self.holds.on("write", topic):
            return await self._views.write(
                topic, partition, expected=expected, position=position, entries=entries, due=due
            )
