"""How the last attempts at an endpoint went."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.client import Answer, Fault
from consumers.telling.measures import ATTEMPTS_MAX, Measures, Measuring, in_words


def test_of_an_endpoint_that_nobody_called_nothing_is_known() -> None:
    assert Measuring().measures() == Measures(0, None, None, None, None)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 60_000)), min_size=1, max_size=3 * ATTEMPTS_MAX))
def test_the_last_attempts_are_remembered_and_no_others(attempts: list[tuple[bool, int]]) -> None:
    measuring = Measuring()

    for is_accepted, duration_ms in attempts:
        measuring.add(
            is_accepted=is_accepted, duration_ms=duration_ms, error=None if is_accepted else "it answered 500"
        )

    last = attempts[-ATTEMPTS_MAX:]
    ordered = sorted(duration_ms for _, duration_ms in last)
    seen = measuring.measures()
    assert seen.attempts == len(last)
    assert seen.success_rate == sum(is_accepted for is_accepted, _ in last) / len(last)
    assert seen.p50_ms in ordered
    assert seen.p99_ms in ordered
    assert sum(duration_ms <= seen.p50_ms for duration_ms in ordered) >= len(ordered) * 0.5
    assert sum(duration_ms < seen.p50_ms for duration_ms in ordered) < len(ordered) * 0.5
    assert sum(duration_ms <= seen.p99_ms for duration_ms in ordered) >= len(ordered) * 0.99
    assert sum(duration_ms < seen.p99_ms for duration_ms in ordered) < len(ordered) * 0.99


def test_one_that_failed_in_no_time_has_failed() -> None:
    measuring = Measuring()

    measuring.add(is_accepted=False, duration_ms=0.0, error="no answer")

    assert measuring.measures().success_rate == 0.0


def test_the_last_error_stays_after_an_acceptance() -> None:
    """Who asks why events came late asks after they came."""
    measuring = Measuring()

    measuring.add(is_accepted=False, duration_ms=1.0, error="it answered 500")
    measuring.add(is_accepted=True, duration_ms=1.0, error=None)

    assert measuring.measures().last_error == "it answered 500"


@pytest.mark.parametrize("fault", Fault)
def test_there_are_words_for_each_fault(fault: Fault) -> None:
    words = in_words(Answer(None, fault, 1.0))

    assert words is not None
    assert " " in words


def test_an_answer_is_told_by_its_status_and_an_acceptance_not_at_all() -> None:
    assert in_words(Answer(503, None, 1.0)) == "it answered 503"
    assert in_words(Answer(204, None, 1.0)) is None
    assert in_words(Answer(200, Fault.RESET, 1.0)) == "the connection ended before the answer did"
