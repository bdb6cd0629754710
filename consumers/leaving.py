"""The end of a process that was told to end, whatever holds it up."""

from __future__ import annotations

import asyncio
import os
import threading
from types import TracebackType
from typing import NoReturn, Self

from notifier.logs import get_logger

log = get_logger()


class LastResort:
    """
    Ends the process if it has not ended by itself so long after it was told to.

    By then what was done is committed and its group was left, or that was given up: who still waits waits for nothing. It is a
    thread, since what holds the process up may be its event loop, or a thread that Python waits for at its end.

    Args:
        within_s: more than the drain, the commit and the leaving of the group take; less than a supervisor's patience.
    """

    def __init__(self, within_s: float) -> None:
        self._within_s = within_s
        self._timer: threading.Timer | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def begin(self) -> None:
        """The process was told to end."""
        if self._timer is None:
            self._timer = threading.Timer(self._within_s, self._leave, [asyncio.get_running_loop()])
            self._timer.daemon = True
            self._timer.start()

    def _leave(self, loop: asyncio.AbstractEventLoop) -> NoReturn:
        tasks = sorted({getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks(loop)})
        log.warning("service.cut_off", after_s=self._within_s, waiting_for=tasks)
        os._exit(1)
