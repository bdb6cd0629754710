"""
How fast one endpoint is called: as much at once as it may be while it accepts, one by one and ever less often while it fails.

Pure: the time (seconds on any clock that does not go back) and the lot come in. What ends with a word of its own, a 410 or an
operator's suspension, is not here: no attempt is made then, so there is nothing to pace.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto

FAILURES_IN_A_ROW = 8
"""So many failures without any acceptance between them are the endpoint's, not those of one order."""

PROBE_S_MAX = 60.0
"""An endpoint that came back is found within this, unless it asked for longer."""

RECENT_S = 5.0
"""Who accepted something within this is not failing, whatever its last attempt came to."""


def is_called_one_by_one(failures: int) -> bool:
    """Whether an endpoint that failed so often in a row is throttled, in the process that made those attempts."""
    return failures >= FAILURES_IN_A_ROW


class Phase(Enum):
    """How an endpoint is being called."""

    STEADY = auto()
    """As much at once as it may be."""
    THROTTLED = auto()
    """It failed several times in a row: one attempt at a time, with a pause before each that doubles."""
    SUSPENDED = auto()
    """The same, of an endpoint that has only failed for long: a state that is told."""
    RECOVERING = auto()
    """It accepted again: from one at a time upwards."""


class Pace:
    """
    The pace of one endpoint.

    Args:
        concurrency: attempts in flight while all is well.
        pause_s: before the first attempt after it was throttled; it doubles with each that fails.
        pause_s_max: and ends here.
        suspend_after_s: it is suspended after only failing for this long.
        random: a lot in [0, 1). Pauses are drawn from their upper half, so that processes and endpoints that failed together
            do not come back together.
    """

    __slots__ = (
        "_accepted_at",
        "_at_once",
        "_concurrency",
        "_failing_since",
        "_failures",
        "_is_probing",
        "_next_at",
        "_pause_s",
        "_pause_s_first",
        "_pause_s_max",
        "_random",
        "_suspend_after_s",
        "pauses_begun",
        "phase",
    )

    def __init__(
        self,
        *,
        concurrency: int,
        pause_s: float,
        pause_s_max: float,
        suspend_after_s: float,
        random: Callable[[], float],
    ) -> None:
        self._concurrency = concurrency
        self._pause_s_first = min(pause_s, pause_s_max)
        self._pause_s_max = pause_s_max
        self._suspend_after_s = suspend_after_s
        self._random = random
        self.phase = Phase.STEADY
        self.pauses_begun = 0
        """Rises each time that it is throttled: an attempt that was let through before that must not begin any more."""
        self._failures = 0
        """In a row, with no acceptance between."""
        self._failing_since: float | None = None
        self._accepted_at: float | None = None
        self._at_once = 1
        """How many at once while it recovers."""
        self._pause_s = self._pause_s_first
        self._next_at = 0.0
        self._is_probing = False

    def change(self, *, concurrency: int, pause_s: float, pause_s_max: float, suspend_after_s: float) -> None:
        """Go by these from now on (as at the beginning); how it fares stays known. A pause that has begun is not cut."""
        self._concurrency = concurrency
        self._pause_s_first = min(pause_s, pause_s_max)
        self._pause_s_max = pause_s_max
        self._suspend_after_s = suspend_after_s
        self._pause_s = min(self._pause_s, pause_s_max)
        self._at_once = min(self._at_once, concurrency)

    @property
    def is_paused(self) -> bool:
        """Whether there is a pause before each attempt."""
        return self.phase in (Phase.THROTTLED, Phase.SUSPENDED)

    @property
    def is_suspended(self) -> bool:
        """Whether it has only failed for so long that this is told."""
        return self.phase is Phase.SUSPENDED

    @property
    def has_failed(self) -> bool:
        """Whether its last attempt failed."""
        return self._failures > 0

    def is_failing(self, now: float) -> bool:
        """Whether it began to fail: its last attempts did, none was accepted lately, and it is not suspended for it yet."""
        is_recent = self._accepted_at is not None and now - self._accepted_at < RECENT_S
        return self._failures > 0 and not is_recent and self.phase is not Phase.SUSPENDED

    def limit(self, now: float) -> int:
        """
        How many attempts may be in flight now.

        While it is steady each failure in a row takes an equal part away, so an endpoint that dies is met by no more attempts
        than it had in flight; the first acceptance gives all of it back.
        """
        match self.phase:
            case Phase.STEADY:
                return -(-self._concurrency * (FAILURES_IN_A_ROW - self._failures) // FAILURES_IN_A_ROW)
            case Phase.RECOVERING:
                return self._at_once
            case Phase.THROTTLED | Phase.SUSPENDED:
                return int(now >= self._next_at)

    def ready_in_s(self, now: float) -> float:
        """How long the pause still takes; 0 without one."""
        return max(self._next_at - now, 0.0) if self.is_paused else 0.0

    def begin(self, now: float) -> None:
        """An attempt begins, as `limit` allowed."""
        if self.is_paused:
            self._is_probing = True
            # also should nobody ever say how it ended
            self._wait(now)

    def accepted(self, now: float) -> None:
        """An attempt was accepted: nothing that failed before counts any more."""
        self._failures = 0
        self._failing_since = None
        self._accepted_at = now
        match self.phase:
            case Phase.STEADY:
                return
            case Phase.RECOVERING:
                self._at_once += 1
            case Phase.THROTTLED | Phase.SUSPENDED:
                self._recover()
        if self._at_once >= self._concurrency:
            self.phase = Phase.STEADY

    def failed(self, now: float, *, wish_s: float = 0.0, is_ours: bool = False) -> None:
        """
        An attempt failed.

        Args:
            wish_s: how long the endpoint asked to be left alone.
            is_ours: most endpoints fail, so the fault is probably not this one's: it is throttled at once, and the time does not
                count towards its suspension.
        """
        self._failures += 1
        if self._failing_since is None or is_ours:
            self._failing_since = now
        match self.phase:
            case Phase.STEADY | Phase.RECOVERING if self._failures >= FAILURES_IN_A_ROW or is_ours:
                self._throttle(now, wish_s)
            case Phase.RECOVERING:
                self._at_once = max(self._at_once // 2, 1)
            case Phase.THROTTLED | Phase.SUSPENDED if self._is_probing:
                self._is_probing = False
                self._pause_s = min(self._pause_s * 2.0, self._pause_s_max)
                self._wait(now, wish_s)
            case _:
                pass  # steady; or of those in flight when it was throttled, which pay for one pause together
        if now - self._failing_since >= self._suspend_after_s and self.phase is not Phase.SUSPENDED:
            if not self.is_paused:
                self._throttle(now, wish_s)
            self.phase = Phase.SUSPENDED

    def throttle(self, now: float) -> None:
        """Call it one by one from now on: it fails, and so do most others."""
        if not self.is_paused:
            self._throttle(now)

    def resume(self) -> None:
        """Forget that it failed, and begin with one at a time."""
        self._failures = 0
        self._failing_since = None
        self._recover()

    def suspend(self, now: float) -> None:
        """Begin as suspended: it was, for another process. The first attempt comes soon."""
        self._failures = FAILURES_IN_A_ROW
        self._failing_since = now
        self._throttle(now)
        self._next_at = now + self._pause_s * self._random()
        self.phase = Phase.SUSPENDED

    def _throttle(self, now: float, wish_s: float = 0.0) -> None:
        self.phase = Phase.THROTTLED
        self.pauses_begun += 1
        self._is_probing = False
        self._pause_s = self._pause_s_first
        self._wait(now, wish_s)

    def _wait(self, now: float, wish_s: float = 0.0) -> None:
        self._next_at = now + max(self._pause_s * (0.5 + 0.5 * self._random()), wish_s)

    def _recover(self) -> None:
        self.phase = Phase.RECOVERING
        self._at_once = 1
        self._is_probing = False
