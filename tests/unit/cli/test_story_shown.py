"""What became of a delivery, as `orders show` tells it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from notifier.cli.answers import why_failed
from notifier.cli.story_shown import _answer
from notifier.deliveries.delivery_report import Delivery, State


def delivery(error: str | None, status_code: int | None) -> Delivery:
    return Delivery(
        endpoint="shop-oms",
        channel="shop-hkd",
        order="T1",
        version=1,
        event_id="evt_1",
        state=State.WAITING,
        is_redriven=False,
        attempt=1,
        status_code=status_code,
        error=error,
        duration_ms=1.0,
        told_at=datetime(2026, 11, 22, 9, 30, tzinfo=UTC),
        since=None,
        next_attempt_at=None,
        behind=None,
        event_partition=0,
        event_offset=0,
    )


@pytest.mark.parametrize("error", ["refused", "timeout", "dns", "too_many_waiting"])
def test_an_attempt_that_failed_is_told_as_the_list_of_deliveries_tells_it(error: str) -> None:
    """`refused` stood in the one and `nobody listens there` in the other, of the same attempt."""
    told, _, _ = _answer(delivery(error, None)).partition(" at ")

    assert told == why_failed(error, None)
    assert told != error


@pytest.mark.parametrize(("status_code", "told"), [(200, "200 at "), (500, "500 at "), (None, "")])
def test_an_answer_is_its_status(status_code: int | None, told: str) -> None:
    assert _answer(delivery(None, status_code)).startswith(told)
    assert bool(_answer(delivery(None, status_code))) == bool(told)
