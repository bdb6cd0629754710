"""Clocks that are apart are told apart from asking that took long."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from notifier.checks.clocks import judge_broker, judge_offset
from notifier.checks.finding import State
from notifier.evidence import Evidence, Kind, Policy
from notifier.record import Record, Stored

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
NOW_MS = round(NOW.timestamp() * 1000)


@pytest.mark.parametrize(
    ("offset_ms", "uncertain_ms", "state", "words"),
    [
        pytest.param(30.0, 5.0, "ok", "within 0.0 s", id="together"),
        pytest.param(2_500.0, 1_000.0, "ok", "within 2.5 s", id="apart by no more than asking took"),
        pytest.param(2_500.0, 100.0, "warning", "2.5 s ahead of ours", id="ahead"),
        pytest.param(-90_000.0, 100.0, "warning", "90.0 s behind ours", id="behind"),
        pytest.param(-3_600_000.0, 100.0, "fault", "3600.0 s behind ours", id="an hour"),
    ],
)
def test_an_offset_is_told(offset_ms: float, uncertain_ms: float, state: State, words: str) -> None:
    found = judge_offset("clock.redis", "Redis'", offset_ms, uncertain_ms)

    assert found.state == state
    assert words in found.message


def dated(received_s: float, appended_s: float) -> tuple[Stored, Evidence]:
    """A notification that was received and appended so long before now."""
    evidence = Evidence(
        kind=Kind.NOTIFICATION,
        channel="shop",
        protocol="mapi",
        received_at=NOW - timedelta(seconds=received_s),
        key="k",
        verdict="usable",
        policy=Policy("HKD", None, "2088000000000001", "open"),
        evidence_id="e",
        order="T1",
        body=b"",
    )
    return Stored(Record(b"", b""), 0, NOW_MS - round(appended_s * 1000)), evidence


@pytest.mark.parametrize(
    ("newest", "states"),
    [
        pytest.param([], [], id="nothing was ever appended"),
        pytest.param([dated(10.0, 9.9)], ["ok"], id="received, then appended"),
        pytest.param([dated(3600.0, 10.0)], ["ok"], id="appended late: that is no clock"),
        pytest.param([dated(10.0, 9.9), dated(60.0, 90.0)], ["warning"], id="appended before it was received"),
        pytest.param([dated(1.0, -30.0)], ["warning"], id="appended in time to come"),
        pytest.param([dated(1.0, -3600.0)], ["fault"], id="an hour in time to come"),
    ],
)
def test_the_brokers_clock_shows_in_what_they_dated(newest: list[tuple[Stored, Evidence]], states: list[State]) -> None:
    assert [one.state for one in judge_broker(newest, NOW_MS)] == states
