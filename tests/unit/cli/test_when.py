"""Times as a person names them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import typer

from notifier.cli.when import when
from notifier.clock import SystemClock


@pytest.mark.parametrize(
    ("given", "at"),
    [
        ("2026-11-24T02:00Z", datetime(2026, 11, 24, 2, 0, tzinfo=UTC)),
        ("2026-11-24T10:00:05+08:00", datetime(2026, 11, 24, 2, 0, 5, tzinfo=UTC)),
        ("2026-11-24T10:00", datetime(2026, 11, 24, 10, 0).astimezone()),
        ("2026-11-24", datetime(2026, 11, 24).astimezone()),
    ],
)
def test_a_time_is_a_time(given: str, at: datetime) -> None:
    assert when(given) == at


@pytest.mark.parametrize(
    ("given", "ago"),
    [
        ("90s", timedelta(seconds=90)),
        ("30m", timedelta(minutes=30)),
        ("2h", timedelta(hours=2)),
        ("3d", timedelta(days=3)),
    ],
)
def test_so_long_ago_is_one_too(given: str, ago: timedelta) -> None:
    before = SystemClock().now()

    assert before - ago <= when(given) <= SystemClock().now() - ago


@pytest.mark.parametrize("given", ["", "yesterday", "3 d", "-3d", "999999d", "2026-13-01", "9" * 400, "0001-01-01"])
def test_anything_else_is_told_with_what_it_can_be(given: str) -> None:
    with pytest.raises(typer.BadParameter, match="how long ago: 90m"):
        when(given)
