"""Merchants by the hundred on one local port, each under a path of its own: most accept, some do what merchants do."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from enum import Enum, auto
from typing import cast

_HEAD = re.compile(rb"POST /([a-z0-9-]+) .*?\r\ncontent-length: *(\d+)", re.IGNORECASE | re.DOTALL)
_ACCEPTED = b"HTTP/1.1 204 No Content\r\n\r\n"
_FAILED = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
_TOO_MANY = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n"
_DRIP_S = 0.5


class Manner(Enum):
    """What a merchant does with a webhook."""

    ACCEPT = auto()
    HANG = auto()
    DRIP = auto()
    """A byte of its answer now and then."""
    RESET = auto()
    FAIL = auto()
    REFUSE_MORE = auto()
    """429."""


class Crowd:
    """All merchants; those not named in `manners` accept. `on_accepted` is given whose webhook it was, and its body."""

    def __init__(self, on_accepted: Callable[[str, bytes], None] | None = None) -> None:
        self.manners: dict[str, Manner] = {}
        self.asked: Counter[str] = Counter()
        """Requests that came, by merchant."""
        self.accepted = 0
        self.most_at_once = 0
        self.takes_s = 0.0
        """How long a merchant who accepts takes for it."""
        self._at_once = 0
        self._on_accepted = on_accepted
        self._has_more = asyncio.Event()

    def ask(self, name: str, body: bytes, transport: asyncio.Transport) -> None:
        """One webhook has come in whole."""
        self.asked[name] += 1
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        loop = asyncio.get_running_loop()
        match self.manners.get(name, Manner.ACCEPT):
            case Manner.ACCEPT:
                loop.call_later(self.takes_s, self._accept, name, body, transport)
            case Manner.HANG:
                pass
            case Manner.DRIP:
                _drip(transport, _ACCEPTED)
            case Manner.RESET:
                transport.abort()
            case Manner.FAIL:
                self._answer(transport, _FAILED)
            case Manner.REFUSE_MORE:
                self._answer(transport, _TOO_MANY)

    def _accept(self, name: str, body: bytes, transport: asyncio.Transport) -> None:
        self._answer(transport, _ACCEPTED)
        self.accepted += 1
        if self._on_accepted is not None:
            self._on_accepted(name, body)
        self._has_more.set()

    def _answer(self, transport: asyncio.Transport, answer: bytes) -> None:
        self._at_once -= 1
        transport.write(answer)

    async def until(self, holds: Callable[[], bool], timeout_s: float) -> None:
        """Return once something holds, looked at after each acceptance."""
        async with asyncio.timeout(timeout_s):
            while not holds():
                self._has_more.clear()
                await self._has_more.wait()


def _drip(transport: asyncio.Transport, rest: bytes) -> None:
    if not transport.is_closing() and len(rest) > 1:
        transport.write(rest[:1])
        asyncio.get_running_loop().call_later(_DRIP_S, _drip, transport, rest[1:])


class _Connection(asyncio.Protocol):
    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._transport: asyncio.Transport | None = None
        self._came = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by its methods alone

    def data_received(self, data: bytes) -> None:
        self._came += data
        head, end, body = self._came.partition(b"\r\n\r\n")
        found = _HEAD.match(head)
        if not end or found is None or len(body) < int(found[2]):
            return
        self._came = b""
        assert self._transport is not None
        self._crowd.ask(found[1].decode(), body, self._transport)


@asynccontextmanager
async def gathered(crowd: Crowd, port: int) -> AsyncIterator[None]:
    """Let them listen on a local port, for a block."""
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(crowd), "127.0.0.1", port)
    try:
        yield
    finally:
        server.close()
