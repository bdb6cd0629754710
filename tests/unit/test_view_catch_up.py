"""Catching up: what a view appends while it is brought up to its log's end, and what it does not (design, section 5, rule 6)."""

from consumers.view import Merging, View
from notifier.ports import ViewRead
from notifier.record import Record
from tests.fakes import FakeLogs, FakeViews

TOPIC, P = "t.orders.v1", 0


def version(record: Record) -> int:
    return int(record.value)


HIGHEST = Merging(
    merge=lambda known, new: known if known is not None and version(new) < version(known) else new,
    due=lambda _: None,
    version=version,
    may_rest=lambda _: True,
    is_ours=lambda record: record.value.isdigit(),
)


def records(told: str) -> list[Record]:
    """`A1 B1 A2`: keys and versions."""
    return [Record(one[:1].encode(), one[1:].encode()) for one in told.split()]


def lies(logs: FakeLogs) -> str:
    return " ".join(f"{one.record.key.decode()}{one.record.value.decode()}" for one in logs.records(TOPIC, P))


async def caught_up(logs: FakeLogs) -> ViewRead:
    """The view of a log, built from nothing; the fake is read three records at a time."""
    views = FakeViews()
    view = View(TOPIC, P, HIGHEST, store=views, reader=logs, appender=logs)
    await view.look()
    snapshot = await view.read([b"A", b"B"])
    assert {key: version(record) for key, record in snapshot.known.items()} == {b"A": 3, b"B": 1}
    return await views.read(TOPIC, P, [b"A", b"B"])


async def test_where_the_newest_lies_ahead_nothing_older_is_appended_behind_it() -> None:
    """
    Each part of the log was healed by itself: A2 came to lie last, behind A3. Whoever died then, and was away for long, left
    compaction to take A3.
    """
    logs = FakeLogs()
    await logs.append(TOPIC, P, records("A1 A2 A1 B1 B1 B1 A3"))

    found = await caught_up(logs)

    assert lies(logs) == "A1 A2 A1 B1 B1 B1 A3"
    assert found.position == 7
    assert [entry.offset for entry in found.entries if entry is not None] == [6, 5]


async def test_the_newest_is_healed_at_the_end_of_what_is_read() -> None:
    logs = FakeLogs()
    await logs.append(TOPIC, P, records("A1 A3 A1 B1 B1 A2 B1"))

    found = await caught_up(logs)

    assert lies(logs) == "A1 A3 A1 B1 B1 A2 B1 A3"
    assert found.position == 8
