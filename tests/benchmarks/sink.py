"""A merchant that accepts whatever comes, at as little cost as can be."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_ACCEPTED = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\r\nok"


class Sink:
    """Counts webhooks. `on_webhook` is given each body as soon as it is there."""

    def __init__(self, on_webhook: Callable[[bytes], None] | None = None) -> None:
        self.count = 0
        self._on_webhook = on_webhook
        self._has_more = asyncio.Event()

    def take(self, body: bytes) -> None:
        """Take one webhook."""
        self.count += 1
        if self._on_webhook is not None:
            self._on_webhook(body)
        self._has_more.set()

    async def reach(self, count: int, timeout_s: float) -> None:
        """Return once so many have come."""
        async with asyncio.timeout(timeout_s):
            while self.count < count:
                self._has_more.clear()
                await self._has_more.wait()


class _Connection(asyncio.Protocol):
    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._transport: asyncio.Transport | None = None
        self._came = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by its methods alone

    def data_received(self, data: bytes) -> None:
        self._came += data
        head, end, body = self._came.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not end or length is None or len(body) < int(length[1]):
            return
        self._came = b""
        assert self._transport is not None
        self._transport.write(_ACCEPTED)
        self._sink.take(body)


@asynccontextmanager
async def listening(sink: Sink, port: int) -> AsyncIterator[None]:
    """Accept webhooks on a local port for a block."""
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(sink), "127.0.0.1", port)
    try:
        yield
    finally:
        server.close()
