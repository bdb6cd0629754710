"""
Finds what should move and does not, so that its process leaves and is started again. Pure.

After a broker's restart aiokafka is, in rare cases, stuck for good without a word: it fetches nothing, or never joins its group
again. Only a new process mends that. Looks are counted, not time: a process that was suspended, or a machine that is busy, does
not have many of them at once.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Generic, TypeVar

STUCK_LOOKS = 24
"""A look every 5 s (`consumers.partition.PING_EVERY_S`) makes two minutes: what is slow and moves, moves in that time."""

_Key = TypeVar("_Key", bound=Hashable)


class Watchdog(Generic[_Key]):
    """
    Looks again and again at what is left to do.

    Args:
        looks: how many in a row have to find a thing where it was.
    """

    def __init__(self, looks: int) -> None:
        self._looks = looks
        self._still: dict[_Key, tuple[object, int]] = {}

    def look(self, owing: Mapping[_Key, object]) -> list[_Key]:
        """
        What has stood still for so many looks.

        Args:
            owing: what has something left to do, each with a mark that changes with every step that it makes.
        """
        before, self._still = self._still, {}
        for key, mark in owing.items():
            then, count = before.get(key, (mark, 0))
            self._still[key] = mark, count + 1 if then == mark else 1
        return [key for key, (_, count) in self._still.items() if count > self._looks]

    def forgive(self) -> None:
        """Begin anew: nobody can be expected to move right now."""
        self._still = {}
