"""
An event loop whose interleaving a seed decides: virtual time, a seeded choice among what is ready, processes that stop anywhere.

Time stands still while anything is ready and then jumps to the next timer. What runs belongs to a process, by the context in
which it was begun, so a process can be stopped between any two awaits as SIGSTOP and `kill -9` do: not one more of its steps
runs, no `finally` among them.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, ContextVar, copy_context
from typing import Any, TypeVar, TypeVarTuple, Unpack

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")

STEPS_MAX = 600_000
"""A run that takes more does not come to rest."""


class Process:
    """What stops as one. `steps_left`: so many steps until `at_the_end` is called; None: it runs on."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_stopped = False
        self.held: list[asyncio.Handle] = []
        self.steps_left: int | None = None
        self.at_the_end: Callable[[], None] = lambda: None


PROCESS: ContextVar[Process | None] = ContextVar("process", default=None)
"""Whose code runs. None: the world outside, which never stops."""


class EndlessError(AssertionError):
    """The run does not come to rest."""


class _Task(asyncio.Task[Any]):
    """A task that lies in sets in an order that does not depend on its address."""

    number = 0

    def __hash__(self) -> int:
        return self.number


class SeededLoop(asyncio.BaseEventLoop):
    """
    Runs one seed.

    Args:
        is_shuffled: choose among what is ready; else first come, first served, as asyncio promises.
    """

    def __init__(self, seed: int, *, is_shuffled: bool) -> None:
        super().__init__()
        self._random = random.Random(f"loop {seed}")
        self._is_shuffled = is_shuffled
        self._now = 0.0
        self._at_hand: list[tuple[Process | None, asyncio.Handle]] = []
        self._timers: list[tuple[float, int, Process | None, asyncio.TimerHandle]] = []
        self._numbers = itertools.count()
        self._is_stopping = False
        self.steps = 0
        self.set_task_factory(self._task)

    def _task(
        self,
        loop: asyncio.AbstractEventLoop,
        coro: Coroutine[Any, Any, _T] | Generator[Any, None, _T],
        *,
        context: Context | None = None,
    ) -> asyncio.Task[_T]:
        task = _Task(coro, loop=loop, context=context)
        task.number = next(self._numbers)
        return task

    def time(self) -> float:
        """Seconds since the run began."""
        return self._now

    def call_soon(
        self, callback: Callable[[Unpack[_Ts]], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """Make it ready, for the process whose context it has."""
        context = context or copy_context()
        handle = asyncio.Handle(callback, args, self, context)
        self._put(context.get(PROCESS), handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[_Ts]], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Make it ready at a time."""
        context = context or copy_context()
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._numbers), context.get(PROCESS), handle))
        return handle

    def stop(self) -> None:
        """End after this step."""
        super().stop()
        self._is_stopping = True

    def hold(self, process: Process) -> None:
        """Stop a process where it is."""
        process.is_stopped = True
        process.held += [handle for owner, handle in self._at_hand if owner is process]
        self._at_hand = [(owner, handle) for owner, handle in self._at_hand if owner is not process]

    def release(self, process: Process) -> None:
        """Let a stopped process go on; what was due meanwhile is due now."""
        process.is_stopped = False
        held, process.held = process.held, []
        for handle in held:
            self._put(process, handle)

    def _put(self, process: Process | None, handle: asyncio.Handle) -> None:
        if process is not None and process.is_stopped:
            process.held.append(handle)
        else:
            self._at_hand.append((process, handle))

    def _run_once(self) -> None:
        """One step (the hook of `BaseEventLoop.run_forever`)."""
        while self._timers and (not self._at_hand or self._timers[0][0] <= self._now):
            when, _, owner, timer = heapq.heappop(self._timers)
            if not timer.cancelled():
                self._now = max(self._now, when)
                self._put(owner, timer)
        if not self._at_hand:
            if self._is_stopping:
                return
            raise EndlessError("everything waits and nothing will ever happen")
        at = self._random.randrange(len(self._at_hand)) if self._is_shuffled and len(self._at_hand) > 1 else 0
        process, handle = self._at_hand[at]
        if process is not None and process.steps_left is not None:
            process.steps_left -= 1
            if process.steps_left < 0:
                process.steps_left = None
                process.at_the_end()
                if process.is_stopped:
                    return
        del self._at_hand[at]
        self.steps += 1
        if self.steps > STEPS_MAX:
            raise EndlessError(f"no rest after {STEPS_MAX} steps, {self._now:.0f} s")
        if not handle.cancelled():
            handle._run()

    def _process_events(self, event_list: object) -> None:
        """There are no sockets."""

    def _write_to_self(self) -> None:
        """There are no threads."""
