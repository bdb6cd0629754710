"""
Several processes on one public socket (`serve --workers N`).

The parent binds both listeners once and hands the public one to each worker as an open file: a `SO_REUSEPORT` would spread
connections as well, but hide a port that another program has. Between parent and worker is a socket pair: the parent asks how
the worker is, the worker sees the parent's end by its closing. Workers are fresh interpreters, never forks of a process that
has threads.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import msgspec

from notifier import metrics
from notifier.internal.health import Health, Reporter
from notifier.logs import get_logger
from notifier.processes.handing import handed
from notifier.processes.keeping import end_when_over, keep, kill_when_silent

log = get_logger()

HEALTH_TIMEOUT_S = 1.0
"""A worker that does not say in time how it is counts as not ready."""
METRICS_TIMEOUT_S = 5.0
"""Half of what Prometheus waits for. A worker that does not hand its metrics over in time stands in the sum with its last."""
METRICS_BYTES_MAX = 67_108_864
"""5,000 channels with a dozen reasons each are 9 MB; what is larger is left out of the sum by its worker."""
STOP_EXTRA_S = 8.0
"""Beyond what is in flight: the end of the producer takes 5 s at most. A worker that takes longer is killed."""

_HEALTH, _METRICS = b"h", b"m"
"""The questions: metrics are large and cost time, so they are not part of how a worker is."""
_RELOAD = b"r"
"""A word without an answer. Not a signal: to a worker that is still starting it would be the end, and this one waits for it."""
_SIZE = struct.Struct("!I")


class _HealthReport(msgspec.Struct, frozen=True, tag="health"):
    is_ready: bool
    dependencies: dict[str, bool]


class _MetricsReport(msgspec.Struct, frozen=True, tag="metrics"):
    snapshot: bytes | None
    """None: it is too large."""
    size: int
    """In bytes, handed over or not."""


_encode = msgspec.msgpack.encode
_decode = msgspec.msgpack.Decoder(_HealthReport | _MetricsReport).decode


@asynccontextmanager
async def answer_parent(
    control: socket.socket, reporter: Reporter, reload: Callable[[], None], stop: Callable[[str], None]
) -> AsyncIterator[None]:
    """
    In a worker: answer the parent's questions while the block runs.

    Args:
        reload: called when the parent has said that the settings are to be read again.
        stop: called when there is no parent any more.
    """
    reader, writer = await asyncio.open_connection(sock=control)
    async with asyncio.TaskGroup() as tasks:
        answering = tasks.create_task(_answer(reader, writer, reporter, reload, stop))
        try:
            yield
        finally:
            answering.cancel()
            writer.close()


async def _answer(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    reporter: Reporter,
    reload: Callable[[], None],
    stop: Callable[[str], None],
) -> None:
    try:
        while question := await reader.read(1):
            report: _HealthReport | _MetricsReport
            if question == _RELOAD:
                reload()
                continue
            if question == _HEALTH:
                health = await reporter.health()
                report = _HealthReport(health.is_ready, dict(health.dependencies))
            else:
                snapshot = metrics.snapshot()
                is_too_large = len(snapshot) > METRICS_BYTES_MAX
                report = _MetricsReport(None if is_too_large else snapshot, len(snapshot))
            encoded = _encode(report)
            writer.write(_SIZE.pack(len(encoded)) + encoded)
            await writer.drain()
    except ConnectionError:
        pass
    stop("parent_gone")


class _Worker:
    """One worker as the parent sees it."""

    def __init__(self, name: str, process: Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.name = name
        self.process = process
        self.snapshot: bytes | None = None
        """Its metrics, as it last handed them over."""
        self._reader = reader
        self._writer = writer
        self._is_omission_said = False
        self._asked: dict[bytes, asyncio.Future[_HealthReport | None]] = {}  # questions that are not answered yet

    async def health(self) -> _HealthReport | None:
        """How it is; None if it does not say so in time."""
        return await self._ask(_HEALTH, HEALTH_TIMEOUT_S)

    def reload(self) -> None:
        """Let it read the settings again; it says by itself what came of it."""
        if not self._writer.is_closing():
            self._writer.write(_RELOAD)

    async def refresh(self) -> None:
        """Have its metrics handed over, if it does so in time."""
        await self._ask(_METRICS, METRICS_TIMEOUT_S)

    async def _ask(self, question: bytes, timeout_s: float) -> _HealthReport | None:
        """A worker that is slow, or still starting, is not asked the same twice; one that has gone is not asked."""
        if self._writer.is_closing():
            return None
        if question not in self._asked:
            self._asked[question] = asyncio.get_running_loop().create_future()
            self._writer.write(question)
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.shield(self._asked[question])
        except TimeoutError:
            return None

    async def has_spoken(self) -> bool:
        """A sign of life: its event loop answers."""
        return await self.health() is not None

    async def listen(self) -> None:
        """Take its answers until it ends."""
        try:
            while True:
                (size,) = _SIZE.unpack(await self._reader.readexactly(_SIZE.size))
                match _decode(await self._reader.readexactly(size)):
                    case _HealthReport() as report:
                        self._asked.pop(_HEALTH).set_result(report)
                    case _MetricsReport(snapshot=snapshot, size=size):
                        self._take(snapshot, size)
                        self._asked.pop(_METRICS).set_result(None)
        except (OSError, asyncio.IncompleteReadError):
            self._writer.close()
        finally:
            for asked in self._asked.values():
                asked.set_result(None)  # it will not say any more
            self._asked.clear()

    def _take(self, snapshot: bytes | None, size: int) -> None:
        """Said by the parent: what the worker itself would count of the line would be among what is left out."""
        if snapshot is not None:
            self.snapshot = snapshot
        elif not self._is_omission_said:
            log.warning("metrics.omitted", child=self.name, bytes=size)
            self._is_omission_said = True


class Crew:
    """All workers: started, asked, started again when one dies, ended. It is the `Reporter` of the internal listener."""

    def __init__(
        self,
        public: socket.socket,
        count: int,
        config_file: Path | None,
        *,
        stop_s_max: Callable[[], float],
        in_use: Callable[[], str | None],
    ) -> None:
        """`in_use`: the text of the settings in use, which each worker is handed when it is started."""
        self._public = public
        self._count = count
        self._stop_s_max = stop_s_max
        self._in_use = in_use
        self._command = [
            sys.executable,
            "-m",
            "notifier.processes.worker",
            *([str(config_file)] if config_file else []),
        ]
        self._workers: dict[int, _Worker] = {}
        self._retired = metrics.retire([])
        self._stopping = asyncio.Event()

    def reload(self) -> None:
        """Let every worker read the settings again."""
        for worker in self._workers.values():
            worker.reload()

    async def health(self) -> Health:
        """Ready when every worker is, and not while stopping."""
        reports = await asyncio.gather(*(worker.health() for worker in list(self._workers.values())))
        there = [report for report in reports if report is not None]
        is_complete = len(there) == self._count and not self._stopping.is_set()
        return Health(
            is_ready=is_complete and all(report.is_ready for report in there),
            dependencies={
                "kafka": bool(there) and all(report.dependencies.get("kafka", False) for report in there),
                "workers": len(there) == self._count,
            },
        )

    async def metrics(self) -> str:
        """The sum over the workers, those that ended included, and this process."""
        workers = list(self._workers.values())
        await asyncio.gather(*(worker.refresh() for worker in workers))
        snapshots = [worker.snapshot for worker in workers if worker.snapshot is not None]
        return metrics.merge(
            [self._retired, metrics.snapshot(), *snapshots]
        )  # the parent's own: lines about its workers

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """
        Keep all workers running while the block runs; then end them in order, and the public socket with the last of them.

        Were it kept any longer, the kernel would go on taking connections, which nobody answers.
        """
        async with asyncio.TaskGroup() as tasks:
            for index in range(self._count):
                name = f"worker-{index + 1}"
                tasks.create_task(keep(name, partial(self._run_one, index, name), self._stopping))
            try:
                yield
            finally:
                self._stopping.set()
                self._public.close()

    async def _run_one(self, index: int, name: str) -> tuple[int, int]:
        """Run one worker to its end; return its process id and its exit status."""
        ours, its = socket.socketpair()
        with its, handed(self._in_use()) as settings:
            numbers = [one for one in (self._public.fileno(), its.fileno(), settings) if one is not None]
            process = await asyncio.create_subprocess_exec(
                *self._command, ",".join(map(str, numbers)), stdin=asyncio.subprocess.DEVNULL, pass_fds=numbers
            )
        reader, writer = await asyncio.open_connection(sock=ours)
        worker = self._workers[index] = _Worker(name, process, reader, writer)
        log.info("child.started", child=name, pid=process.pid)
        try:
            async with asyncio.TaskGroup() as tasks:
                listening = tasks.create_task(worker.listen())
                watching = [
                    tasks.create_task(end_when_over(name, process, self._stopping, self._stop_s_max)),
                    tasks.create_task(kill_when_silent(name, process, worker.has_spoken)),
                ]
                status = await process.wait()
                for task in (listening, *watching):
                    task.cancel()
        finally:
            writer.close()
            del self._workers[index]
        if worker.snapshot is not None:
            self._retired = metrics.retire([self._retired, worker.snapshot])
        return process.pid, status
