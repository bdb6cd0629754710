"""A network between the processes and their servers: slow, cut now and then, and what was sent may arrive all the same."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextvars import Context
from functools import partial
from typing import Literal, TypeVar

from notifier.errors import Unavailable

_T = TypeVar("_T")
To = Literal["kafka", "redis"]

TIMEOUT_S = 5.0
"""What a client waits for an answer, as in the real adapters."""

_SLOW_S_MAX = 8.0
"""Longer than clients wait: then the work is done and nobody hears of it."""


class SeededNetwork:
    """Carries requests (`tests.fakes.Network`). The far side belongs to no process: what has arrived there is done."""

    def __init__(self, rng: random.Random, *, before_work: Callable[[], None]) -> None:
        self._random = rng
        self._before_work = before_work
        self._outside = Context()
        self.is_calm = False
        """No more faults."""
        self.away: set[To] = set()
        """What cannot be reached."""

    def later(self, delay_s: float, callback: Callable[[], object]) -> None:
        """Let something happen outside of all processes."""
        self._outside.run(asyncio.get_running_loop().call_later, delay_s, callback)

    def latency_s(self) -> float:
        """One way of one message."""
        if not self.is_calm and self._random.random() < 0.01:
            return self._random.uniform(0.5, _SLOW_S_MAX)
        return self._random.uniform(0.0005, 0.02)

    async def carry(self, to: To, work: Callable[[], _T]) -> _T:
        """As `Network`."""
        answer: asyncio.Future[_T] = asyncio.get_running_loop().create_future()
        self.later(self.latency_s(), partial(self._serve, to, work, answer))
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await answer
        except TimeoutError:
            raise Unavailable(to, f"{to}_timeout") from None

    def _serve(self, to: To, work: Callable[[], _T], answer: asyncio.Future[_T]) -> None:
        if to in self.away:
            self.later(self.latency_s(), partial(_fail, answer, Unavailable(to, "ConnectionError")))
            return
        self._before_work()
        try:
            result = work()
        except Unavailable as error:
            self.later(self.latency_s(), partial(_fail, answer, error))
        else:
            self.later(self.latency_s(), partial(succeed, answer, result))


def succeed(answer: asyncio.Future[_T], result: _T) -> None:
    """Bring an answer home, if anybody still waits for it."""
    if not answer.done():
        answer.set_result(result)


def _fail(answer: asyncio.Future[_T], error: Unavailable) -> None:
    if not answer.done():
        answer.set_exception(error)
