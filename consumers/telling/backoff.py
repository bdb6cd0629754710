"""When a delivery that was not accepted is tried again. Pure; the time and the lot come in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

RETRY_AFTER_S_MIN = 1.0
RETRY_AFTER_S_MAX = 3600.0
"""A destination's wish is honoured between these: 0 would make us a hammer, a year would make us forget."""

_DOUBLINGS_MAX = 64

RETRIES_PART = 0.2
RETRIES_A_MINUTE = 10
"""Of the attempts at one endpoint at most this part may be retries, and so many a minute besides."""

RETRIES_SAVED_MAX = 10
"""Retries that may come together after a time with fewer of them."""

_MINUTE_S = 60.0


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
        # Compared by length first: int() of a long one is work that a stranger chooses, and beyond 4,300 digits an error,
        # noughts in front of it among them.
        digits = text.lstrip("0")
        seconds = RETRY_AFTER_S_MAX if len(digits) > 4 else float(digits or "0")
    else:
        try:
            at = parsedate_to_datetime(text)
        except (ValueError, OverflowError):
            return None  # OverflowError: a year or an offset of twenty digits
        # An HTTP date is GMT; the form of asctime does not say so.
        seconds = ((at if at.tzinfo else at.replace(tzinfo=UTC)) - now).total_seconds()
    return min(max(seconds, RETRY_AFTER_S_MIN), RETRY_AFTER_S_MAX)


class RetryBudget:
    """
    The retries of one endpoint: when the next one may be, at the earliest.

    An endpoint that takes every other event would be called twice as often for it, and four times while it gets worse. So a
    retry is not set for a time at which there would be too many; first attempts are never held. What was set for some time and
    could not begin then (the endpoint was suspended, we were away) may begin later, as fast as the endpoint's pace allows.
    """

    __slots__ = ("_at", "_attempts", "_attempts_before", "_minute_began_at", "_saved")

    def __init__(self) -> None:
        self._saved = float(RETRIES_SAVED_MAX)
        """Below nought: so many are set for later."""
        self._at = 0.0
        self._minute_began_at = 0.0
        self._attempts = 0
        self._attempts_before = 0

    def attempted(self, now: float) -> None:
        """An attempt was made, a first one or not. `now`: seconds on any clock that does not go back."""
        self._pass_time(now)
        self._attempts += 1
        self._save(RETRIES_PART)

    def take(self, now: float) -> float:
        """Take one retry out of the budget: in how many seconds it may be made, at the earliest."""
        self._pass_time(now)
        self._saved -= 1.0
        return max(-self._saved, 0.0) * _MINUTE_S / (RETRIES_A_MINUTE + RETRIES_PART * self._attempts_a_minute(now))

    def _save(self, retries: float) -> None:
        self._saved = min(self._saved + retries, float(RETRIES_SAVED_MAX))

    def _attempts_a_minute(self, now: float) -> float:
        """Of this minute, and that part of the one before which is less than a minute ago."""
        return self._attempts + self._attempts_before * (1.0 - (now - self._minute_began_at) / _MINUTE_S)

    def _pass_time(self, now: float) -> None:
        self._save((now - self._at) * RETRIES_A_MINUTE / _MINUTE_S)
        self._at = now
        minutes = (now - self._minute_began_at) // _MINUTE_S
        if minutes:
            self._attempts_before = self._attempts if minutes == 1 else 0
            self._attempts = 0
            self._minute_began_at += minutes * _MINUTE_S
