"""Waiting for what nobody reports by itself: it is asked for again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

LOOK_EVERY_S = 0.02


async def until(is_so: Callable[[], Awaitable[bool]], timeout_s: float, what: str = "") -> None:
    """
    Return once it is so.

    Raises:
        TimeoutError: it never was; the message is `what`.
    """
    try:
        async with asyncio.timeout(timeout_s):
            while not await is_so():  # noqa: ASYNC110 - another process knows; it sets no event of ours
                await asyncio.sleep(LOOK_EVERY_S)
    except TimeoutError:
        raise TimeoutError(f"not seen within {timeout_s:g} s: {what}" if what else "") from None


async def listens(port: int) -> bool:
    """Whether somebody listens on a local port."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return False
    writer.close()
    await writer.wait_closed()
    return True
