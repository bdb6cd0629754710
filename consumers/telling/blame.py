"""Whose fault it is when endpoints fail. Pure; the time comes in."""

from __future__ import annotations

FAILING_MIN = 10
FAILING_PERCENT = 30
"""More than this part of all endpoints failing at once is no coincidence: the fault is probably ours."""

AT_ONCE_S = 120.0
"""Who failed last before that is not failing now, it is not called any more. Who is called fails again well within this."""

CALM_S = 30.0
"""It is over when no more than that have failed for this long: they come back one by one, and some are away for other reasons."""


class Blame:
    """
    Which endpoints are failing, and whether the fault is probably ours: our network, resolver, clock or authorities.

    Args:
        endpoints: how many there are; those that nobody called count among them.
    """

    __slots__ = ("_calm_since", "_endpoints", "_failed_at", "is_ours")

    def __init__(self, endpoints: int) -> None:
        self._endpoints = endpoints
        self._failed_at: dict[str, float] = {}
        """By name, those that are failing; who failed last is last."""
        self._calm_since: float | None = None
        self.is_ours = False

    @property
    def failing(self) -> tuple[str, ...]:
        """Their names, as of the last note."""
        return tuple(self._failed_at)

    def change(self, endpoints: int) -> None:
        """There are so many now."""
        self._endpoints = endpoints

    def forget(self, name: str) -> None:
        """An endpoint is no more, or is another one by now."""
        self._failed_at.pop(name, None)

    def note(self, name: str, now: float, *, is_failing: bool) -> bool:
        """Take account of one endpoint after each of its attempts. Whether the verdict changed with it."""
        self._failed_at.pop(name, None)
        if is_failing:
            self._failed_at[name] = now
        while self._failed_at and now - self._failed_at[first := next(iter(self._failed_at))] > AT_ONCE_S:
            del self._failed_at[first]
        was_ours, self.is_ours = self.is_ours, self._judge(now)
        return self.is_ours != was_ours

    def _judge(self, now: float) -> bool:
        count = len(self._failed_at)
        if count >= FAILING_MIN and count * 100 > self._endpoints * FAILING_PERCENT:
            self._calm_since = None
            return True
        if self._calm_since is None:
            self._calm_since = now
        return self.is_ours and now - self._calm_since < CALM_S
