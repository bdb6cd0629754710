"""What a redrive is about, and how it is asked for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from notifier.deliveries.delivery_report import Delivery, State
from notifier.deliveries.redriving import Plan, Selection, Verdict, named

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
MINE = "evt_1"


def delivery(state: State, **more: Any) -> Delivery:
    known: dict[str, Any] = {
        "endpoint": "oms",
        "channel": "shop-hkd",
        "order": "T1",
        "version": 1,
        "event_id": MINE,
        "state": state,
        "is_redriven": False,
        "attempt": 1,
        "status_code": 500,
        "error": None,
        "duration_ms": 1.0,
        "told_at": NOON,
        "since": None,
        "next_attempt_at": None,
        "behind": None,
        "event_partition": 0,
        "event_offset": 7,
    }
    return Delivery(**(known | more))


def selection(**more: Any) -> Selection:
    known: dict[str, Any] = {
        "endpoint": None,
        "event_id": None,
        "since": None,
        "until": None,
        "with_accepted": False,
        "kept_from": NOON - timedelta(days=1),
    }
    return Selection(**(known | more))


DEAD, ACCEPTED = delivery(State.DEAD), delivery(State.ACCEPTED)
UNKNOWN_TIME = delivery(State.DEAD, told_at=None)

TABLE: dict[str, tuple[Selection, Delivery, Verdict | None]] = {
    "a dead letter": (selection(), DEAD, Verdict.AGAIN),
    "accepted, not asked for": (selection(), ACCEPTED, None),
    "accepted, asked for": (selection(with_accepted=True), ACCEPTED, Verdict.AGAIN),
    "another endpoint's": (selection(endpoint="erp"), DEAD, None),
    "this endpoint's": (selection(endpoint="oms"), DEAD, Verdict.AGAIN),
    "another event": (selection(event_id="evt_2"), DEAD, None),
    "this event": (selection(event_id=MINE), DEAD, Verdict.AGAIN),
    "at the very beginning": (selection(since=NOON), DEAD, Verdict.AGAIN),
    "before the beginning": (selection(since=NOON + HOUR), DEAD, None),
    "at the very end, which is another's beginning": (selection(until=NOON), DEAD, None),
    "before the end": (selection(until=NOON + HOUR), DEAD, Verdict.AGAIN),
    "when is not known, but more than a day ago": (selection(since=NOON - HOUR), UNKNOWN_TIME, None),
    "when is not known, and days ago are meant": (selection(since=NOON - 72 * HOUR), UNKNOWN_TIME, Verdict.AGAIN),
    "it waits for its first time": (selection(), delivery(State.WAITING), None),
    "it waits for its first time, and is named": (selection(event_id=MINE), delivery(State.WAITING), Verdict.WAITS),
    "asked for before": (selection(), delivery(State.WAITING, is_redriven=True), Verdict.WAITS),
    "the same, suspended": (selection(), delivery(State.SUSPENDED, is_redriven=True), Verdict.WAITS),
    "compacted away": (selection(), delivery(State.SKIPPED), Verdict.GONE),
}


@pytest.mark.parametrize(("asked", "one", "verdict"), TABLE.values(), ids=TABLE.keys())
def test_what_is_meant_is_told_again(asked: Selection, one: Delivery, verdict: Verdict | None) -> None:
    assert asked.judge(one, ()) is verdict


def test_what_fan_out_was_asked_for_and_has_not_come_to_is_not_asked_for_twice() -> None:
    """Two commands would be two tellings, when fan-out comes to them."""
    assert selection().judge(DEAD, {named(DEAD)}) is Verdict.WAITS
    assert selection().judge(delivery(State.DEAD, version=2), {named(DEAD)}) is Verdict.AGAIN


def test_each_delivery_is_in_one_command_of_its_partition_and_endpoint_and_none_is_too_large() -> None:
    plan = Plan()
    for partition in (0, 1):
        for endpoint in ("oms", "erp"):
            for version in range(1, 6):
                plan.take(partition, delivery(State.DEAD, endpoint=endpoint, version=version), Verdict.AGAIN)

    batches = list(plan.batches(2))

    assert plan.total == 20
    assert max(len(batch.deliveries) for batch in batches) == 2
    told = [(batch.partition, batch.endpoint, one.version) for batch in batches for one in batch.deliveries]
    assert sorted(told) == sorted((p, e, v) for p in (0, 1) for e in ("oms", "erp") for v in range(1, 6))
    assert {(batch.partition, batch.endpoint) for batch in batches[:4]} == {
        (p, e) for p in (0, 1) for e in ("oms", "erp")
    }


def test_what_is_counted_is_told_by_endpoint() -> None:
    plan = Plan()
    for one, verdict in (
        (DEAD, Verdict.AGAIN),
        (ACCEPTED, Verdict.AGAIN),
        (delivery(State.SKIPPED), Verdict.GONE),
        (delivery(State.DEAD, endpoint="erp"), Verdict.WAITS),
    ):
        plan.take(0, one, verdict)

    assert [(one.endpoint, one.dead, one.accepted, one.waiting, one.gone) for one in plan.counts] == [
        ("erp", 0, 0, 1, 0),
        ("oms", 1, 1, 0, 1),
    ]
