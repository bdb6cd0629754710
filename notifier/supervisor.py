"""
Several services on one machine, each its own process, kept alive and ended in order (`notifier run`).

A process that dies is started again, the longer after the more often. Each sits in a process group of its own, so that a
terminal's Ctrl-C reaches the supervisor alone and the order of the end is ours; and each holds the end of a pipe by which it
sees that the supervisor is gone (`notifier.cli.orphan`).
"""

from __future__ import annotations

import asyncio
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from notifier.app import Stop
from notifier.logs import get_logger
from notifier.workers import FIRST_RETRY_S, RETRY_S_MAX, SETTLED_S

log = get_logger()

LINE_BYTES_MAX = 1_048_576
"""Far above the longest log line of ours."""
LAST_WORDS_S_MAX = 5.0
"""How long what an ended process wrote is still read, where its own children hold its output open."""


@dataclass(frozen=True, slots=True)
class Child:
    """One service, and how to run it."""

    name: str
    command: tuple[str, ...]
    stop_s_max: float
    """How long it may take to end after it was told to; then it is killed."""


Show = Callable[[str, bytes], None]
"""Takes a line that a child wrote on its standard output: whose, and the line with its end."""


async def supervise(stages: Sequence[Sequence[Child]], show: Show, stop: Stop) -> None:
    """
    Keep all children running until `stop`; then end them stage by stage, each stage gone before the next is told.

    A child that does not end in its time is killed. Returns when all are gone.
    """
    async with asyncio.TaskGroup() as tasks:
        started = []
        for stage in stages:
            is_over = asyncio.Event()
            started.append((is_over, [tasks.create_task(_keep(child, show, is_over)) for child in stage]))
        await stop.wait()
        for is_over, keeping in started:
            is_over.set()
            await asyncio.wait(keeping)


async def _keep(child: Child, show: Show, is_over: asyncio.Event) -> None:
    """Run it again and again until it is over."""
    loop = asyncio.get_running_loop()
    retry_in_s = FIRST_RETRY_S
    while not is_over.is_set():
        began = loop.time()
        pid, status = await _run_once(child, show, is_over)
        if is_over.is_set():
            return
        if loop.time() - began >= SETTLED_S:
            retry_in_s = FIRST_RETRY_S
        log.warning("child.exited", child=child.name, pid=pid, status=status, retry_in_s=retry_in_s)
        with suppress(TimeoutError):
            async with asyncio.timeout(retry_in_s):
                await is_over.wait()
        retry_in_s = min(2 * retry_in_s, RETRY_S_MAX)


async def _run_once(child: Child, show: Show, is_over: asyncio.Event) -> tuple[int, int]:
    """Run it to its end; its process id and exit status (negative: the signal that killed it)."""
    process = await asyncio.create_subprocess_exec(
        *child.command, stdin=PIPE, stdout=PIPE, limit=LINE_BYTES_MAX, start_new_session=True
    )
    log.info("child.started", child=child.name, pid=process.pid)
    try:
        async with asyncio.TaskGroup() as tasks:
            showing = tasks.create_task(_show_lines(child, process, show))
            ending = tasks.create_task(_end_when_over(child, process, is_over))
            status = await process.wait()
            ending.cancel()
            await asyncio.wait([showing], timeout=LAST_WORDS_S_MAX)
            showing.cancel()
    finally:
        if process.returncode is None:  # we are being cancelled: nothing is left running
            process.kill()
            await process.wait()
    return process.pid, status


async def _show_lines(child: Child, process: Process, show: Show) -> None:
    assert process.stdout is not None, "it was asked for"
    async for line in process.stdout:
        show(child.name, line)


async def _end_when_over(child: Child, process: Process, is_over: asyncio.Event) -> None:
    await is_over.wait()
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
        await asyncio.sleep(child.stop_s_max)
        log.warning("child.killed", child=child.name, pid=process.pid)
        process.kill()
