"""
What stands before a merchant's system and may be in a bad mood: then what comes gets no further.

A POST that gets through is answered by the merchant, and counted there; one that does not has never been accepted. So whatever is
accepted more than once was repeated by us.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from asyncio import StreamReader, StreamWriter
from contextlib import suppress
from enum import StrEnum
from urllib.parse import urlsplit

from notifier.local.ports import HOST

_DRIP_EVERY_S = 0.2
_PIECE_BYTES = 65536
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: what is closed is reset."""


class Mood(StrEnum):
    """How a merchant's system behaves."""

    WELL = "well"
    HANGS = "hangs"
    DRIPS = "drips"
    """An answer that never comes to its end."""
    RESETS = "resets"
    REFUSES = "refuses"
    """Nobody listens."""
    FAILS = "fails"
    """500."""
    SLOWS = "slows"
    """429, with a wish to be left alone for a second."""


SEEN_AS: dict[Mood, dict[str, object]] = {
    Mood.HANGS: {"error": "timeout"},
    Mood.DRIPS: {"status_code": 200, "error": "timeout"},
    Mood.RESETS: {"error": "reset"},
    Mood.REFUSES: {"error": "refused"},
    Mood.FAILS: {"status_code": 500},
    Mood.SLOWS: {"status_code": 429},
}
"""What `delivery.attempted` says then."""

_ANSWERS = {
    Mood.FAILS: b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    Mood.SLOWS: b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
}


class Front:
    """Listens for one merchant, and passes on what comes while it is well."""

    def __init__(self, url: str) -> None:
        to = urlsplit(url)
        assert to.port is not None
        self._behind = to.port
        self._path = to.path
        self._mood = Mood.WELL
        self._changed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._port = 0
        self._connections: set[StreamWriter] = set()

    @property
    def url(self) -> str:
        """Where the merchant is called."""
        return f"http://{HOST}:{self._port}{self._path}"

    async def open(self) -> None:
        """Listen; at the same port again, if it has listened before."""
        self._server = await asyncio.start_server(self._serve, HOST, self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def be(self, mood: Mood) -> None:
        """Be in this mood. Connections of the last one are cut."""
        was, self._mood = self._mood, mood
        self._changed.set()
        self._changed = asyncio.Event()
        for writer in tuple(self._connections):
            _reset(writer)
        if mood is Mood.REFUSES and self._server is not None:
            self._server.close()
            self._server = None
        elif was is Mood.REFUSES and self._server is None:
            await self.open()

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        self._connections.add(writer)
        try:
            if self._mood is Mood.WELL:
                await self._pass_on(reader, writer)
            else:
                await self._sulk(reader, writer)
        except (OSError, RuntimeError):
            pass  # who called has gone, or we have cut it off (RuntimeError: uvloop's word for what was aborted)
        finally:
            self._connections.discard(writer)
            writer.close()

    async def _pass_on(self, reader: StreamReader, writer: StreamWriter) -> None:
        there, back = await asyncio.open_connection(HOST, self._behind)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_copy(reader, back))
                both.create_task(_copy(there, writer))
        except* (OSError, RuntimeError):
            pass  # as below
        finally:
            back.close()

    async def _sulk(self, reader: StreamReader, writer: StreamWriter) -> None:
        mood, changed = self._mood, self._changed
        with suppress(asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.partition(b":")[2]))
        if mood is Mood.RESETS:
            _reset(writer)
            return
        if mood in _ANSWERS:
            writer.write(_ANSWERS[mood])
            await writer.drain()
            return
        if mood is Mood.DRIPS:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while not changed.is_set():
            if mood is Mood.DRIPS:
                writer.write(b".")
            with suppress(TimeoutError):
                async with asyncio.timeout(_DRIP_EVERY_S):
                    await changed.wait()


async def _copy(reader: StreamReader, writer: StreamWriter) -> None:
    while (piece := await reader.read(_PIECE_BYTES)) and not writer.is_closing():
        writer.write(piece)
        await writer.drain()
    writer.close()  # nothing half open here: the other way is read to its end, too


def _reset(writer: StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    if sock is not None:
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
