"""When a delivery is tried again."""

from __future__ import annotations

from bisect import bisect
from datetime import UTC, datetime
from heapq import heappop, heappush
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.telling.backoff import (
    RETRIES_A_MINUTE,
    RETRIES_PART,
    RETRIES_SAVED_MAX,
    RETRY_AFTER_S_MAX,
    RETRY_AFTER_S_MIN,
    RetryBudget,
    retry_after_s,
    retry_in_s,
)

NOW = datetime(2026, 11, 22, 9, 30, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "wait_s"),
    [
        pytest.param("120", 120.0, id="OUT-26 seconds"),
        pytest.param(" 120 ", 120.0, id="blanks around"),
        pytest.param("0", 1.0, id="at once, but not as a hammer"),
        pytest.param("99999999", 3600.0, id="OUT-26 longer than we wait"),
        pytest.param("9" * 5000, 3600.0, id="more digits than int() likes"),
        pytest.param("0000000120", 120.0, id="noughts in front"),
        pytest.param("0" * 5000 + "7", 7.0, id="more noughts than int() likes: it ended the process"),
        pytest.param("0" * 5000, 1.0, id="nothing but noughts"),
        pytest.param("Sun, 22 Nov 2026 09:32:00 GMT", 120.0, id="OUT-26 an HTTP date"),
        pytest.param("Sunday, 22-Nov-26 09:32:00 GMT", 120.0, id="an HTTP date, RFC 850"),
        pytest.param("Sun Nov 22 09:32:00 2026", 120.0, id="an HTTP date, asctime"),
        pytest.param("Sun, 22 Nov 2026 09:00:00 GMT", 1.0, id="a date that has passed"),
        pytest.param("Mon, 22 Nov 2027 09:30:00 GMT", 3600.0, id="a date in a year"),
        pytest.param("-1", None, id="OUT-26 negative"),
        pytest.param("1.5", None, id="a fraction is not in the grammar"),
        pytest.param("soon", None, id="OUT-26 garbage"),
        pytest.param("", None, id="empty"),
        pytest.param("１２０", None, id="full-width digits"),
        pytest.param("Sun, 99 Nov 2026 99:99:99 GMT", None, id="a date that is none"),
        pytest.param("Sun, 22 Nov 2026 09:32:00 +99999999", None, id="an offset that is none"),
        pytest.param("1 Jan 1970 00:00:00 +2300", 1.0, id="long ago, elsewhere"),
        pytest.param("Sun, 22 Nov 2026 09:32:00 +99999999999999999999", None, id="an offset of twenty digits"),
        pytest.param("22 Nov 99999999999999999999 09:32:00 GMT", None, id="a year of twenty digits"),
        pytest.param(None, None, id="absent"),
    ],
)
def test_what_the_destination_asks_for_is_honoured_within_bounds(value: str | None, wait_s: float | None) -> None:
    assert retry_after_s(value, NOW) == wait_s


@given(st.text() | st.text("0123456789 :,+-GMTSunNov."))
def test_whatever_stands_there_is_a_bounded_wait_or_nothing(value: str) -> None:
    wait_s = retry_after_s(value, NOW)

    assert wait_s is None or RETRY_AFTER_S_MIN <= wait_s <= RETRY_AFTER_S_MAX


@pytest.mark.parametrize(
    ("attempt", "ceiling_s"), [(1, 5.0), (2, 10.0), (3, 20.0), (10, 2560.0), (11, 3600.0), (10**9, 3600.0)]
)
def test_the_ceiling_doubles_up_to_its_bound(attempt: int, ceiling_s: float) -> None:
    def half() -> float:
        return 0.5

    assert retry_in_s(attempt, first_retry_s=5.0, retry_s_max=3600.0, random=half) == ceiling_s / 2


@given(attempt=st.integers(1, 10**6), lot=st.floats(0, 1, exclude_max=True))
def test_the_wait_lies_anywhere_below_the_ceiling(attempt: int, lot: float) -> None:
    wait_s = retry_in_s(attempt, first_retry_s=5.0, retry_s_max=3600.0, random=lambda: lot)

    assert 0 <= wait_s <= min(3600.0, 5.0 * 2.0 ** min(attempt - 1, 20))


def _attempts(*, rate: float, failing: float, minutes: int, seed: int) -> tuple[list[float], list[float]]:
    """When there were attempts, and when retries, at an endpoint that events come for at this rate (a second)."""
    random, budget = Random(seed), RetryBudget()
    coming = [(number / rate, 1) for number in range(int(minutes * 60 * rate))]
    attempts, retries = [], []
    while coming and coming[0][0] < minutes * 60:
        now, attempt = heappop(coming)
        attempts.append(now)
        if attempt > 1:
            retries.append(now)
        budget.attempted(now)
        if random.random() < failing:
            wait_s = retry_in_s(attempt, first_retry_s=5.0, retry_s_max=3600.0, random=random.random)
            heappush(coming, (now + max(wait_s, budget.take(now)), attempt + 1))
    return attempts, retries


@given(rate=st.floats(0.1, 3.0), failing=st.floats(0.0, 1.0), seed=st.integers(0, 10**6))
def test_retries_are_no_more_than_their_part_of_the_attempts_and_a_few(rate: float, failing: float, seed: int) -> None:
    """At every moment, however much fails. A tenth more, as a retry is set for what the rate will be by what it was."""
    attempts, retries = _attempts(rate=rate, failing=failing, minutes=3, seed=seed)

    for number, at in enumerate(retries, 1):
        so_far = bisect(attempts, at)
        assert number <= 1.1 * (RETRIES_SAVED_MAX + RETRIES_A_MINUTE * at / 60.0 + RETRIES_PART * so_far + 1)


def test_an_endpoint_that_seldom_fails_is_tried_again_when_its_lane_wants_it() -> None:
    """One in ten: the budget holds nothing back."""
    budget = RetryBudget()

    waits_s = []
    for number in range(6_000):
        budget.attempted(number * 0.05)
        if number % 10 == 0:
            waits_s.append(budget.take(number * 0.05))

    assert max(waits_s) == 0.0


def test_an_endpoint_that_takes_every_other_event_is_not_called_twice_as_often_for_it() -> None:
    """As long as it lasts; without the budget it would be two thousand more."""
    attempts, retries = _attempts(rate=10.0, failing=0.5, minutes=4, seed=1)

    assert len(attempts) - len(retries) == 2_400
    assert len(retries) <= 0.25 * 2_400 + 4 * RETRIES_A_MINUTE / 0.8 + RETRIES_SAVED_MAX / 0.8


def test_after_an_idle_time_the_budget_is_what_it_was_at_first() -> None:
    budget = RetryBudget()
    for _ in range(10_000):
        budget.attempted(30.0)
    for _ in range(2 * RETRIES_SAVED_MAX):
        budget.take(30.0)

    waits_s = [budget.take(3_600.0) for _ in range(RETRIES_SAVED_MAX + 2)]

    assert waits_s == [0.0] * RETRIES_SAVED_MAX + [6.0, 12.0]
