"""
Several services on one machine, each its own process, kept alive and ended in order (`notifier run`).

How each is kept running is `keeping`. Each sits in a process group of its own, so that a terminal's Ctrl-C reaches the supervisor
alone and the order of the end is ours. The standard input of each is a line to the supervisor: by it the child sees that the
supervisor is gone (`notifier.cli.orphan`) and that the settings are to be read again (`hangup`), and the supervisor hears the
child's heart (`heart`).
"""

from __future__ import annotations

import asyncio
import socket
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from notifier.app import Stop
from notifier.logs import get_logger
from notifier.processes import hangup
from notifier.processes.handing import handed
from notifier.processes.keeping import end_when_over, keep, kill_when_silent

log = get_logger()

LINE_BYTES_MAX = 1_048_576
"""Far above the longest log line of ours."""
BEATS_MAX = 65_536
"""Of beats that are taken at once: more than the line holds."""
LAST_WORDS_S_MAX = 5.0
"""How long what an ended process wrote is still read, where its own children hold its output open."""


@dataclass(frozen=True, slots=True)
class Child:
    """One service, and how to run it."""

    name: str
    command: Callable[[tuple[str, ...]], tuple[str, ...]]
    """Its command line, with these options before what it is to do."""
    stop_s_max: Callable[[], float]
    """How long it may take to end after it was told to; then it is killed. Asked when it is told."""
    settings: Callable[[], str | None] = lambda: None
    """The settings in use, which it is handed each time that it is started; None: it reads them by itself."""


@dataclass(frozen=True, slots=True)
class Lines:
    """The lines to the children that are running."""

    _open: set[socket.socket] = field(default_factory=set)

    def tell_to_reload(self) -> None:
        """Let every child read the settings again. It waits in the line of who is still starting."""
        for line in self._open:
            hangup.tell(line)

    @contextmanager
    def among(self, line: socket.socket) -> Iterator[None]:
        """One more, while the block runs."""
        self._open.add(line)
        try:
            yield
        finally:
            self._open.discard(line)


Show = Callable[[str, bytes], None]
"""Takes a line that a child wrote on its standard output: whose, and the line with its end."""


async def supervise(stages: Sequence[Sequence[Child]], show: Show, stop: Stop, lines: Lines | None = None) -> None:
    """
    Keep all children running until `stop`; then end them stage by stage, each stage gone before the next is told.

    A child that does not end in its time is killed. Returns when all are gone. `lines` leads to those that run.
    """
    lines = lines or Lines()
    async with asyncio.TaskGroup() as tasks:
        started = []
        for stage in stages:
            is_over = asyncio.Event()
            keeping = [
                tasks.create_task(keep(child.name, partial(_run_once, child, show, is_over, lines), is_over))
                for child in stage
            ]
            started.append((is_over, keeping))
        await stop.wait()
        for is_over, keeping in started:
            is_over.set()
            await asyncio.wait(keeping)


async def _run_once(child: Child, show: Show, is_over: asyncio.Event, lines: Lines) -> tuple[int, int]:
    """Run it to its end; its process id and exit status (negative: the signal that killed it)."""
    line, its = socket.socketpair()
    with line, lines.among(line):
        line.setblocking(False)
        with its, handed(child.settings()) as number:
            options = () if number is None else ("--settings-on", str(number))
            process = await asyncio.create_subprocess_exec(
                *child.command(options),
                stdin=its.fileno(),
                stdout=PIPE,
                limit=LINE_BYTES_MAX,
                start_new_session=True,
                pass_fds=() if number is None else (number,),
            )
        log.info("child.started", child=child.name, pid=process.pid)
        try:
            async with asyncio.TaskGroup() as tasks:
                showing = tasks.create_task(_show_lines(child, process, show))
                watching = [
                    tasks.create_task(end_when_over(child.name, process, is_over, child.stop_s_max)),
                    tasks.create_task(kill_when_silent(child.name, process, partial(_has_beaten, line))),
                ]
                status = await process.wait()
                for task in watching:
                    task.cancel()
                await asyncio.wait([showing], timeout=LAST_WORDS_S_MAX)
                showing.cancel()
        finally:
            if process.returncode is None:  # we are being cancelled: nothing is left running
                process.kill()
                await process.wait()
    return process.pid, status


async def _has_beaten(line: socket.socket) -> bool:
    """Has its heart beaten since it was last asked (`notifier.processes.heart`)?"""
    try:
        return bool(line.recv(BEATS_MAX))
    except OSError:  # nothing there; or its end of the line is gone, and soon so is the child
        return False


async def _show_lines(child: Child, process: Process, show: Show) -> None:
    assert process.stdout is not None, "it was asked for"
    async for line in process.stdout:
        show(child.name, line)
