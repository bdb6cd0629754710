"""When a delivery is tried again."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.backoff import RETRY_AFTER_S_MAX, RETRY_AFTER_S_MIN, retry_after_s, retry_in_s

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


@given(st.text())
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
