"""What workers tell their parent, over the line between them."""

from __future__ import annotations

import asyncio
import io
import json
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from notifier import logs, metrics
from notifier.internal.health import Health
from notifier.processes import workers
from notifier.processes.workers import answer_parent


class Reporter:
    """A worker that is well."""

    async def health(self) -> Health:
        """Ready."""
        return Health(is_ready=True, dependencies={"kafka": True})

    async def metrics(self) -> str:
        """Not asked for here."""
        raise AssertionError


@asynccontextmanager
async def a_worker() -> AsyncIterator[workers._Worker]:
    """As the parent sees one; it runs here."""
    ours, its = socket.socketpair()
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    await process.wait()
    reader, writer = await asyncio.open_connection(sock=ours)
    worker = workers._Worker("worker-1", process, reader, writer)
    async with (
        asyncio.timeout(20),
        answer_parent(its, Reporter(), lambda: None, lambda _: None),
        asyncio.TaskGroup() as tasks,
    ):
        listening = tasks.create_task(worker.listen())
        yield worker
        listening.cancel()
    writer.close()


async def test_metrics_of_any_size_end_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    Those of 5,000 channels once ended the whole ingress; what is too large stays as it was, and is said once.

    It is the parent that says it: counted by the worker, the line would be among what nobody is handed, and the alert never came.
    """
    out = io.BytesIO()
    logs.configure(service="ingress", instance="w1", out=out)
    async with a_worker() as worker:
        monkeypatch.setattr(metrics, "snapshot", lambda: bytes(10_000_000))
        await worker.refresh()
        assert worker.snapshot == bytes(10_000_000)

        monkeypatch.setattr(workers, "METRICS_BYTES_MAX", 9_999_999)
        await worker.refresh()
        await worker.refresh()

        assert worker.snapshot == bytes(10_000_000)
        health = await worker.health()
    assert health is not None
    assert health.is_ready
    said = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [(line["event"], line["child"], line["bytes"]) for line in said] == [
        ("metrics.omitted", "worker-1", 10_000_000)
    ]


async def test_how_a_worker_is_does_not_wait_for_its_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    """Taking many together takes longer than a balancer waits for an answer about health."""

    def unasked() -> bytes:
        raise AssertionError("nobody asked for metrics")

    monkeypatch.setattr(metrics, "snapshot", unasked)
    async with a_worker() as worker:
        health = await worker.health()

    assert health is not None
    assert health.dependencies == {"kafka": True}


async def test_a_worker_that_ends_keeps_nobody_waiting() -> None:
    """A scrape that asked it just before sums up the others at once."""
    ours, its = socket.socketpair()
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    await process.wait()
    reader, writer = await asyncio.open_connection(sock=ours)
    worker = workers._Worker("worker-1", process, reader, writer)
    async with asyncio.timeout(workers.HEALTH_TIMEOUT_S / 2), asyncio.TaskGroup() as tasks:
        asking = tasks.create_task(worker.health())
        tasks.create_task(worker.listen())
        await asyncio.sleep(0)
        its.close()

    assert asking.result() is None
