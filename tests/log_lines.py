"""Where log lines go, put back after whoever sends them somewhere else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from notifier import logs


@contextmanager
def as_they_were() -> Iterator[None]:
    """After the block lines go where they went before it."""
    current = logs._current
    before = current.render, current.write, current.rank
    try:
        yield
    finally:
        current.render, current.write, current.rank = before
