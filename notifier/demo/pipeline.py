"""The pipeline, as anybody would start it: the ingress and the two consumer jobs, each a process of its own."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from notifier.cli.options import CommandFailed
from notifier.demo.settings import Ports
from notifier.local import last_words
from notifier.local.ports import HOST

READY_S_MAX = 30.0
STOP_S_MAX = 15.0
_LOOK_EVERY_S = 0.05


@dataclass(frozen=True, slots=True)
class Service:
    """One process: what it is called, how it is started, and where it says whether it is ready."""

    name: str
    arguments: tuple[str, ...]
    health_port: int


def services(ports: Ports) -> tuple[Service, ...]:
    """All of them."""
    return (
        Service("serve", ("serve",), ports.internal),
        Service("orders", ("consume", "orders", "--listen", f"{HOST}:{ports.orders}"), ports.orders),
        Service("fanout", ("consume", "fanout", "--listen", f"{HOST}:{ports.fanout}"), ports.fanout),
    )


@asynccontextmanager
async def at_work(config_file: Path, started: Sequence[Service], logs: Path) -> AsyncIterator[None]:
    """
    Run these processes while the block runs, from when all are ready. Their log lines go to one file each in the folder `logs`.

    Should one end by itself, the block is cancelled.

    Raises:
        CommandFailed: one ended, or was not ready in time; with its last words. It may come in an exception group.
    """
    async with AsyncExitStack() as stack:
        processes = [(one, await stack.enter_async_context(_process(one, config_file, logs))) for one in started]
        async with asyncio.TaskGroup() as tasks:
            watching = [tasks.create_task(_watch(one, process, logs)) for one, process in processes]
            await _until_ready(started, logs)
            yield
            for task in watching:
                task.cancel()


@asynccontextmanager
async def _process(service: Service, config_file: Path, logs: Path) -> AsyncIterator[Process]:
    """
    One process, stopped at the end whatever happens.

    It ends itself when its standard input closes, should this process be killed. A session of its own keeps a terminal's Ctrl-C
    from it: it is ended after the work that it takes part in.
    """
    with _log_path(service, logs).open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "notifier", "--ends-with-stdin", "--config", str(config_file), *service.arguments),
            stdin=PIPE,
            stdout=log,
            stderr=STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        await _stop(process)


async def _stop(process: Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(STOP_S_MAX):
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()


async def _watch(service: Service, process: Process, logs: Path) -> None:
    status = await process.wait()
    raise CommandFailed(f"`notifier {' '.join(service.arguments)}` ended with status {status}; {_words(service, logs)}")


async def _until_ready(started: Sequence[Service], logs: Path) -> None:
    async with aiohttp.ClientSession(trust_env=False) as session:
        for service in started:
            try:
                async with asyncio.timeout(READY_S_MAX):
                    await _ready(session, service)
            except TimeoutError:
                raise CommandFailed(
                    f"`notifier {' '.join(service.arguments)}` was not ready within {READY_S_MAX:.0f} s; {_words(service, logs)}"
                ) from None


async def _ready(session: aiohttp.ClientSession, service: Service) -> None:
    while True:
        try:
            async with session.get(f"http://{HOST}:{service.health_port}/health/ready") as answer:
                if answer.status == 200:
                    return
        except aiohttp.ClientError:
            pass  # it does not listen yet
        await asyncio.sleep(_LOOK_EVERY_S)


def _words(service: Service, logs: Path) -> str:
    path = _log_path(service, logs)
    return f"its log, {path}, ends:\n{last_words(path)}"


def _log_path(service: Service, logs: Path) -> Path:
    return logs / f"{service.name}.log"
