"""
Keep-alive connections that POST ready-made requests and do nothing else.

Below any HTTP library, so that the load costs little beside what is measured, and the same for every server.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import cast

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


def request(path: str, body: bytes) -> bytes:
    """A POST of a form, as it goes over the wire."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: pay.example.com\r\nUser-Agent: Mozilla/4.0\r\nAccept: */*\r\n"
        f"Content-Type: application/x-www-form-urlencoded; charset=UTF-8\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Client(asyncio.Protocol):
    """One connection: a request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[int] | None = None
        self._came = b""

    async def post(self, request: bytes) -> int:
        """Send a request; its status, once the whole answer is there."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It can be written to."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by its methods alone

    def data_received(self, data: bytes) -> None:
        """A piece of the answer."""
        self._came += data
        head, end, body = self._came.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not end or length is None or len(body) < int(length[1]):
            return
        status, self._came = int(head[9:12]), b""
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(status)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing in a benchmark hangs up: whoever waits hears of it."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError("the server closed a connection"))

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()


@asynccontextmanager
async def clients(port: int, count: int) -> AsyncIterator[list[Client]]:
    """So many connections to a local server."""
    loop = asyncio.get_running_loop()
    opened = [(await loop.create_connection(Client, "127.0.0.1", port))[1] for _ in range(count)]
    try:
        yield opened
    finally:
        for client in opened:
            client.close()


async def post_all(opened: Iterable[Client], requests: Iterator[bytes]) -> None:
    """Closed loop: each connection takes the next request as soon as its last one is answered, until none is left."""

    async def one_after_another(client: Client) -> None:
        for each in requests:
            status = await client.post(each)
            if status != 200:
                raise RuntimeError(f"a request was answered {status}")

    async with asyncio.TaskGroup() as tasks:
        for client in opened:
            tasks.create_task(one_after_another(client))


async def post_at_rate(port: int, requests: list[bytes], *, rate: float, at_once_max: int = 256) -> list[float]:
    """
    Open loop: request i is due at `i / rate` whatever became of those before it.

    Returns when each was due (`time.monotonic`; uvloop's own clock knows whole milliseconds alone): waiting for a free connection
    is part of what is measured.
    """
    async with clients(port, at_once_max) as opened, asyncio.TaskGroup() as tasks:
        idle = deque(opened)

        async def send(each: bytes) -> None:
            client = idle.popleft()
            status = await client.post(each)
            idle.append(client)
            if status != 200:
                raise RuntimeError(f"a request was answered {status}")

        began = time.monotonic()
        due = [began + number / rate for number in range(len(requests))]
        for at, each in zip(due, requests, strict=True):
            await asyncio.sleep(at - time.monotonic())
            tasks.create_task(send(each))
    return due
