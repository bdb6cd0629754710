"""The merchants' systems, all in one: each answers the status that it is told to, else 204."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from notifier.local.ports import HOST


@dataclass(slots=True)
class Sink:
    """Where webhooks go; the last part of the path is the endpoint's name."""

    port: int = 0
    answers: dict[str, int] = field(default_factory=dict)
    """The status of those that do not answer 204."""
    accepted: list[str] = field(default_factory=list)
    """Who accepted something, in its order."""

    def url(self, endpoint: str) -> str:
        """Where an endpoint is called."""
        return f"http://{HOST}:{self.port}/{endpoint}"

    async def receive(self, request: web.Request) -> web.Response:
        """Take one webhook."""
        await request.read()
        endpoint = request.match_info["endpoint"]
        status = self.answers.get(endpoint, 204)
        if status == 204:
            self.accepted.append(endpoint)
        return web.Response(status=status)


@asynccontextmanager
async def listening() -> AsyncIterator[Sink]:
    """A sink for a block."""
    sink = Sink()
    app = web.Application()
    app.router.add_post("/{endpoint}", sink.receive)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, 0).start()
        sink.port = runner.addresses[0][1]
        yield sink
    finally:
        await runner.cleanup()
