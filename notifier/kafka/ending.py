"""
Starting and ending aiokafka's clients, whatever state they are in.

Both are done by a task of their own: what the library does with a cancellation is not ours to rely on. Its `stop` may let one out
that is none of ours, and may keep one that is: then who was told to end would go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiokafka.errors import KafkaError

END_S = 5.0
FINISH_START_S = 0.3
"""A start for which nobody waits any more may still come to its end; an append's deadline has passed then, so not for long."""


async def started(start: Awaitable[object], stop: Callable[[], Awaitable[object]]) -> None:
    """
    Wait until a client has started. Of one that fails, or for which nobody waits any more, nothing is left.

    A start that is cut off loses the connection that it is just making, where nobody can close it: so it comes to its end first,
    within the bound.
    """
    starting = asyncio.ensure_future(start)  # noqa: TID251 - waited for here, but not to be cancelled with who waits
    try:
        await asyncio.shield(starting)
    except BaseException:
        await _within_bound(starting, FINISH_START_S)
        await ended(stop())
        raise


async def ended(stop: Awaitable[object]) -> None:
    """
    Wait for a client's end, within a bound.

    Without a broker a client's `stop` may fail, wait for ever, or let the cancellation of a task of its own out. The process is
    to end all the same; a cancellation of ours passes through.
    """
    ending = asyncio.ensure_future(stop)  # noqa: TID251 - waited for here, but only for so long
    await _within_bound(ending, END_S)
    if ending.done() and not ending.cancelled():
        error = ending.exception()
        if error is not None and not isinstance(error, KafkaError):
            raise error


async def _within_bound(task: asyncio.Future[object], within_s: float) -> None:
    """Wait for its end; what has not come to it by then is cancelled, and not waited for."""
    task.add_done_callback(_mark_seen)
    try:
        await asyncio.wait({task}, timeout=within_s)
    finally:
        task.cancel()


def _mark_seen(task: asyncio.Future[object]) -> None:
    """Nobody may be left who would ask how it ended."""
    if not task.cancelled():
        task.exception()
