"""
Keeping a process running: started again when it dies, found when it hangs, ended within a time.

What `notifier run` does with its services and `serve --workers` with its workers, each with a line to its child of its own.
"""

from __future__ import annotations

import asyncio
import signal
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable
from contextlib import suppress

from notifier.logs import get_logger

log = get_logger()

FIRST_RETRY_S = 0.5
RETRY_S_MAX = 30.0
SETTLED_S = 60.0
"""A process that worked so long and died is started again at once: its end was an accident, not its beginning."""

WRONG_USE = 2
"""The exit status of who can't use its settings (contract, section 2)."""

LOOK_EVERY_S = 5.0
SILENT_LOOKS = 6
"""So many looks in a row without a sign of life, and a process hangs: half a minute is far above the longest turn of ours."""
STARTING_LOOKS = 24
"""Before its first sign: a machine that starts everything at once is slow, and imports take a while."""


async def keep(name: str, run_once: Callable[[], Awaitable[tuple[int, int]]], is_over: asyncio.Event) -> None:
    """
    Run a process again and again until it is over, the longer after the more often it dies.

    Args:
        run_once: runs it to its end; its process id and exit status (negative: the signal that killed it).
    """
    loop = asyncio.get_running_loop()
    retry_in_s = FIRST_RETRY_S
    while not is_over.is_set():
        began = loop.time()
        pid, status = await run_once()
        if is_over.is_set():
            return
        ran_s = loop.time() - began
        if ran_s >= SETTLED_S:
            retry_in_s = FIRST_RETRY_S
        log.warning(
            "child.exited",
            child=name,
            pid=pid,
            status=status,
            reason=_reason(status),
            ran_s=round(ran_s, 1),
            retry_in_s=retry_in_s,
        )
        with suppress(TimeoutError):
            async with asyncio.timeout(retry_in_s):
                await is_over.wait()
        retry_in_s = min(2 * retry_in_s, RETRY_S_MAX)


def _reason(status: int) -> str:
    """What an exit status means, in words."""
    if status == WRONG_USE:
        return "its settings are wrong, as it says on stderr"
    if status >= 0:
        return f"it ended with status {status}"
    with suppress(ValueError):
        return f"it was killed by {signal.Signals(-status).name}"
    return f"it was killed by signal {-status}"  # a real-time one has no name


async def kill_when_silent(name: str, process: Process, has_spoken: Callable[[], Awaitable[bool]]) -> None:
    """
    Kill a process that hangs: that is stopped, or whose event loop is blocked. Runs until cancelled.

    Looks are counted, not time: were this process itself suspended for a while, it would find no fault with the other.

    Args:
        has_spoken: has it given a sign of life since the last look?
    """
    silent, patience = 0, STARTING_LOOKS
    while silent < patience:
        await asyncio.sleep(LOOK_EVERY_S)
        if await has_spoken():
            silent, patience = 0, SILENT_LOOKS
        else:
            silent += 1
    log.warning("child.hung", child=name, pid=process.pid, silent_s=round(silent * LOOK_EVERY_S, 1))
    with suppress(ProcessLookupError):
        process.kill()


async def end_when_over(name: str, process: Process, is_over: asyncio.Event, stop_s_max: Callable[[], float]) -> None:
    """Tell a process to end once it is over, and kill it if that takes longer than it may."""
    await is_over.wait()
    with suppress(ProcessLookupError):
        process.terminate()
        await asyncio.sleep(stop_s_max())
        log.warning("child.killed", child=name, pid=process.pid)
        process.kill()
