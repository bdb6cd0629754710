"""
Faults that nobody can cause from outside, put into a process by its `PYTHONPATH`: Python imports this file before the program.

A bug is an exception where there must be none, so it has to be put in: a pure function raises for one order's number. Time that
passes in a week is put in front of the clock. A bound that thousands of channels would reach is made small. A client that never
ends stands for whatever holds up an end.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

from notifier import clock, events, order
from notifier.kafka import group
from notifier.processes import workers

BUG_IN_FOLD, BUG_IN_ANSWER = "BUG-FOLD", "BUG-SHOW"
"""The numbers of orders at which the program fails."""

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Bug(Exception):
    """It was put in."""


def _failing(function: Callable[_P, _T], order: str) -> Callable[_P, _T]:
    @wraps(function)
    def fails(*arguments: _P.args, **named: _P.kwargs) -> _T:
        if order in repr(arguments):
            raise Bug
        return function(*arguments, **named)

    return fails


def _later(ahead: Path) -> None:
    """The clock is ahead by what a file says, in seconds."""
    now = clock.SystemClock.now

    def shifted(self: clock.SystemClock) -> datetime:
        return now(self) + timedelta(seconds=float(ahead.read_text()))

    clock.SystemClock.now = shifted  # type: ignore[method-assign]  # that is what it is for


async def _never(self: group.Group) -> None:
    """A client that does not end, though that is bounded."""
    del self
    await asyncio.Event().wait()


_wanted = os.environ  # noqa: TID251 - it is not part of the program
if "ALARMS_BUG" in _wanted:
    order.decide = _failing(order.decide, BUG_IN_FOLD)
    events.order_in = _failing(events.order_in, BUG_IN_ANSWER)
if "ALARMS_CLOCK" in _wanted:
    _later(Path(_wanted["ALARMS_CLOCK"]))
if "ALARMS_HELD_UP" in _wanted:
    group.Group.stop = _never  # type: ignore[method-assign]  # likewise
if "ALARMS_METRICS_BYTES_MAX" in _wanted:
    workers.METRICS_BYTES_MAX = int(_wanted["ALARMS_METRICS_BYTES_MAX"])
