"""`notifier orders list`: which orders it picks out of all that go by."""

from __future__ import annotations

import json

import pytest

from notifier.cli.orders import _Recent
from notifier.kafka.follower import Followed
from notifier.record import Record, Stored
from tests.golden import make


def record(order: str, version: int, *, flags: tuple[str, ...] = (), channel: str = "shop-hkd") -> Record:
    value = json.loads(make.orders().value)
    value["order"] |= {"channel": channel, "order": order, "version": version, "flags": flags}
    return Record(f"{channel}/{order}".encode(), json.dumps(value).encode(), (("ce_time", b"2026-11-22T12:00:00Z"),))


def listed(
    *records: Record, limit: int = 10, channel: str | None = None, is_flagged: bool = False
) -> tuple[list[tuple[object, object]], int]:
    """Order and version of each row, and how many there are in all, of records that came one a second."""
    recent = _Recent(limit, channel, is_flagged=is_flagged)
    for offset, one in enumerate(records):
        recent.take(Followed(offset % 2, Stored(one, offset, offset * 1000)))
    return [(row["order"], row["version"]) for row in recent.rows], recent.count


def test_the_one_that_changed_last_is_the_first() -> None:
    assert listed(record("A", 1), record("B", 1), record("A", 2)) == ([("A", 2), ("B", 1)], 2)


def test_an_older_record_that_lies_behind_a_newer_one_takes_nothing_back() -> None:
    """Contract, section 6: keep the highest version, pass over what is not above it."""
    rows, _ = listed(record("A", 2), record("B", 1), record("A", 1), record("A", 2))

    assert rows == [("B", 1), ("A", 2)]


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_of_more_than_were_asked_for_those_that_changed_last_are_kept(limit: int) -> None:
    rows, count = listed(*(record(order, 1) for order in "ABCDE"), limit=limit)

    assert rows == [("E", 1), ("D", 1), ("C", 1)][:limit]
    assert count == 5


def test_an_order_whose_flags_are_gone_is_not_among_the_flagged() -> None:
    flag = ("paid_twice",)

    assert listed(
        record("A", 1, flags=flag), record("B", 1, flags=flag), record("A", 2), record("C", 1), is_flagged=True
    ) == ([("B", 1)], 1)


def test_a_channel_is_told_by_its_whole_name() -> None:
    records = record("A", 1), record("A", 1, channel="shop-hkd-2"), Record(b"shop-hkd/B", b"no event")

    assert listed(*records, channel="shop-hkd") == ([("A", 1)], 1)
