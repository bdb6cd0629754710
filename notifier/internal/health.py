"""The internal listener: health for supervisors and balancers, metrics for Prometheus (contract, section 5). Never public."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

import msgspec
from aiohttp import web

from notifier.config import Address
from notifier.internal.problems import problems
from notifier.metrics import CONTENT_TYPE
from notifier.processes.listening import address_of, listening

SHUTDOWN_S = 1.0
"""How long an answer that is being given may still take when the listener closes."""

_json = msgspec.json.encode


@dataclass(frozen=True, slots=True)
class Health:
    """How a process is."""

    is_ready: bool
    """Can it do its work now? Not while it is stopping."""
    dependencies: Mapping[str, bool]
    """What it needs, by name: is it there?"""
    is_live: bool = True
    """False where only a restart helps."""


class Reporter(Protocol):
    """A process that can be asked."""

    async def health(self) -> Health:
        """How it is now."""
        ...

    async def metrics(self) -> str:
        """Its metrics in Prometheus' text format."""
        ...


@asynccontextmanager
async def serve_health(address: Address, reporter: Reporter, setting: str = "--listen") -> AsyncIterator[Address]:
    """
    Answer on an address while the block runs; yields the address with its real port.

    Raises:
        CannotListenError: the address cannot be had.
    """
    with listening(address, setting) as sock:
        async with answer_health(sock, reporter):
            yield address_of(sock)


@asynccontextmanager
async def answer_health(
    sock: socket.socket, reporter: Reporter, more: Sequence[web.RouteDef] = ()
) -> AsyncIterator[None]:
    """Answer on a socket that already listens, while the block runs: health, metrics, and what else there is to ask."""
    runner = web.AppRunner(
        _application(reporter, more), handle_signals=False, access_log=None, shutdown_timeout=SHUTDOWN_S
    )
    await runner.setup()
    try:
        await web.SockSite(runner, sock).start()
        yield
    finally:
        await runner.cleanup()


def _application(reporter: Reporter, more: Sequence[web.RouteDef]) -> web.Application:
    async def live(_: web.Request) -> web.Response:
        health = await reporter.health()
        return _told(health.is_live, "live", health)

    async def ready(_: web.Request) -> web.Response:
        health = await reporter.health()
        return _told(health.is_ready, "ready", health)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=(await reporter.metrics()).encode(), headers={"Content-Type": CONTENT_TYPE})

    application = web.Application(middlewares=[problems])
    application.router.add_get("/health/live", live)
    application.router.add_get("/health/ready", ready)
    application.router.add_get("/metrics", metrics)
    application.router.add_routes(more)
    return application


def _told(is_well: bool, what: str, health: Health) -> web.Response:
    body = {
        "status": what if is_well else f"not {what}",
        "dependencies": {name: "ready" if is_there else "not ready" for name, is_there in health.dependencies.items()},
    }
    return web.Response(status=200 if is_well else 503, body=_json(body), content_type="application/json")
