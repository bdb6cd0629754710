"""The product as separate processes: each can be ended, killed, frozen and started again, and is watched through its log."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from asyncio.subprocess import STDOUT, Process
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import msgspec

from notifier.config import environment
from notifier.local.ports import HOST
from tests.waiting import until

READY_WITHIN_S = 60.0
ENDED_WITHIN_S = 20.0
SAID_WITHIN_S = 60.0

Line = Mapping[str, object]


@dataclass(slots=True)
class Part:
    """One process of the product, started again under the same name and log whenever it has ended."""

    name: str
    arguments: tuple[str, ...]
    health_port: int
    config_file: Path
    log: Path
    tasks: asyncio.TaskGroup
    statuses: list[int] = field(default_factory=list)
    """How it ended, each time."""
    left_by_itself: int = 0
    is_wanted: bool = False
    """Whether it ought to run now."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """What it finds in its environment beside ours."""
    _process: Process | None = None

    @property
    def job(self) -> str:
        """What it does: `serve`, `orders`, `fanout`."""
        return self.name.partition("-")[0]

    @property
    def is_started(self) -> bool:
        """Whether it was ever started."""
        return self._process is not None

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None, f"{self.name} was never started"
        return self._process.pid

    async def start(self) -> None:
        """Start it and return once it is ready."""
        await self.spawn()
        await self.ready()

    async def spawn(self) -> None:
        """Start it, and again should it end by itself, as a supervisor does (contract, section 3). It ends with this process."""
        # a pipe of our own: uvloop's is a socket, by which a supervised process lets its heart be heard
        its_end, ours = os.pipe()
        try:
            with self.log.open("ab") as log:
                self._process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "notifier", "--ends-with-stdin", "--config", str(self.config_file)),
                    *self.arguments,
                    stdin=its_end,
                    stdout=log,
                    stderr=STDOUT,
                    env={**environment(), **self.environment},
                    start_new_session=True,
                )
        finally:
            os.close(its_end)
        self.is_wanted = True
        self.tasks.create_task(self._watch(self._process, ours))

    async def _watch(self, process: Process, its_life: int) -> None:
        try:
            status = await process.wait()
        finally:
            os.close(its_life)
        if self.is_wanted:
            self.statuses.append(status)
            self.left_by_itself += 1
            await self.spawn()

    async def ready(self) -> None:
        """Return once it says that it is ready."""
        async with aiohttp.ClientSession(trust_env=False) as session:

            async def is_ready() -> bool:
                try:
                    async with session.get(f"http://{HOST}:{self.health_port}/health/ready") as answer:
                        return answer.status == 200
                except aiohttp.ClientError:
                    return False

            await until(is_ready, READY_WITHIN_S, f"{self.name} is ready")

    async def end(self) -> int:
        """End it in order; its exit status."""
        return await self._ended_by(signal.SIGTERM)

    async def kill(self) -> None:
        """End it as a power cut would."""
        await self._ended_by(signal.SIGKILL)

    def freeze(self) -> None:
        """Let it stand still (SIGSTOP)."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on as if nothing had been (SIGCONT)."""
        os.kill(self.pid, signal.SIGCONT)

    async def _ended_by(self, signum: signal.Signals) -> int:
        self.is_wanted = False
        process = self._process
        assert process is not None, f"{self.name} was never started"
        if process.returncode is None:
            process.send_signal(signum)
        try:
            async with asyncio.timeout(ENDED_WITHIN_S):
                status = await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise TimeoutError(f"{self.name} did not end within {ENDED_WITHIN_S:g} s of {signum.name}") from None
        self.statuses.append(status)
        return status

    def mark(self) -> int:
        """Where its log ends now."""
        return self.log.stat().st_size if self.log.exists() else 0

    def lines(self, *events: str, since: int = 0) -> list[Line]:
        """What it has said of these events behind a mark. What is no JSON is none of its lines: last words on stderr."""
        return _parsed(self._raw(since), *events)

    def _raw(self, since: int) -> bytes:
        """Its whole lines since a mark."""
        if not self.log.exists():
            return b""
        with self.log.open("rb") as log:
            log.seek(since)
            whole, end, _ = log.read().rpartition(b"\n")
        return whole + end

    def saying(self, event: str, since: int, **fields: object) -> Callable[[], bool]:
        """Tells, as often as it is asked, whether a line with this event and these fields has come behind a mark."""
        more, is_said = self.following(event, since, **fields), False

        def look() -> bool:
            nonlocal is_said
            is_said = bool(more()) or is_said
            return is_said

        return look

    def following(self, event: str, since: int, **fields: object) -> Callable[[], list[Line]]:
        """Gives, each time, the lines with this event and these fields that have come since it was last asked."""
        at = since

        def more() -> list[Line]:
            nonlocal at
            raw = self._raw(at)
            at += len(raw)
            return [
                line for line in _parsed(raw, event) if all(line.get(name) == value for name, value in fields.items())
            ]

        return more

    async def said(self, event: str, since: int, **fields: object) -> None:
        """Return once it has said so behind a mark."""
        look = self.saying(event, since, **fields)

        async def is_said() -> bool:
            return look()

        await until(is_said, SAID_WITHIN_S, f"{self.name} says {event} {fields or ''}")


def _parsed(raw: bytes, *events: str) -> list[Line]:
    # most lines are not asked for and need not be read
    wanted = re.compile(b"|".join([re.escape(f'"event":"{event}"'.encode()) for event in events]))
    return [msgspec.json.decode(line) for line in raw.splitlines() if line.startswith(b"{") and wanted.search(line)]


def parts(
    ports: list[int], config_file: Path, logs: Path, tasks: asyncio.TaskGroup, environment: Mapping[str, str]
) -> list[Part]:
    """The ingress, and two processes of each job; `ports` are one for each part's health."""
    made: list[tuple[str, tuple[str, ...]]] = [("serve", ("serve",))]
    made += [
        (f"{job}-{number}", ("consume", job, "--listen", f"{HOST}:{port}"))
        for (job, number), port in zip(
            [(job, number) for job in ("orders", "fanout") for number in (1, 2)], ports[1:], strict=True
        )
    ]
    return [
        Part(name, arguments, port, config_file, logs / f"{name}.log", tasks, environment=environment)
        for (name, arguments), port in zip(made, ports, strict=True)
    ]
