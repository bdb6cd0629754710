"""Playing one row: the fault, its line, its metric, its alert."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime

from tests.alarms.product import SEEN_WITHIN_S, Product
from tests.alarms.scrapes import Scrapes
from tests.alarms.table import ENTRIES, RULES, Row
from tests.faults.product import Line
from tests.waiting import until

A_TIME = 1e9
"""What is greater is Unix seconds."""


@dataclass(slots=True)
class Seen:
    """What was seen of a row; `problem` is empty where it was all that there should be."""

    row: Row
    before: float | None = None
    after: float | None = None
    rose_after_s: float | None = None
    fell_after_s: float | None = None
    seconds: float = 0.0
    problem: str = ""

    @property
    def words(self) -> str:
        """A line for people."""
        metric = "-" if self.row.expression is None else f"{_figure(self.before)} → {_figure(self.after)}"
        alert = self.row.alert or self.row.falls or "-"
        if self.rose_after_s is not None:
            alert += f" rose {self.rose_after_s:.1f} s"
        if self.fell_after_s is not None:
            alert += f" fell {self.fell_after_s:.1f} s"
        verdict = f"  FAILED: {self.problem}" if self.problem else ""
        return f"{self.row.line:24} {self.row.level:8} {metric:16} {alert:44} {self.seconds:5.1f} s{verdict}"


def _figure(value: float | None) -> str:
    if value is None:
        return "none"
    return f"{datetime.fromtimestamp(value, UTC):%b %d %H:%M}" if value > A_TIME else f"{value:g}"


async def see(row: Row, product: Product) -> Seen:
    """Play a row. What goes wrong is told in its result."""
    seen, loop = Seen(row), asyncio.get_running_loop()
    began = loop.time()
    try:
        await _see(row, product, seen)
    except (TimeoutError, AssertionError) as problem:
        seen.problem = str(problem) or type(problem).__name__
    seen.seconds = loop.time() - began
    return seen


async def _see(row: Row, product: Product, seen: Seen) -> None:
    scrapes, loop = product.scrapes, asyncio.get_running_loop()
    marks = {} if row.from_start else product.marks()
    await next_round(scrapes)
    if row.goes_away:

        async def is_there() -> bool:
            return figure(scrapes, row) is not None

        await until(is_there, SEEN_WITHIN_S, f"{row.expression} is there before")
    seen.before = seen.after = figure(scrapes, row)
    assert row.from_start or not is_raised(scrapes, row.alert, row), f"{row.alert} is raised before"
    began = loop.time()
    async with nullcontext() if row.play is None else row.play(product):
        line = await product.said(row.line, marks, row.count, level=row.level, **row.said)
        _has_fields(line, row)

        async def has_moved() -> bool:
            seen.after = figure(scrapes, row)
            if row.goes_away:
                return seen.after is None
            least = 0 if row.from_start else seen.before or 0
            return seen.after is not None and seen.after > least

        if row.expression is not None:
            await until(has_moved, SEEN_WITHIN_S, f"{row.expression} moves from {_figure(seen.before)}")

        async def has_risen() -> bool:
            return is_raised(scrapes, row.alert, row)

        if row.alert is not None:
            await until(has_risen, SEEN_WITHIN_S, f"{row.alert} rises")
            seen.rose_after_s = loop.time() - began
        began = loop.time()

    async def has_fallen() -> bool:
        return not is_raised(scrapes, row.falls, row)

    if row.falls is not None:
        await until(has_fallen, SEEN_WITHIN_S, f"{row.falls} falls")
        seen.fell_after_s = loop.time() - began


async def next_round(scrapes: Scrapes) -> None:
    """Return once all were asked after this was called."""
    wanted = scrapes.rounds + 2

    async def is_so() -> bool:
        return scrapes.rounds >= wanted

    await until(is_so, SEEN_WITHIN_S, "metrics are asked for")


def figure(scrapes: Scrapes, row: Row) -> float | None:
    """What the row's metric says now."""
    return None if row.expression is None else next(iter(scrapes.value(row.expression).values()), None)


def is_raised(scrapes: Scrapes, alert: str | None, row: Row) -> bool:
    """Whether the alert's expression is true now, of what the row is about."""
    if alert is None:
        return False
    found = scrapes.value(RULES[alert]["expr"])
    return any(row.labels.items() <= dict(labels).items() for labels in found)


def _has_fields(line: Line, row: Row) -> None:
    empty = [name for name in row.fields if line.get(name) in (None, "", [])]
    assert empty == [], f"{line} says nothing of {empty}"


def without_metrics(row: Row, product: Product) -> Seen | None:
    """The row, if nobody ever had one of the metrics that the catalogue names for its line; some come once in half a minute."""
    names = product.scrapes.names()
    missing = [name for name in ENTRIES[row.line].metrics if not names & {f"notifier_{name}", f"notifier_{name}_count"}]
    return Seen(row, problem=f"nobody had {missing}") if missing else None
