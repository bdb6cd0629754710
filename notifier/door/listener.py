"""
The public listener's connections: aiohttp's low-level server under byte and time limits of our own.

aiohttp's server is made for browsers: it lingers, takes what it is given, waits for a head for ever, and answers a parse error
with words of its own. Here a connection is read under `Limits`, one request at a time, and answered by the `Service`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from math import inf
from typing import NamedTuple

from aiohttp import hdrs, web
from aiohttp.http import RawRequestMessage
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import MAX_MSG_QUEUE_SIZE

from notifier.door.chunks import Chunks
from notifier.door.http import ODD_CODING, Answer, Limits, Request, Service, admit, judge_parse_error, on_wire
from notifier.errors import Rejected

PIECE_BYTES = 16_384
"""The parser is fed at most this much at once, so that a limit is seen soon after it is passed and nobody waits for long."""

FRAMING_BYTES_MAX = 8192
"""Framing (sizes, extensions, trailers) that a chunked body may have: 64 KiB in pieces of 64 bytes need less."""

ON_ITS_WAY_S = 0.25
"""How long a connection without a request is kept at the end, for one that was sent before the client could know of it."""


class _Arrived(NamedTuple):
    """A request whose head is read; its body may still be on the way."""

    message: RawRequestMessage
    body: StreamReader


class Connection(web.RequestHandler):
    """
    One client: reads, hands over, answers, in turn.

    aiohttp runs it: it makes the parser and the task of `start`, and keeps the book of connections. Reading, limits and answers
    are overridden here. At most one deadline is running at any time, so one timer serves them all.
    """

    __slots__ = (
        "_arrivals",
        "_arriving",
        "_chunks",
        "_deadline",
        "_head",
        "_is_answering",
        "_is_broken",
        "_is_ending",
        "_is_finishing",
        "_is_retired",
        "_limits",
        "_listener",
        "_raw_body_bytes",
        "_service",
        "_timer",
        "_timer_at",
        "_wake",
    )

    def __init__(self, listener: Listener, service: Service, limits: Limits, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            listener,
            loop=loop,
            keepalive_timeout=0,  # our own deadline instead
            access_log=None,  # type: ignore[arg-type] # None switches it off, its type does not say so
            max_line_size=limits.url_bytes_max,
            max_field_size=limits.header_bytes_max,
            max_headers=limits.head_bytes_max,  # counted in `admit`, which can tell 431 from 400
            lingering_time=0.0,
            read_bufsize=max(
                16 * PIECE_BYTES, 2 * limits.body_bytes_max
            ),  # so high that a body never pauses the parser
            auto_decompress=False,
        )
        self._listener = listener
        self._service = service
        self._limits = limits
        self._arrivals: deque[_Arrived | Rejected] = deque()
        self._arriving: StreamReader | None = None  # the body that is on its way
        self._chunks: Chunks | None = None  # its framing, where it has one
        self._head = b""  # what came of a head that is not yet whole
        self._raw_body_bytes = 0
        self._is_broken = False  # nothing more can be read from this stream
        self._is_answering = False
        self._is_retired = False  # the next answer is the last
        self._is_finishing = False  # and no other request is waited for
        self._is_ending = False  # the last answer has been given
        self._wake: asyncio.Future[None] | None = None
        self._deadline = inf
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = inf

    async def start(self) -> None:
        """Answer one request after the other; aiohttp runs this as the connection's task."""
        try:
            while (arrival := await self._next_arrival()) is not None:
                self._is_answering = True
                answer, is_last = await self._answer(arrival)
                self._is_answering = False
                if self.transport is None:
                    return  # the client left; what was appended is appended, and it will send again
                has_body = isinstance(arrival, Rejected) or arrival.message.method != "HEAD"
                self.transport.write(on_wire(answer, is_last=is_last, has_body=has_body))
                if is_last:
                    self._end()
                    return
                if self.writing_paused:
                    self._set_deadline(self._limits.write_s)
                    await self._drain_helper()
                self._set_deadline(self._limits.head_read_s if self._head else self._limits.idle_s)
        except ConnectionResetError:
            return  # the client left in the middle of a request: nobody is there to be told
        finally:
            if self.transport is not None and not self._is_ending:
                self.transport.close()

    async def _answer(self, arrival: _Arrived | Rejected) -> tuple[Answer, bool]:
        """The answer, and whether the connection ends with it: it goes on only where all of a sound request was read."""
        if isinstance(arrival, Rejected):
            return self._service.refuse(None, arrival), True
        message, body = arrival
        path, _, query = message.path.partition("?")
        receive = self._service.at(path)  # whatever changes until the body is there: it ends with what it began with
        try:
            admit(message, self._limits, is_known=receive is not None)
            request = Request(
                path=path,
                query=query,
                content_type=message.headers[hdrs.CONTENT_TYPE],
                traceparent=message.headers.get("traceparent"),
                body=await self._whole_body(message, body),
            )
        except Rejected as why:
            answer = self._service.refuse(path if receive is not None else None, why)
        else:
            assert receive is not None, "it was admitted"
            answer = await receive(request)
        is_whole = body.is_eof() and body.exception() is None
        return (
            answer,
            self._is_retired
            or self._is_finishing
            or message.should_close
            or message.upgrade
            or not is_whole
            or message.version < (1, 1),
        )

    async def _whole_body(self, message: RawRequestMessage, body: StreamReader) -> bytes:
        """The body, within its time and size; mostly it came with the head."""
        if not body.is_eof():
            if hdrs.EXPECT in message.headers and message.version == (1, 1) and self.transport is not None:
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._set_deadline(self._limits.body_read_s)
            if body.exception() is None:
                await body.wait_eof()
            self._deadline = inf
        whole = body.read_nowait()  # raises what broke the body off
        if len(whole) > self._limits.body_bytes_max:
            raise Rejected(413, "too_large")
        return whole

    async def _next_arrival(self) -> _Arrived | Rejected | None:
        """The next request, or what is wrong with the stream; None once nothing more will come."""
        while not self._arrivals:
            if self.transport is None or (self._is_finishing and not self._head):
                return None
            self._wake = self._loop.create_future()
            await self._wake
        self._deadline = inf
        arrival = self._arrivals.popleft()
        if self._buffer_paused and not self._arrivals:
            self._resume_reading_for_buffer()  # it may be this one's body that waits in the kernel
        return arrival

    def _wake_up(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    # What the transport tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there: it has the time of a head to say something."""
        super().connection_made(transport)
        self._set_deadline(self._limits.head_read_s)
        if self._listener.is_full and self.transport is not None:
            self.transport.write(on_wire(self._service.turn_away(), is_last=True))
            self._is_finishing = True
            self._end()

    def connection_lost(self, exc: BaseException | None) -> None:
        """The client is gone. A request that was handed over goes on: its append may be half way."""
        if self._timer is not None:
            self._timer.cancel()
        if self._arriving is not None:
            self._arriving.set_exception(ConnectionResetError())
        super().connection_lost(exc)
        self._wake_up()

    def eof_received(self) -> bool:  # type: ignore[override] # aiohttp narrows what asyncio.Protocol allows
        """A client may close its half after a whole request and still wait for the answer."""
        self._is_finishing = True
        return self._arriving is None and (self._is_answering or bool(self._arrivals))

    def data_received(self, data: bytes) -> None:
        """Feed the parser in pieces, so that each limit is seen soon after it is passed."""
        while data and not self._is_broken:
            room = PIECE_BYTES if self._arriving is not None else self._limits.head_bytes_max - len(self._head)
            size = min(room, PIECE_BYTES)
            self._feed(data[:size])
            data = data[size:]
        if len(self._arrivals) > 1 and not self._buffer_paused:
            self._pause_reading_for_buffer()  # a pipeline: the rest waits in the kernel until these are answered

    def _feed(self, piece: bytes) -> None:
        assert self._parser is not None
        try:
            messages, _, _ = self._parser.feed_data(piece)
        except HttpProcessingError as error:
            self._break_off(judge_parse_error(error, piece, self._limits, self._service.at))
            return
        if messages:
            self._take(messages, self._head + piece)
        elif self._arriving is not None:
            self._weigh_body(self._arriving, piece)
        else:
            self._weigh_head(piece)

    def _take(self, messages: Sequence[tuple[RawRequestMessage, StreamReader]], came: bytes) -> None:
        assert self._parser is not None
        if self._chunks is not None and not self._chunks.follow(came):
            self._break_off(Rejected(400, "malformed"))
            return
        self._arriving = self._chunks = None
        is_alone = len(messages) == 1 and not self._is_answering and not self._arrivals
        for message, body in messages:
            if message.chunked and not (is_alone and self._is_sound_so_far(came)):
                self._break_off(Rejected(400, "malformed"))
                return
            self._arrivals.append(_Arrived(message, body))
            self._parser.message_consumed()
        self._arriving = None if body.is_eof() else body
        self._head = b""
        self._raw_body_bytes = 0
        self._wake_up()
        if len(messages) >= MAX_MSG_QUEUE_SIZE:
            self._feed(b"")  # the parser stops after so many, with the rest of the piece in hand

    def _is_sound_so_far(self, came: bytes) -> bool:
        """
        Begin to follow a chunked request that came by itself; whether its framing is one for all readers.

        Chunks in a pipeline are not taken: nothing honest sends them, and it is there that smuggled requests hide.
        """
        body_at = came.index(b"\r\n\r\n", len(came) - len(came.lstrip(b"\r\n"))) + 4
        self._chunks = Chunks()
        return ODD_CODING.search(came, 0, body_at) is None and self._chunks.follow(came[body_at:])

    def _weigh_body(self, body: StreamReader, piece: bytes) -> None:
        if self._chunks is not None and not self._chunks.follow(piece):
            self._break_off(Rejected(400, "malformed"))
            return
        if body.is_eof():
            self._arriving = self._chunks = None
            return
        self._raw_body_bytes += len(piece)
        if body.total_bytes > self._limits.body_bytes_max:
            self._break_off(Rejected(413, "too_large"))
        elif self._raw_body_bytes - body.total_bytes > FRAMING_BYTES_MAX:
            self._break_off(Rejected(400, "malformed"))

    def _weigh_head(self, piece: bytes) -> None:
        if not self._head and not self._is_answering:
            self._set_deadline(min(self._limits.head_read_s, self._deadline - self._loop.time()))
        self._head += piece
        if len(self._head) >= self._limits.head_bytes_max:
            self._break_off(Rejected(431, "headers_too_large"))

    def _break_off(self, why: Rejected) -> None:
        """Read nothing more from this stream; whoever waits for it is told why."""
        self._is_broken = True
        self._is_finishing = True
        self._head = b""
        if self._arriving is not None:
            self._arriving.set_exception(why)
        else:
            self._arrivals.append(why)
        self._wake_up()

    # Ends.

    def retire(self) -> None:
        """Let the next answer be the last. A connection that is idle is not closed: its next request may be on its way."""
        self._is_retired = True

    def finish(self) -> None:
        """Close as soon as no request is on its way or being answered."""
        self._is_finishing = True
        self._wake_up()

    def _end(self) -> None:
        """
        Close after the last answer.

        Where unread bytes may still come, the kernel would answer them with a reset that overtakes our answer (RFC 9112, 9.6), so
        our half is closed first and what arrives is thrown away for a moment.
        """
        self._is_ending = True
        if self.transport is None:
            return
        if self._arriving is None and not self._is_broken and not self._listener.is_full:
            self.transport.close()
            return
        self._is_broken = True
        self.transport.write_eof()
        self._set_deadline(self._limits.linger_s)

    def _set_deadline(self, seconds: float) -> None:
        self._deadline = self._loop.time() + seconds
        if self._deadline < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._start_timer()

    def _start_timer(self) -> None:
        self._timer_at = self._deadline
        self._timer = self._loop.call_at(self._deadline, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._timer_at = inf
        if self._deadline == inf or self.transport is None:
            return
        if self._loop.time() < self._deadline:
            self._start_timer()
        elif self._is_ending or self.writing_paused:
            self.transport.abort()
        elif self._arriving is not None or self._head:
            self._break_off(Rejected(408, "too_slow"))
        else:
            self.finish()  # nothing was begun: an idle connection ends without a word


class Listener(web.Server):
    """All connections of one listening socket."""

    def __init__(self, service: Service, limits: Limits) -> None:
        super().__init__(_answered_elsewhere)
        assert limits.url_bytes_max != limits.header_bytes_max, "a parse error tells which by the limit"
        self._service = service
        self._limits = limits
        self._is_retired = False

    def limit(self, limits: Limits) -> None:
        """Take these limits from the next connection on; those that are there end with their next answer."""
        if limits == self._limits:
            return
        self._limits = limits
        for connection in self._all():
            connection.retire()

    def __call__(self) -> Connection:
        """A new client's protocol (asyncio's protocol factory)."""
        connection = Connection(self, self._service, self._limits, self._loop)
        if self._is_retired:
            connection.retire()
        return connection

    def retire(self) -> None:
        """Let the next answer of each connection be its last, also of those that are still taken."""
        self._is_retired = True
        for connection in self._all():
            connection.retire()

    @property
    def is_full(self) -> bool:
        """Are there more connections than may be?"""
        return len(self._connections) > self._limits.connections_max

    async def finish(self, timeout_s: float) -> None:
        """
        Let each request that has begun be answered, at most so long; then close whatever is left.

        Whoever is connected may have a request on its way, or in the kernel already: closing at once would reset it without an
        answer, and AlipayHK would send again only minutes later.
        """
        self.retire()
        began = self._loop.time()
        await self._ended(min(ON_ITS_WAY_S, timeout_s))
        for connection in self._all():
            connection.finish()
        await self._ended(timeout_s - (self._loop.time() - began))
        for connection in self._all():
            connection.force_close()

    def _all(self) -> list[Connection]:
        return [one for one in self.connections if isinstance(one, Connection)]

    async def _ended(self, timeout_s: float) -> None:
        """Return once all have ended, or after this time."""
        tasks = [task for one in self._all() if (task := one._task_handler) is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=timeout_s)


async def _answered_elsewhere(_: web.BaseRequest) -> web.StreamResponse:
    """`Connection.start` answers by itself; `web.Server` only asks for a handler because it always has one."""
    raise AssertionError
