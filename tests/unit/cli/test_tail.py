"""The orders topic as it is shown."""

from __future__ import annotations

import json

import msgspec
import pytest

from notifier.cli.tail import Subscriber, _Value, json_line, line
from notifier.kafka.follower import Followed
from notifier.record import Record, Stored

VALUE = {
    "event": {"id": "evt_1", "type": "order.flagged", "version": 3, "flags_added": ["paid_twice"]},
    "order": {
        "channel": "shop-hkd",
        "order": "T1",
        "version": 3,
        "status": "paid",
        "currency": "HKD",
        "amount": 12800,
        "refunded": 500,
        "flags": ["amount_mismatch", "paid_twice"],
    },
    "facts": [{"fact": "of a later release"}],
    "state_version": 99,
}


def followed(value: object = VALUE) -> Followed:
    """A record of the orders topic."""
    headers = (("ce_time", b"2026-11-24T10:15:05.000000Z"),)
    return Followed(7, Stored(Record(b"shop-hkd/T1", json.dumps(value).encode(), headers), 42, 0))


@pytest.mark.parametrize(
    ("versions", "shown"),
    [([1, 2, 3], [1, 2, 3]), ([1, 2, 1, 2, 3], [1, 2, 3]), ([2, 1, 3], [2, 3]), ([2, 2], [2])],
    ids=["as they were made", "read again", "late", "a copy"],
)
def test_a_version_that_is_not_above_the_highest_is_passed_over(versions: list[int], shown: list[int]) -> None:
    subscriber = Subscriber()

    assert [version for version in versions if subscriber.is_news(b"shop-hkd/T1", version)] == shown


def test_orders_have_versions_of_their_own() -> None:
    subscriber = Subscriber()

    assert subscriber.is_news(b"shop-hkd/T1", 5)
    assert subscriber.is_news(b"shop-hkd/T2", 1)


def test_a_line_says_what_a_person_asks() -> None:
    """Also of a record of a later release: the private state is not looked at."""
    found = followed()

    said = line(found, msgspec.json.decode(found.stored.record.value, type=_Value))

    expected = (
        "order.flagged",
        "shop-hkd/T1",
        "v3",
        "paid",
        "HK$128.00",
        "refunded HK$5.00",
        "amount_mismatch +paid_twice",
    )
    assert [part for part in expected if part not in said] == []


def test_a_line_does_not_obey_what_it_shows() -> None:
    found = followed(VALUE | {"order": VALUE["order"] | {"order": "T1\x1b[2J"}})  # type: ignore[operator] # both are dicts

    assert "\x1b" not in line(found, msgspec.json.decode(found.stored.record.value, type=_Value))


def test_json_is_the_value_as_it_lies_there_and_where() -> None:
    assert json.loads(json_line(followed())) == {"partition": 7, "offset": 42, **VALUE}
