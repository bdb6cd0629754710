"""A view that is built again from its log: how it is told, that others have their turns, and what is not asked for twice."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from rich.console import Console

import consumers.rebuilding
import consumers.view
from consumers.rebuilding import MANY_RECORDS, RebuildLines
from consumers.turns import TURN_ITEMS
from consumers.view import Merging, RecreatedTopicError, View
from notifier import logs
from notifier.cli.rebuild_bar import RebuildBar
from notifier.ports import Chunk, DueChange, Pointer, ViewRead
from notifier.record import Record, Stored
from tests.fakes import FakeLogs, FakeViews
from tests.held import HeldLogs

TOPIC, P = "t.orders.v1", 0

FIRST_TOLD = {"topic": TOPIC, "partition": P, "done": 0, "total": MANY_RECORDS, "percent": 0.0}


def version(record: Record) -> int:
    return int(record.value)


def numbered(due: Callable[[Record], DueChange | None] = lambda _: None, seen: list[int] | None = None) -> Merging:
    """The higher number wins; each merging is noted."""

    def merge(known: Record | None, new: Record) -> Record:
        if seen is not None:
            seen.append(version(new))
        return known if known is not None and version(known) > version(new) else new

    return Merging(merge=merge, due=due, version=version, may_rest=lambda _: True, is_ours=lambda _: True)


class WholeLogs(FakeLogs):
    """A log that is read in chunks as large as they are in earnest."""

    async def read(self, topic: str, partition: int, start: int, upto: int) -> Any:
        """All of it, a thousand at a time."""
        records = self.records(topic, partition)
        for first in range(start, len(records), 1000):
            await asyncio.sleep(0)
            yield Chunk(records[first : first + 1000], min(first + 1000, len(records)))


class CountedViews(FakeViews):
    """Notes what was asked for, and what was written."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[bytes] = []
        self.written: list[int] = []

    async def read(self, topic: str, partition: int, keys: Sequence[bytes]) -> ViewRead:
        """As `FakeViews`."""
        self.asked += keys
        return await super().read(topic, partition, keys)

    async def write(self, topic: str, partition: int, **more: Any) -> bool:
        """As `FakeViews`."""
        self.written.append(len(more["entries"]))
        return await super().write(topic, partition, **more)


def lines(written: io.BytesIO) -> list[dict[str, Any]]:
    """The lines about a rebuild, without what every line has."""
    read = [json.loads(line) for line in written.getvalue().splitlines()]
    ours = ("timestamp", "level", "event", "service", "instance", "version")
    return [
        {name: value for name, value in line.items() if name not in ours}
        for line in read
        if line["event"] == "view.rebuilding"
    ]


@pytest.fixture
def written() -> io.BytesIO:
    """Where log lines go."""
    out = io.BytesIO()
    logs.configure(service="orders", instance="test", out=out)
    return out


def test_a_long_rebuild_is_told_at_its_start_and_not_at_each_step(written: io.BytesIO) -> None:
    with RebuildLines().begin(TOPIC, P, MANY_RECORDS) as tell:
        for done in range(1_000, MANY_RECORDS + 1, 1_000):
            tell(done)

    assert lines(written) == [FIRST_TOLD | {"per_s": None}]


def test_as_long_as_it_lasts_it_is_told_again(written: io.BytesIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumers.rebuilding, "TELL_EVERY_S", 0.0)

    with RebuildLines().begin(TOPIC, P, MANY_RECORDS) as tell:
        tell(2_500)
        tell(MANY_RECORDS + 3)  # the log has grown meanwhile

    assert [(line["done"], line["percent"]) for line in lines(written)] == [(0, 0.0), (2_500, 25.0), (10_003, 100.0)]
    assert all(line["per_s"] > 0 for line in lines(written)[1:])


def test_what_is_read_in_no_time_is_not_told(written: io.BytesIO) -> None:
    """Each owner catches up with the records of others, again and again."""
    with RebuildLines().begin(TOPIC, P, MANY_RECORDS - 1) as tell:
        tell(MANY_RECORDS - 1)

    assert lines(written) == []


def bar_on_a_terminal() -> tuple[RebuildBar, io.StringIO, io.BytesIO]:
    screen, out = io.StringIO(), io.BytesIO()
    console = Console(file=screen, force_terminal=True, width=100, color_system=None, legacy_windows=False)
    return RebuildBar(console, out, many=100), screen, out


def test_partitions_that_are_built_at_once_are_one_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notifier.cli.rebuild_bar.REFRESHED_EVERY_S", 0.0)
    bar, screen, _ = bar_on_a_terminal()

    with bar.begin(TOPIC, 0, 1_000) as first, bar.begin(TOPIC, 1, 3_000) as second:
        first(1_000)
        second(1_500)

    assert "building a view from the log" in screen.getvalue()
    assert "building 2 views from the log" in screen.getvalue()
    assert "2500/4000" in screen.getvalue()


def test_log_lines_stand_above_the_bar_and_without_one_where_they_belong() -> None:
    bar, screen, out = bar_on_a_terminal()

    bar.write(b"before\n")
    with bar.begin(TOPIC, 0, 1_000) as tell:
        tell(10)
        bar.write(b"[red]meanwhile[/red]\n")
    bar.write(b"after\n")

    assert out.getvalue() == b"before\nafter\n"
    assert "[red]meanwhile[/red]\n" in screen.getvalue()


def test_a_short_catch_up_shows_no_bar() -> None:
    bar, screen, _ = bar_on_a_terminal()

    with bar.begin(TOPIC, 0, 99) as tell:
        tell(99)

    assert screen.getvalue() == ""


async def test_while_a_view_is_built_the_loop_goes_round() -> None:
    """After every few records others have a turn, in reading as in writing: heartbeats, and the work on other partitions."""
    merged: list[int] = []
    packed: list[bytes] = []
    logs_ = WholeLogs()
    await logs_.append(TOPIC, P, [Record(b"%d" % (number % 700), b"%d" % number) for number in range(2_100)])

    def due(record: Record) -> None:
        packed.append(record.key)

    view = View(TOPIC, P, numbered(due, merged), store=FakeViews(), reader=logs_, appender=logs_)
    building = asyncio.get_running_loop().create_task(view.open(0))
    longest = 0

    while not building.done():
        before = len(merged) + len(packed)
        await asyncio.sleep(0)
        longest = max(longest, len(merged) + len(packed) - before)

    await building
    assert len(packed) == 700, "of the records of a key only the last is written"
    assert 0 < longest <= 2 * TURN_ITEMS, "the end of one piece of work, and the beginning of the next"


async def test_what_was_written_once_is_not_asked_for_again() -> None:
    """A view at a position is the fold of the log below it, so who has just written it knows it."""
    logs_, views = WholeLogs(), CountedViews()
    await logs_.append(TOPIC, P, [Record(b"%d" % (number % 700), b"%d" % number) for number in range(9_000)])

    await View(TOPIC, P, numbered(), store=views, reader=logs_, appender=logs_).open(0)

    assert len(views.asked) == 700


async def test_what_is_written_at_once_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis does nothing else while it writes."""
    monkeypatch.setattr(consumers.view, "MOVED_AT_ONCE", 500)
    monkeypatch.setattr(consumers.view, "KNOWN_MAX", 500)
    logs_, views = WholeLogs(), CountedViews()
    await logs_.append(TOPIC, P, [Record(b"%d" % number, b"1") for number in range(9_000)])

    await View(TOPIC, P, numbered(), store=views, reader=logs_, appender=logs_).open(0)

    assert views.written == [1_000] * 9


async def test_an_end_that_lies_too_low_is_asked_for_again() -> None:
    """It was told by a broker that led once, and taken for a topic that was made anew."""
    logs_, views = FakeLogs(), FakeViews()
    await logs_.append(TOPIC, P, [Record(b"A", b"1"), Record(b"A", b"2")])
    held = HeldLogs(logs_)
    held.told_bounds[TOPIC] = (0, 1)
    view = View(TOPIC, P, numbered(), store=views, reader=held, appender=held)
    opening = asyncio.get_running_loop().create_task(view.open(2))
    for _ in range(10):
        await asyncio.sleep(0)

    del held.told_bounds[TOPIC]
    await opening

    assert (await view.read([b"A"])).known[b"A"].value == b"2"


async def test_a_log_that_stays_too_short_is_refused_and_both_reasons_are_told() -> None:
    logs_ = FakeLogs()
    await logs_.append(TOPIC, P, [Record(b"A", b"1")])

    with pytest.raises(RecreatedTopicError) as refused:
        await View(TOPIC, P, numbered(), store=FakeViews(), reader=logs_, appender=logs_).open(2)

    assert "ends at 1 each time that it is asked for, but 2 was known of it" in str(refused.value)
    assert "deleted and made anew, or its leader has lost its end" in str(refused.value)


async def test_a_pointer_beyond_an_old_end_is_looked_for_again() -> None:
    """What lies there was told not to be there by the same broker."""
    logs_, views = FakeLogs(), FakeViews()
    await logs_.append(TOPIC, P, [Record(b"A", b"1"), Record(b"A", b"2")])
    held = HeldLogs(logs_)
    view = View(TOPIC, P, numbered(), store=views, reader=held, appender=held)
    await view.open(0)
    await views.rest(TOPIC, P, {b"A": Pointer(1, 2)}, upto=2)
    answers: list[Stored | None] = [None, None]

    async def one(topic: str, partition: int, offset: int) -> Stored | None:
        return answers.pop() if answers else await logs_.one(topic, partition, offset)

    held.one = one

    assert (await view.read([b"A"])).known[b"A"].value == b"2"
