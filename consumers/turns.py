"""
Long work in short turns.

A loop's heartbeats, deadlines and answers all wait for whoever is working. A backlog of thousands of records in each of 24
partitions is many seconds of work: done in one go it would cost the process its membership and each append its deadline.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

TURN_ITEMS = 50
"""Of work that takes about a tenth of a millisecond for each item: a turn takes some milliseconds."""

_T = TypeVar("_T")


async def in_turns(items: Sequence[_T], work: Callable[[_T], None]) -> None:
    """Do the work for each item in order; after every few, let others have a turn."""

    def each(turn: Sequence[_T]) -> None:
        for item in turn:
            work(item)

    await in_turns_of(items, each)


async def in_turns_of(items: Sequence[_T], work: Callable[[Sequence[_T]], None]) -> None:
    """The same for work that takes some items at once."""
    for first in range(0, len(items), TURN_ITEMS):
        if first:
            await asyncio.sleep(0)
        work(items[first : first + TURN_ITEMS])
