"""Telling how far a long catch-up has come: log lines, or whatever the root puts in their place (a terminal's progress bar)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from notifier.logs import get_logger

log = get_logger()

MANY_RECORDS = 10_000
"""What is read in less than a second needs no telling."""
TELL_EVERY_S = 5.0

Tell = Callable[[int], None]
"""Takes how many records of the catch-up are done."""


class Rebuilds(Protocol):
    """Shows how far catch-ups have come."""

    def begin(self, topic: str, partition: int, total: int) -> AbstractContextManager[Tell]:
        """One catch-up over so many offsets (at least one), which ends with the block: done, or given up."""
        ...


class RebuildLines:
    """Log lines: at once where there is much to read, then every few seconds."""

    @contextmanager
    def begin(self, topic: str, partition: int, total: int) -> Iterator[Tell]:
        """As `Rebuilds`."""
        began = told_at = time.monotonic()

        def tell(done: int) -> None:
            nonlocal told_at
            now = time.monotonic()
            if done and now - told_at < TELL_EVERY_S:
                return
            told_at = now
            log.info(
                "view.rebuilding",
                topic=topic,
                partition=partition,
                done=done,
                total=total,
                percent=round(100 * min(done / total, 1.0), 1),
                per_s=round(done / (now - began)) if done else None,
            )

        if total >= MANY_RECORDS:
            tell(0)
        yield tell
