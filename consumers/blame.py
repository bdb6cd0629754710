"""Whose fault it is when endpoints fail. Pure; the time comes in."""

from __future__ import annotations

FAILING_MIN = 10
FAILING_PERCENT = 30
"""More than this part of all endpoints failing at once is no coincidence: the fault is probably ours."""

CALM_S = 30.0
"""It is over when no more than that have failed for this long: they come back one by one, and some are away for other reasons."""


class Blame:
    """
    Which endpoints are failing, and whether the fault is probably ours: our network, our resolver, our clock or certificates.

    Args:
        endpoints: how many there are; those that nobody called count among them.
    """

    __slots__ = ("_calm_since", "_endpoints", "failing", "is_ours")

    def __init__(self, endpoints: int) -> None:
        self._endpoints = endpoints
        self.failing: set[str] = set()
        """By name."""
        self.is_ours = False
        self._calm_since: float | None = None

    def note(self, name: str, now: float, *, is_failing: bool) -> bool:
        """Take account of one endpoint after each of its attempts. Whether the verdict changed with it."""
        if is_failing:
            self.failing.add(name)
        else:
            self.failing.discard(name)
        if self._are_too_many:
            self._calm_since = None
            has_changed, self.is_ours = not self.is_ours, True
            return has_changed
        if not self.is_ours:
            return False
        if self._calm_since is None:
            self._calm_since = now
        if now - self._calm_since < CALM_S:
            return False
        self.is_ours = False
        return True

    @property
    def _are_too_many(self) -> bool:
        count = len(self.failing)
        return count >= FAILING_MIN and count * 100 > self._endpoints * FAILING_PERCENT
