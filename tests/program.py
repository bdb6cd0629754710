"""A command that runs until it is told to end, and what it says meanwhile: read all the while, shown where a test fails."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WITHIN_S = 60.0
ENDS_WITHIN_S = 30.0
SHOWN_LINES = 4000
"""Of a test that failed: the last ones."""
SHOWN_OF_A_LOG = 300


@dataclass
class Program:
    """
    A command that runs until it is told to end.

    Its lines are read as they come, whether somebody waits for one or not: a full pipe would hold it up.
    """

    process: Process
    said: list[dict[str, Any]] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    _seen: int = 0
    _complaints_seen: int = 0
    _has_ended: bool = False
    _more: asyncio.Condition = field(default_factory=asyncio.Condition)

    @classmethod
    @asynccontextmanager
    async def of(cls, process: Process) -> AsyncIterator[Program]:
        """What has just been started, until the block ends; it is killed then, if it still runs."""
        program = cls(process)
        reading = asyncio.get_running_loop().create_task(program._read())
        try:
            yield program
        except BaseException:
            program._show()
            raise
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
            await reading

    async def until(self, is_wanted: Callable[[dict[str, Any]], bool], within_s: float = WITHIN_S) -> dict[str, Any]:
        """Go on in its JSON lines to the next that is wanted."""
        async with asyncio.timeout(within_s), self._more:
            while True:
                while self._seen < len(self.said):
                    self._seen += 1
                    if is_wanted(self.said[self._seen - 1]):
                        return self.said[self._seen - 1]
                if self._has_ended:
                    raise AssertionError("it ended without saying so")
                await self._more.wait()

    async def has_complained(self, words: str) -> None:
        """Go on in what it says beside its output to a line with these words."""
        async with asyncio.timeout(WITHIN_S), self._more:
            while True:
                while self._complaints_seen < len(self.complaints):
                    self._complaints_seen += 1
                    if words in self.complaints[self._complaints_seen - 1]:
                        return
                if self._has_ended:
                    raise AssertionError(f"it ended without saying: {words}")
                await self._more.wait()

    async def until_each(self, *wanted: tuple[str, str]) -> list[dict[str, Any]]:
        """Go on to where each of these events, by services, was told, in whatever order; the first line of each."""
        waiting = set(wanted)
        found = []
        while waiting:
            found.append(await self.until(lambda line: (line["event"], line["service"]) in waiting))
            waiting.remove((found[-1]["event"], found[-1]["service"]))
        return found

    async def all_at_work(self) -> None:
        """Until the ingress listens and both consumers have their partitions."""
        await self.until_each(
            ("service.started", "ingress"), ("partitions.assigned", "orders"), ("partitions.assigned", "fanout")
        )

    async def ends(self, how: signal.Signals) -> int:
        """Tell it to end; its exit status, once it and every process that shares its pipes are gone."""
        self.process.send_signal(how)
        return await self.ended()

    async def ended(self) -> int:
        """The same, where it ends by itself."""
        async with asyncio.timeout(ENDS_WITHIN_S):
            async with self._more:
                await self._more.wait_for(lambda: self._has_ended)
            return await self.process.wait()

    def pid_of(self, name: str) -> int:
        """The newest process of that service."""
        return [int(line["pid"]) for line in self.said if line["event"] == "child.started" and line["child"] == name][
            -1
        ]

    async def _read(self) -> None:
        """Both of its pipes, to their ends."""
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._each(self.process.stdout, lambda line: self.said.append(json.loads(line))))
            tasks.create_task(self._each(self.process.stderr, self.complaints.append))
        async with self._more:
            self._has_ended = True
            self._more.notify_all()

    async def _each(self, pipe: asyncio.StreamReader, put: Callable[[str], None]) -> None:
        async for line in pipe:
            async with self._more:
                put(line.decode())
                self._more.notify_all()

    def _show(self) -> None:
        """On stdout, where pytest finds it."""
        lines = [*(json.dumps(line) for line in self.said[-SHOWN_LINES:]), *self.complaints[-SHOWN_LINES:]]
        sys.stdout.write("\n".join([f"----- what process {self.process.pid} said", *lines, ""]))


def show_logs(folder: Path) -> None:
    """The last lines of each log below a folder, on stdout, where pytest finds them."""
    for log in sorted(folder.rglob("*.log")):
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-SHOWN_OF_A_LOG:]
        sys.stdout.write("\n".join([f"----- the end of {log.name}", *lines, ""]))


def is_line(**wanted: object) -> Callable[[dict[str, Any]], bool]:
    """A log line with these members."""
    return lambda line: wanted.items() <= line.items()
