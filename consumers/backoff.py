"""When a delivery that was not accepted is tried again. Pure; the time and the lot come in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

RETRY_AFTER_S_MIN = 1.0
RETRY_AFTER_S_MAX = 3600.0
"""A destination's wish is honoured between these: 0 would make us a hammer, a year would make us forget."""

_DOUBLINGS_MAX = 64


def retry_in_s(attempt: int, *, first_retry_s: float, retry_s_max: float, random: Callable[[], float]) -> float:
    """
    Full jitter: anywhere between nothing and a ceiling that doubles with each attempt, never above `retry_s_max`.

    `attempt` is the number of the one that just failed, from 1. `random` gives a number in [0, 1). All that failed at one moment
    spread over the whole interval, so an endpoint that comes back is not met by all of them at once.
    """
    ceiling_s = min(retry_s_max, first_retry_s * 2.0 ** min(attempt - 1, _DOUBLINGS_MAX))
    return ceiling_s * random()


def retry_after_s(value: str | None, now: datetime) -> float | None:
    """
    Read `Retry-After` (RFC 9110, section 10.2.3): seconds or an HTTP date, within [1 s, 1 h]. None: absent, or not usable.

    A date that has passed asks for the shortest wait.
    """
    if value is None or not value.isascii():
        return None
    text = value.strip()
    if text.isdigit():
        # Compared by length first: int() of a long one would be work that a stranger chooses.
        seconds = RETRY_AFTER_S_MAX if len(text.lstrip("0")) > 4 else float(int(text))
    else:
        try:
            at = parsedate_to_datetime(text)
        except (ValueError, OverflowError):
            return None  # OverflowError: a year or an offset of twenty digits
        # An HTTP date is GMT; the form of asctime does not say so.
        seconds = ((at if at.tzinfo else at.replace(tzinfo=UTC)) - now).total_seconds()
    return min(max(seconds, RETRY_AFTER_S_MIN), RETRY_AFTER_S_MAX)
