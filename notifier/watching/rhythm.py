"""
How often a channel is usually heard of, and whether it has been quiet for far longer than that.

A process learns it from what came to itself: how many genuine notifications in each hour of the day, in the last seven days that
it saw. What usually comes in the hours of a silence adds up; once that many should have come that chance is no explanation, the
silence is told. So a busy shop is missed after minutes, a small one after a day or two, and one that is closed at night not at
night. An hour counts as at most what it was a week ago: who is closed on Sundays is missed on the first of them and on no later.

What it can't know: anything of a channel on the first day, and after each start; that other processes heard it meanwhile, where
several share the door. Prometheus knows both: the alert rules ask the sum over all processes, a day and a week back.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterator
from dataclasses import dataclass

LOOK_EVERY_S = 60.0
STEP_S_MAX = 120.0
"""A longer time between two looks is one in which this process did not run (a machine that slept): nobody can say who called."""

MISSED_MIN = 20.0
"""Of so many that usually come not one did. Coming singly they would do so once in 500 million times; but they come in crowds."""

SILENT_S_MIN = 900.0

_HOUR_S = 3600
_DAYS = 7
_HOURS_KEPT = 24 * (_DAYS + 1)


@dataclass(frozen=True, slots=True)
class Silence:
    """A channel that has been quiet for far longer than usual."""

    channel: str
    silent_s: float
    missed: int
    """How many usually come in that time."""


class Rhythm:
    """One channel. Times are Unix seconds."""

    __slots__ = ("_counts", "_first_hour", "_heard_at", "_hour", "_is_told", "_looked_at", "_missed")

    def __init__(self, now: float) -> None:
        self._counts = array("I", bytes(4 * _HOURS_KEPT))
        self._hour = int(now // _HOUR_S)
        """The hour in which it was last heard of; the kept ones end with it."""
        self._first_hour = self._hour + 1
        """The first that was seen whole."""
        self._heard_at = self._looked_at = now
        self._missed = 0.0
        self._is_told = False

    def came(self, now: float) -> None:
        """A genuine notification came."""
        hour = int(now // _HOUR_S)
        if hour > self._hour:
            for passed in range(max(self._hour, hour - _HOURS_KEPT) + 1, hour + 1):
                self._counts[passed % _HOURS_KEPT] = 0
            self._hour = hour
        self._counts[hour % _HOURS_KEPT] += 1
        self._heard_at = now
        self._missed = 0.0
        self._is_told = False

    def look(self, now: float) -> tuple[float, float] | None:
        """How long it is quiet and how many usually come in such a time, if that is worth a line. Each silence is told once."""
        step_s = min(now - max(self._looked_at, self._heard_at), STEP_S_MAX)
        self._looked_at = now
        if step_s > 0:
            self._missed += self._usual(int(now // _HOUR_S)) * step_s / _HOUR_S
        silent_s = now - self._heard_at
        if self._is_told or self._missed < MISSED_MIN or silent_s < SILENT_S_MIN:
            return None
        self._is_told = True
        return silent_s, self._missed

    def _usual(self, hour: int) -> float:
        """How many come in this hour: the mean of its days that were seen before the silence, at most what it was a week ago."""
        ago = [hour - 24 * days for days in range(1, _DAYS + 1)]
        seen = [self._counts[one % _HOURS_KEPT] for one in ago if self._first_hour <= one < self._hour]
        if not seen:
            return 0.0
        mean = sum(seen) / len(seen)
        return min(mean, seen[-1]) if self._first_hour <= ago[-1] < self._hour else mean


class Rhythms:
    """All channels that this process has heard of."""

    def __init__(self) -> None:
        self._by_channel: dict[str, Rhythm] = {}
        self._looked_at = 0.0

    def came(self, channel: str, now: float) -> None:
        """A genuine notification came on a channel."""
        rhythm = self._by_channel.get(channel)
        if rhythm is None:
            rhythm = self._by_channel[channel] = Rhythm(now)
        rhythm.came(now)

    def keep(self, channels: Collection[str]) -> None:
        """Only these are there from now on: of the others nothing is to come."""
        self._by_channel = {name: rhythm for name, rhythm in self._by_channel.items() if name in channels}

    def look(self, now: float) -> Iterator[Silence]:
        """Which channels have become quiet for too long. It may be asked as often as one likes; it looks every minute."""
        if 0.0 <= now - self._looked_at < LOOK_EVERY_S:
            return
        self._looked_at = now
        for channel, rhythm in self._by_channel.items():
            silence = rhythm.look(now)
            if silence is not None:
                yield Silence(channel, silence[0], round(silence[1]))
