"""How the last attempts at one endpoint went: for who asks why its events wait."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from math import copysign

from consumers.client import Answer, Fault

ATTEMPTS_MAX = 256
"""So many are remembered: 2,000 endpoints together take two megabytes."""


@dataclass(frozen=True, slots=True)
class Measures:
    """Of the last attempts, at most `ATTEMPTS_MAX`; None where there was none."""

    attempts: int
    success_rate: float | None
    """Between 0 and 1."""
    p50_ms: float | None
    """Of all of them, those that failed included: who times out is slow."""
    p99_ms: float | None
    last_error: str | None
    """In words; it stays after the endpoint accepted again."""


class Measuring:
    """Remembers how attempts ended. Taking one in costs next to nothing; it is who asks that counts."""

    __slots__ = ("_durations_ms", "_last_error", "_next")

    def __init__(self) -> None:
        self._durations_ms = array("f")
        """Those that failed are negative."""
        self._next = 0
        self._last_error: str | None = None

    def add(self, *, is_accepted: bool, duration_ms: float, error: str | None) -> None:
        """Remember one attempt in place of the oldest."""
        # a float has a negative nought, too: one that failed in no time has failed
        signed = copysign(duration_ms, 1.0 if is_accepted else -1.0)
        if len(self._durations_ms) < ATTEMPTS_MAX:
            self._durations_ms.append(signed)
        else:
            self._durations_ms[self._next] = signed
            self._next = (self._next + 1) % ATTEMPTS_MAX
        if not is_accepted:
            self._last_error = error

    def measures(self) -> Measures:
        """What they come to."""
        durations_ms = self._durations_ms
        count = len(durations_ms)
        if not count:
            return Measures(0, None, None, None, None)
        accepted = sum(copysign(1.0, duration_ms) > 0 for duration_ms in durations_ms)
        ordered = sorted(map(abs, durations_ms))
        return Measures(
            attempts=count,
            success_rate=accepted / count,
            p50_ms=_percentile(ordered, 50),
            p99_ms=_percentile(ordered, 99),
            last_error=self._last_error,
        )


def _percentile(ordered: list[float], percent: int) -> float:
    """The smallest of which so many are not above it (nearest rank)."""
    return round(ordered[-(-len(ordered) * percent // 100) - 1], 1)


_WORDS = {
    Fault.TIMEOUT: "no complete answer in time",
    Fault.REFUSED: "nobody listens there",
    Fault.RESET: "the connection ended before the answer did",
    Fault.UNREACHABLE: "no way to that address",
    Fault.DNS: "the name has no address",
    Fault.TLS: "no TLS that could be trusted",
    Fault.ADDRESS_FORBIDDEN: "it leads to an address that is not to be called",
    Fault.PROTOCOL: "what came is not HTTP",
    Fault.URL: "the URL cannot be called",
    Fault.EXHAUSTED: "no sockets or ports are left on our machine",
}


def in_words(answer: Answer) -> str | None:
    """Why an attempt failed, for people; None: it was accepted."""
    if answer.is_accepted:
        return None
    return _WORDS[answer.error] if answer.error is not None else f"it answered {answer.status_code}"
