"""What waits in a partition for a later time: when the first of it is due, for each endpoint."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

from notifier.ports import DueGroup


class DueTimes:
    """
    The first due time of each endpoint, in Unix milliseconds; the index itself is part of the view (rule 12).

    What is remembered here is only ever too early, never too late: who looks then finds out from the index.
    """

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        """Something may be due earlier than it was, or room has come free."""
        self._first_ms: dict[str, int] = {}
        self._lanes: dict[str, int] = {}

    def learn(self, groups: Sequence[DueGroup]) -> None:
        """Take over what the index says."""
        self._lanes = {group.group: group.keys for group in groups}
        for group in groups:
            self.remember(group.group, group.first_due_ms)

    def remember(self, name: str, due_ms: int) -> None:
        """Something of an endpoint is due then. Only ever earlier: what was said while Redis was being asked must not be lost."""
        self._first_ms[name] = min(due_ms, self._first_ms.get(name, due_ms))
        self.changed.set()

    def take(self, name: str) -> None:
        """Its index is about to be looked into: what becomes due meanwhile is remembered anew."""
        self._first_ms.pop(name, None)

    def __iter__(self) -> Iterator[tuple[str, int]]:
        """Endpoints of which something waits, and when the first is due."""
        return iter(list(self._first_ms.items()))

    def is_due(self, name: str, now_ms: int) -> bool:
        """Whether something of an endpoint may be due."""
        first_ms = self._first_ms.get(name)
        return first_ms is not None and first_ms <= now_ms

    def count(self, name: str, more: int) -> None:
        """So much more of an endpoint waits."""
        self._lanes[name] = max(self._lanes.get(name, 0) + more, 0)

    def waiting(self, name: str) -> int:
        """How much of an endpoint waits."""
        return self._lanes.get(name, 0)

    @property
    def waiting_in_all(self) -> int:
        """How much waits."""
        return sum(self._lanes.values())
