"""Reading for who is behind, while the others go on (`consumers.telling.reading_back`)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from types import SimpleNamespace
from typing import cast

import pytest

import consumers.telling.reading_back
from consumers.telling.due import DueTimes
from consumers.telling.means import Shared
from consumers.telling.reading_back import ReadingBack
from notifier.outage import Outages
from notifier.ports import Chunk
from notifier.topics import Topics

WITHIN_S = 5.0
JOINS = "joins"


class Written:
    """What is written down of one endpoint that is behind (`Endpoints`), in its order."""

    def __init__(self) -> None:
        self.steps: list[object] = []
        self.reached: int | None = 0
        self.is_caught_up = asyncio.Event()

    def behind(self) -> list[tuple[str, int]]:
        """As the real one's."""
        return [] if self.reached is None or JOINS in self.steps else [("erp", self.reached)]

    def joins(self, _: str) -> None:
        """As the real one's."""
        self.steps.append(JOINS)

    async def read_for(self, _: str, upto: int | None) -> None:
        """As the real one's."""
        self.steps.append(upto)
        self.reached = upto
        if upto is None:
            self.is_caught_up.set()


class Log:
    """An orders log of which one record comes at a time, and none of it is for anybody."""

    def __init__(self, on_chunk: Callable[[int], None] = lambda _: None) -> None:
        self.read_from: list[int] = []
        self._on_chunk = on_chunk

    async def read(self, _topic: str, _partition: int, start: int, upto: int) -> AsyncGenerator[Chunk, None]:
        """As the real one's."""
        self.read_from.append(start)
        for offset in range(start, upto):
            self._on_chunk(offset)
            yield Chunk([], offset + 1)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No second between two readings."""
    monkeypatch.setattr(consumers.telling.reading_back, "PAUSE_S", 0.0)


def reading(log: Log, written: Written, due: DueTimes, upto: Callable[[], int]) -> ReadingBack:
    means = SimpleNamespace(topics=Topics("t"), reader=log, outages=Outages(), waiting_max=10)
    shared = SimpleNamespace(
        means=means,
        partition=0,
        recorder=None,
        endpoints=written,
        due=due,
        callees=SimpleNamespace(by_name={"erp": object()}),
    )
    return ReadingBack(cast("Shared", shared), upto=upto)


async def until_caught_up(work: ReadingBack, written: Written) -> None:
    async with asyncio.timeout(WITHIN_S), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(work.run())
        await written.is_caught_up.wait()
        running.cancel()


async def test_it_goes_with_the_others_where_they_are_and_not_before() -> None:
    """What the others were given meanwhile was not for it yet: it would have been told to nobody."""
    others = 2

    def go_on(offset: int) -> None:
        nonlocal others
        others = 4 if offset == 1 else others

    written, log = Written(), Log(go_on)
    await until_caught_up(reading(log, written, DueTimes(), lambda: others), written)

    assert written.steps == [1, 2, 3, 4, JOINS, None]
    assert log.read_from == [0, 2]


async def test_nothing_is_read_on_while_much_waits() -> None:
    """What is read for it waits; half of what may wait is enough, the rest is still in the orders log."""
    written, due = Written(), DueTimes()
    due.count("erp", 5)

    def serve_some(offset: int) -> None:
        if offset == 2:
            due.count("erp", -1)

    log = Log(serve_some)
    await until_caught_up(reading(log, written, due, lambda: 4), written)

    assert log.read_from == [0, 1, 2], "one chunk at a time, until less waits"
    assert written.steps == [1, 2, 3, 4, JOINS, None]
