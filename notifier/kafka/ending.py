"""Ending aiokafka's clients, whatever state they are in."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from aiokafka.errors import KafkaError

END_S = 5.0


async def ended(stop: Awaitable[object]) -> None:
    """
    Wait for a client's end, within a bound.

    Without a broker a client's `stop` may fail, wait for ever, or let the cancellation of a task of its own out. The process is
    to end all the same; a cancellation of ours passes through.
    """
    try:
        async with asyncio.timeout(END_S):
            await stop
    except (KafkaError, TimeoutError):
        return
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
