"""Destinations on loopback that do as a test tells them, and what they saw."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Network, ip_address

from consumers.client import Client
from notifier.addresses import Address, Network

LOOPBACK: tuple[Network, ...] = (IPv4Network("127.0.0.1/32"),)
"""What these tests may call. 127.0.0.2 is as near, and is not in it."""

EVERY_ADDRESS = "0.0.0.0"  # noqa: S104 - nothing is bound to it

HEADERS = {"webhook-id": "evt_1", "user-agent": "test"}
BODY = b'{"type":"order.paid"}'
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Stranger:
    """A destination, and what it saw."""

    port: int
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    bytes_sent: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"


def client() -> Client:
    return Client(allow_networks=LOOPBACK)


@asynccontextmanager
async def stranger(script: Script | bytes, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Stranger]:
    """Serve on a free port: each request gets those bytes, or what the script does once it was read."""

    conversations: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversations.add(asyncio.current_task())
        here.connections += 1
        with suppress(ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
            try:
                while True:
                    head = await reader.readuntil(b"\r\n\r\n")
                    here.requests.append(head + await reader.readexactly(len(BODY)))
                    if isinstance(script, bytes):
                        writer.write(script)
                        await writer.drain()
                    else:
                        await script(reader, writer)
            finally:
                writer.close()
                await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    here = Stranger(server.sockets[0].getsockname()[1])
    async with server, asyncio.timeout(30):
        yield here
        # The client is gone by now, so each conversation comes to its end.
        await asyncio.gather(*(task for task in conversations if task is not None))


@contextmanager
def silent_listener(host: str) -> Iterator[socket.socket]:
    """Listens and accepts nothing: a connection that was tried stays in its queue."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.bind((host, 0))
        listener.listen()
        listener.setblocking(False)
        yield listener


def was_tried(listener: socket.socket) -> bool:
    try:
        listener.accept()[0].close()
    except BlockingIOError:
        return False
    return True


def answering(*hosts: str) -> Callable[[str], Awaitable[Sequence[Address]]]:
    """DNS as the test wants it: every name has these addresses."""

    async def lookup(_: str) -> Sequence[Address]:
        return [ip_address(host) for host in hosts]

    return lookup


async def hangs_up(reader: asyncio.StreamReader, within_s: float) -> bool:
    """Whether the client closes within this time."""
    try:
        async with asyncio.timeout(within_s):
            return await reader.read(1) == b""
    except TimeoutError:
        return False


def reset(writer: asyncio.StreamWriter) -> None:
    """End with an RST instead of a FIN."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    writer.transport.abort()
