"""
The public listener over raw sockets: each HTTP-* row of reference/hostile_inputs.md, byte for byte what a stranger may send.

Everything is real but the inbox. A time limit is small where a test is about it, so that what takes five seconds outside takes a
fraction here; elsewhere it is far beyond what a busy machine needs, so that no test ends by a limit that it is not about.
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from notifier.alipayhk.compose import compose
from notifier.alipayhk.keys import RsaKey
from notifier.channel import Channel, Channels, KeyInRing
from notifier.clock import SystemClock
from notifier.door.http import Limits
from notifier.door.ingress import Door
from notifier.door.listener import Listener
from notifier.evidence import Policy
from notifier.record import Record
from tests.owners import spin

TOKEN = b"token-of-the-shop-1234567"
PATH = b"/n/" + TOKEN
KEY = rsa.generate_private_key(65537, 2048)
FIELDS = {
    "notify_type": "trade_status_sync",
    "notify_id": "0123456789abcdef",
    "notify_time": "2026-11-22 17:30:05",
    "out_trade_no": "T20260001",
    "trade_no": "2026112222001400000000000001",
    "trade_status": "TRADE_SUCCESS",
    "total_fee": "128.00",
    "currency": "HKD",
}
BODY = compose(FIELDS, "RSA2", KEY)
FORGED = BODY.replace(b"128.00", b"999.00")
FIELD_BY_FIELD = [piece for piece in re.split(rb"([&=])", BODY) if piece]
"""As a client writes it that sends each name and each value by itself: a trade number looks like the size of a chunk."""

HOST = b"Host: pay.example.com"
FORM = b"Content-Type: application/x-www-form-urlencoded; charset=UTF-8"
LENGTH = b"Content-Length: %d" % len(BODY)
CHUNKED = b"Transfer-Encoding: chunked"

PATIENCE_S = 30.0
"""What a test waits for an end that has to come, on a machine that has much else to do."""
NEVER_S = 2 * PATIENCE_S
"""A limit that no test waits for."""
SOON_S = 0.25
"""A limit that the test is about."""
LIMITS = Limits(
    body_bytes_max=65_536,
    head_read_s=NEVER_S,
    body_read_s=NEVER_S,
    idle_s=NEVER_S,
    write_s=NEVER_S,
    linger_s=NEVER_S,
    connections_max=600,
)
SMALL_BUFFER_BYTES = 8192


@dataclass
class Inbox:
    """Keeps what it gets; durable at once, unless `durable` is cleared."""

    records: list[Record] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    durable: asyncio.Event = field(default_factory=asyncio.Event)
    is_ready: bool = True

    async def append(self, record: Record) -> None:
        """As `InboxAppender`."""
        self.asked.set()
        await self.durable.wait()
        self.records.append(record)


class NobodyIsAsked:
    """These tests' channel does not ask AlipayHK."""

    async def confirm(self, gateway_url: str, partner_id: str, notify_id: str | None) -> None:
        """As `Verifier`."""
        raise AssertionError


@dataclass
class Reply:
    """What a client got until the connection ended, or nothing more came."""

    raw: bytes
    seconds: float

    @property
    def statuses(self) -> list[int]:
        """The status of each answer."""
        return [int(answer[9:12]) for answer in self.answers]

    @property
    def answers(self) -> list[bytes]:
        """The answers, one by one."""
        return [b"HTTP/1.1 " + rest for rest in self.raw.split(b"HTTP/1.1 ")[1:]]

    @property
    def last_body(self) -> bytes:
        """The body of the last answer."""
        return self.raw.rpartition(b"\r\n\r\n")[2]

    @property
    def is_last(self) -> bool:
        """Does the last answer say that the connection ends?"""
        return b"\r\nConnection: close\r\n" in self.answers[-1]


@dataclass
class Stage:
    """A listener with a door and an inbox, and a way to talk to it."""

    port: int
    inbox: Inbox
    listener: Listener

    async def send(self, *parts: bytes, closes_half: bool = False) -> Reply:
        """Send bytes, each part by itself, and read until the connection ends."""
        loop = asyncio.get_running_loop()
        async with self.connected() as (reader, writer):
            began = loop.time()
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0)  # uvloop joins what is written in one turn of the loop
            if closes_half:
                writer.write_eof()
            async with asyncio.timeout(PATIENCE_S):
                raw = await reader.read()
            return Reply(raw, loop.time() - began)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """A connection, closed at the end."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield reader, writer
        finally:
            writer.close()


@asynccontextmanager
async def stage_with(limits: Limits) -> AsyncIterator[Stage]:
    """A stage under these limits."""
    channel = Channel(
        name="shop-hkd",
        token=TOKEN.decode(),
        protocol="mapi",
        policy=Policy(currency="HKD", seller_id=None, partner_id="2088000000000001", orders="open"),
        sign_types=("RSA2",),
        ring=(KeyInRing(RsaKey.of(KEY.public_key())),),
        verify_notify_id=False,
        gateway_url=None,
    )
    inbox = Inbox()
    inbox.durable.set()
    listener = Listener(Door(Channels([channel]), inbox, NobodyIsAsked(), SystemClock()), limits)
    server = await asyncio.get_running_loop().create_server(listener, "127.0.0.1", 0, backlog=1024)
    # inherited by each connection, so that a client that does not read is felt soon
    server.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BUFFER_BYTES)
    try:
        yield Stage(server.sockets[0].getsockname()[1], inbox, listener)
    finally:
        server.close()
        await listener.finish(1.0)


@pytest.fixture
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    """A stage under the tests' limits, or those that a test is about (`under`)."""
    async with stage_with(getattr(request, "param", LIMITS)) as one:
        yield one


def under(limits: Limits) -> pytest.MarkDecorator:
    """A test that is about one of these limits."""
    return pytest.mark.parametrize("stage", [limits], ids=["small"], indirect=True)


@pytest.fixture(autouse=True)
def silence() -> Iterator[list[logging.LogRecord]]:
    """No client makes asyncio or aiohttp complain; whatever they say fails the test."""
    said: list[logging.LogRecord] = []

    class Listening(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record)

    handler = Listening(logging.WARNING)
    for name in ("asyncio", "aiohttp.server", "aiohttp.internal"):
        logging.getLogger(name).addHandler(handler)
    yield said
    for name in ("asyncio", "aiohttp.server", "aiohttp.internal"):
        logging.getLogger(name).removeHandler(handler)
    assert said == []


def request(
    *headers: bytes, method: bytes = b"POST", target: bytes = PATH, version: bytes = b"HTTP/1.1", body: bytes = BODY
) -> bytes:
    """A request with these headers; without any, those of a genuine notification."""
    lines = headers or (HOST, FORM, LENGTH)
    return b"\r\n".join((b" ".join((method, target, version)), *lines, b"", body))


def chunks(*pieces: bytes) -> bytes:
    """A chunked body."""
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


async def test_a_genuine_notification_is_answered_success(stage: Stage) -> None:
    """The whole answer, and the record."""
    reply = await stage.send(request(HOST, FORM, LENGTH, b"Connection: close"))

    head, _, body = reply.raw.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 200 OK"
    assert sorted(line for line in lines[1:] if not line.startswith(b"Date: ")) == [
        b"Connection: close",
        b"Content-Length: 7",
        b"Content-Type: text/plain; charset=utf-8",
    ]
    assert body == b"success"
    assert [record.value for record in stage.inbox.records] == [BODY]


async def test_other_limits_are_for_the_next_connection_and_this_one_ends_with_its_next_answer(stage: Stage) -> None:
    """An idle connection is not closed: its next request may be on its way, and a POST is not sent again by itself."""
    async with stage.connected() as (reader, writer), asyncio.timeout(PATIENCE_S):
        writer.write(request())
        head = await reader.readuntil(b"success")
        assert b"Connection: close" not in head

        stage.listener.limit(replace(LIMITS, body_bytes_max=len(BODY) - 1))
        await spin()
        writer.write(request())
        last = await reader.read()

    assert last.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nConnection: close\r\n" in last
    assert (await stage.send(request(), closes_half=True)).raw.startswith(b"HTTP/1.1 413 ")


GET = (HOST,)
REFUSED = [
    # method
    pytest.param(request(*GET, method=b"GET", body=b""), 405, id="HTTP-01 GET"),
    *(
        pytest.param(request(*GET, method=name, body=b""), 405, id=f"HTTP-02 {name.decode()}")
        for name in b"PUT DELETE PATCH OPTIONS TRACE CONNECT FOO post".split()
    ),
    pytest.param(b"CONNECT other:443 HTTP/1.1\r\nHost: other:443\r\n\r\n", 405, id="HTTP-02 CONNECT to another host"),
    pytest.param(request(HOST, b"X-HTTP-Method-Override: POST", method=b"GET", body=b""), 405, id="HTTP-04 override"),
    pytest.param(request(*GET, method=b"GET", target=b"/n/unknown", body=b""), 404, id="GET of nothing"),
    # path
    pytest.param(request(body=FORGED), 401, id="HTTP-06 bad signature"),
    pytest.param(request(target=PATH + b"/"), 404, id="HTTP-07 slash at the end"),
    pytest.param(request(target=b"/" + PATH), 404, id="HTTP-07 two slashes"),
    pytest.param(request(target=b"/n/%74" + TOKEN[1:]), 404, id="HTTP-07 escaped letter"),
    pytest.param(request(target=b"/n/./" + TOKEN), 404, id="HTTP-07 dot segment"),
    pytest.param(request(target=PATH + b"#x"), 404, id="fragment"),
    pytest.param(request(target=b"/n/unknown"), 404, id="unknown token"),
    pytest.param(request(target=b"/"), 404, id="root"),
    pytest.param(request(target=PATH + b"?total_fee=9999.00"), 400, id="C10 protocol name in the query"),
    pytest.param(request(target=b"http://other.example" + PATH), 400, id="HTTP-39 absolute form"),
    pytest.param(request(target=b"*"), 400, id="asterisk form"),
    pytest.param(request(target=b"/" + b"a" * 2047), 404, id="URL of 2 KiB"),
    pytest.param(request(target=b"/" + b"a" * 2048), 414, id="URL of 2 KiB and one"),
    pytest.param(request(target=b"/" + b"a" * 100_000), 414, id="URL of 100 kB"),
    # type and encoding
    pytest.param(request(HOST, b"Content-Type: text/plain", LENGTH), 415, id="HTTP-09 text"),
    pytest.param(request(HOST, b"Content-Type: application/xml", LENGTH), 415, id="HTTP-09 XML (C37)"),
    pytest.param(request(HOST, LENGTH), 415, id="HTTP-09 none"),
    *(
        pytest.param(request(HOST, FORM.replace(b"UTF-8", label), LENGTH), 415, id=f"HTTP-11 {label.decode()}")
        for label in b"utf-7 utf-16 idna zlib".split()
    ),
    pytest.param(request(HOST, FORM + b"; charset=GBK", LENGTH), 415, id="HTTP-11 two charsets"),
    pytest.param(request(HOST, FORM, FORM, LENGTH), 400, id="HTTP-12 two types"),
    *(
        pytest.param(request(HOST, FORM, LENGTH, b"Content-Encoding: " + coding), 415, id=f"HTTP-31 {coding.decode()}")
        for coding in (b"gzip", b"br", b"zstd", b"deflate", b"gzip, gzip", b"identity, gzip")
    ),
    pytest.param(
        request(HOST, FORM, LENGTH, b"Content-Encoding: identity", b"Content-Encoding: gzip"), 415, id="HTTP-31 twice"
    ),
    # where the body ends
    *(
        pytest.param(request(HOST, FORM, b"Content-Length: " + value), 400, id=f"HTTP-16 {value!r}")
        for value in (b"+10", b"-1", b"0x1a", b"1e2", b"10, 10", "１０".encode(), b"", b"1 0", b"9" * 40)
    ),
    pytest.param(request(HOST, FORM, LENGTH, b"Content-Length: 1"), 400, id="HTTP-17 two lengths"),
    pytest.param(request(HOST, FORM, LENGTH, LENGTH), 400, id="HTTP-17 the same length twice"),
    *(
        pytest.param(
            request(HOST, FORM, b"Transfer-Encoding:" + value, body=chunks(BODY)), 400, id=f"HTTP-19 {value!r}"
        )
        for value in (
            b" xchunked",
            b"  chunked",
            b"\tchunked",
            b" chunked\x0b",
            b" chunked ",
            " chun\u212aed".encode(),
            b" gzip, chunked",
            b" chunked, chunked",
            b" identity",
        )
    ),
    pytest.param(
        request(HOST, FORM, b"Transfer-Encoding : chunked", body=chunks(BODY)), 400, id="HTTP-19 before the colon"
    ),
    pytest.param(request(HOST, FORM, CHUNKED, CHUNKED, body=chunks(BODY)), 400, id="HTTP-19 twice"),
    pytest.param(request(HOST, FORM, LENGTH, CHUNKED, body=chunks(BODY)), 400, id="HTTP-19 chunked and a length"),
    pytest.param(request(HOST, FORM, CHUNKED, body=chunks(BODY), version=b"HTTP/1.0"), 400, id="HTTP-19 in HTTP/1.0"),
    pytest.param(
        request(HOST, FORM, CHUNKED, body=b"0" * 31 + b"1\r\na\r\n0\r\n\r\n"), 400, id="HTTP-21 32 digits, small"
    ),
    pytest.param(
        request(HOST, FORM, CHUNKED, body=b"f" * 32 + b"\r\na\r\n0\r\n\r\n"), 400, id="HTTP-21 32 digits, huge"
    ),
    pytest.param(request(HOST, FORM, CHUNKED, body=b"-1\r\na\r\n0\r\n\r\n"), 400, id="HTTP-21 negative"),
    pytest.param(
        request(HOST, FORM, CHUNKED, body=b"1;" + b"x" * 65_536 + b"\r\na\r\n0\r\n\r\n"), 400, id="HTTP-21 extension"
    ),
    pytest.param(request(HOST, FORM, CHUNKED, body=b"1\na\n0\n\n"), 400, id="HTTP-21 bare line feeds"),
    pytest.param(request(HOST, FORM, CHUNKED, body=chunks(*[b"a"] * 60_000)), 400, id="HTTP-22 60 000 chunks"),
    # size
    pytest.param(request(HOST, FORM, b"Content-Length: 65537", body=b""), 413, id="HTTP-24 one too many, declared"),
    pytest.param(request(HOST, FORM, b"Content-Length: 65537", body=b"a" * 65_537), 413, id="HTTP-24 and sent"),
    pytest.param(request(HOST, FORM, CHUNKED, body=chunks(b"a" * 65_537)), 413, id="HTTP-24 in chunks"),
    pytest.param(
        request(HOST, FORM, b"Content-Length: 2097152", b"Expect: 100-continue", body=b""), 413, id="HTTP-32 no 100"
    ),
    pytest.param(request(HOST, FORM, LENGTH, b"Expect: tea"), 400, id="another expectation"),
    # headers
    pytest.param(request(HOST, FORM, LENGTH, b"A: b\nB: c"), 400, id="HTTP-34 bare LF"),
    pytest.param(request(HOST, FORM, LENGTH, b"A: b\0c"), 400, id="HTTP-34 NUL"),
    pytest.param(request(HOST, FORM, LENGTH, b"A: b\r\n c"), 400, id="HTTP-34 folded"),
    pytest.param(request(HOST, FORM, LENGTH, b"A : b"), 400, id="HTTP-34 space before the colon"),
    pytest.param(request(HOST, FORM, LENGTH, b"A: b\rc"), 400, id="HTTP-34 bare CR"),
    pytest.param(request(HOST, FORM, LENGTH, b": b"), 400, id="HTTP-34 no name"),
    pytest.param(request(HOST, FORM, LENGTH, *(b"A%d: b" % n for n in range(100))), 431, id="HTTP-36 100 headers"),
    pytest.param(request(HOST, FORM, LENGTH, b"A: " + b"b" * 65_536), 431, id="HTTP-36 64 KiB header"),
    pytest.param(request(HOST, FORM, LENGTH, *[b"A: " + b"b" * 7000] * 3), 431, id="HTTP-36 more than 16 KiB"),
    pytest.param(
        request(HOST, FORM, LENGTH, *(b"Cookie: a%d=b" % n for n in range(10_000))), 431, id="HTTP-36 cookies"
    ),
    pytest.param(b"\r\n" * 20_000, 431, id="HTTP-36 blank lines"),
    pytest.param(request(FORM, LENGTH), 400, id="HTTP-37 no host"),
    pytest.param(request(b"Host:", FORM, LENGTH), 400, id="HTTP-37 empty host"),
    pytest.param(request(HOST, HOST, FORM, LENGTH), 400, id="HTTP-37 two hosts"),
    pytest.param(request(b"Host: " + b"h" * 4096, FORM, LENGTH), 400, id="HTTP-37 4 KiB"),
    pytest.param(request(FORM, LENGTH, version=b"HTTP/1.0"), 400, id="HTTP-41 HTTP/1.0 without host"),
    # what is no HTTP/1.1
    pytest.param(request(version=b"HTTP/2.0"), 400, id="HTTP-42 version 2"),
    pytest.param(request(version=b"HTTP/1.2"), 400, id="version 1.2"),
    pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, id="HTTP-42 preface"),
    pytest.param(b"\x16\x03\x01\x00\xa5\x01\x00", 400, id="TLS"),
    pytest.param(request(body=BODY) + b"\0\0\0", 400, id="rubbish right behind"),
    pytest.param(request(HOST, FORM, b"Content-Length: 3", body=b"\xef\xbb\xbf"), 400, id="HTTP-44 byte order mark"),
]


@pytest.mark.parametrize(("sent", "status"), REFUSED)
async def test_what_http_forbids_gets_its_status_and_fail(stage: Stage, sent: bytes, status: int) -> None:
    """Body exactly `fail`, no redirect, no word of a library; nothing is stored; no limit in time is waited for."""
    reply = await stage.send(sent, closes_half=True)

    assert reply.statuses == [status]
    assert reply.last_body == b"fail"
    assert b"\r\nContent-Type: text/plain; charset=utf-8\r\n" in reply.raw
    assert (b"\r\nAllow: POST\r\n" in reply.raw) == (status == 405)
    assert stage.inbox.records == []


@pytest.mark.parametrize("part_bytes", [1, 7, 1000])
@pytest.mark.parametrize(
    ("sent", "status"),
    [
        pytest.param(request(HOST, FORM, LENGTH, b"Connection: close"), 200, id="genuine"),
        pytest.param(request(HOST, FORM, CHUNKED, b"Connection: close", body=chunks(BODY)), 200, id="chunked"),
        pytest.param(
            request(HOST, FORM, CHUNKED, b"Connection: close", body=chunks(*(bytes([b]) for b in BODY))),
            200,
            id="one byte a chunk",
        ),
        pytest.param(request(HOST, FORM, b"Transfer-Encoding:  chunked", body=chunks(BODY)), 400, id="HTTP-19"),
        pytest.param(
            request(HOST, FORM, CHUNKED, b"Connection: close", body=chunks(*FIELD_BY_FIELD)),
            200,
            id="numbers as chunks of their own",
        ),
        pytest.param(request(HOST, FORM, CHUNKED, body=b"-1\r\na\r\n0\r\n\r\n"), 400, id="HTTP-21"),
        pytest.param(request(HOST, FORM, CHUNKED, body=b"0" * 31 + b"1\r\na\r\n0\r\n\r\n"), 400, id="HTTP-21 digits"),
        pytest.param(
            request(HOST, FORM, CHUNKED, body=chunks(BODY)[:-5] + b"0" * 17 + b"\r\n\r\n"), 400, id="HTTP-21 at the end"
        ),
        pytest.param(request(HOST, HOST, FORM, LENGTH), 400, id="HTTP-37"),
        pytest.param(request(HOST, FORM, b"Content-Length: 65537", body=b""), 413, id="HTTP-24"),
    ],
)
async def test_the_answer_does_not_depend_on_how_the_bytes_are_cut(
    stage: Stage, sent: bytes, status: int, part_bytes: int
) -> None:
    """Whoever judges packets instead of the stream can be talked around."""
    reply = await stage.send(*(sent[at : at + part_bytes] for at in range(0, len(sent), part_bytes)))

    assert reply.statuses == [status]


TAKEN = [
    pytest.param(request(HOST, b"Content-Type: application/x-www-form-urlencoded", LENGTH), id="no charset"),
    pytest.param(
        request(HOST, b'content-type: Application/X-WWW-Form-Urlencoded ;charset="gbk"', LENGTH), id="HTTP-11 quoted"
    ),
    pytest.param(request(HOST, FORM.replace(b" charset=UTF-8", b""), LENGTH), id="a semicolon and nothing behind it"),
    pytest.param(request(HOST, FORM + b";", LENGTH), id="a semicolon at the end"),
    pytest.param(request(HOST, FORM, LENGTH, b"Content-Encoding: identity"), id="HTTP-31 identity"),
    pytest.param(request(HOST, FORM, LENGTH, b"Content-Encoding: Identity"), id="HTTP-31 Identity"),
    pytest.param(request(b"Host: localhost", FORM, LENGTH), id="HTTP-37 localhost"),
    pytest.param(request(b"Host: 127.0.0.1", FORM, LENGTH), id="HTTP-37 an address"),
    pytest.param(request(b"Host: pay.example.com:8443", FORM, LENGTH), id="HTTP-37 with a port"),
    pytest.param(request(version=b"HTTP/1.0"), id="HTTP-41 HTTP/1.0 with a host"),
    pytest.param(request(target=PATH + b"?shop=7"), id="C10 a merchant's parameter"),
    pytest.param(
        request(HOST, FORM, LENGTH, b"Upgrade: websocket", b"Connection: upgrade"), id="upgrade is not for us"
    ),
    pytest.param(request(HOST, FORM, LENGTH, b"X-Forwarded-For: 203.0.113.7", b"Forwarded: for=x"), id="C06 forwarded"),
    pytest.param(request(HOST, FORM, CHUNKED, body=chunks(BODY[:100], BODY[100:])), id="two chunks"),
    pytest.param(request(HOST, FORM, LENGTH, *(b"A%d: b" % n for n in range(61))), id="HTTP-36 64 headers"),
    pytest.param(request(HOST, FORM, LENGTH, b"A: " + b"b" * 8000), id="HTTP-36 nearly 8 KiB"),
]


@pytest.mark.parametrize("sent", TAKEN)
async def test_what_makes_no_difference_makes_none(stage: Stage, sent: bytes) -> None:
    """The neighbours of the refused ones."""
    reply = await stage.send(sent, closes_half=True)

    assert (reply.statuses, reply.last_body) == ([200], b"success")
    assert len(stage.inbox.records) == 1


async def test_head_has_an_answer_without_a_body(stage: Stage) -> None:
    """HTTP-02: HEAD."""
    reply = await stage.send(request(HOST, method=b"HEAD", body=b""), closes_half=True)

    assert (reply.statuses, reply.last_body) == ([405], b"")


async def test_a_host_or_a_forwarding_header_is_no_credential(stage: Stage) -> None:
    """C06: who says that he is AlipayHK is not."""
    reply = await stage.send(
        request(b"Host: localhost", FORM, LENGTH, b"X-Forwarded-For: 110.75.0.1", body=FORGED), closes_half=True
    )

    assert reply.statuses == [401]
    assert stage.inbox.records == []


@under(replace(LIMITS, body_read_s=SOON_S))
async def test_a_body_that_stops_is_given_up(stage: Stage) -> None:
    """HTTP-14: 408 after the time for a body, and the connection is closed."""
    reply = await stage.send(request(body=BODY[:-1]))

    assert (reply.statuses, reply.last_body, reply.is_last) == ([408], b"fail", True)
    assert reply.seconds >= SOON_S


@under(replace(LIMITS, head_read_s=8 * SOON_S, body_read_s=8 * SOON_S))  # the others have so long as well
@pytest.mark.parametrize("at", ["head", "body"])
async def test_a_drip_is_given_up_while_others_are_served(stage: Stage, at: str) -> None:
    """HTTP-26, HTTP-27: what counts is the time for the whole, not for the next byte."""
    slow = request() if at == "head" else request()[len(request(body=b"")) :]
    served_meanwhile = 0
    async with stage.connected() as (reader, writer), asyncio.timeout(PATIENCE_S):
        if at == "body":
            writer.write(request(body=b""))
        reading = asyncio.get_running_loop().create_task(reader.read())
        for byte in slow:
            writer.write(bytes([byte]))
            done, _ = await asyncio.wait([reading], timeout=0.02)
            if done:
                break
            other = await stage.send(request(HOST, FORM, LENGTH, b"Connection: close"))
            assert other.statuses == [200]
            served_meanwhile += not reading.done()
        reply = Reply(await reading, 0.0)

    assert served_meanwhile > 0
    assert (reply.statuses, reply.last_body, reply.is_last) == ([408], b"fail", True)


@under(replace(LIMITS, head_read_s=SOON_S))
async def test_a_drip_on_a_kept_connection_has_no_more_time_than_on_a_new_one(stage: Stage) -> None:
    """HTTP-26: an idle connection may wait longer, a request that has begun may not."""
    loop = asyncio.get_running_loop()
    async with stage.connected() as (reader, writer), asyncio.timeout(PATIENCE_S):
        writer.write(request())
        await reader.readuntil(b"success")
        began = loop.time()
        writer.write(b"POST /n/")

        reply = Reply(await reader.read(), loop.time() - began)

    assert reply.statuses == [408]
    assert reply.seconds >= SOON_S


@under(replace(LIMITS, head_read_s=SOON_S))
async def test_a_connection_that_says_nothing_is_closed_without_a_word(stage: Stage) -> None:
    """A browser or a probe that only connects has asked nothing."""
    reply = await stage.send()

    assert reply.raw == b""


@under(replace(LIMITS, idle_s=SOON_S))
async def test_a_kept_connection_serves_one_after_the_other_and_ends_when_idle(stage: Stage) -> None:
    """Also after a refusal: only an untrusted stream ends at once."""
    sent = request() + request(body=FORGED) + request()

    reply = await stage.send(sent)

    assert reply.statuses == [200, 401, 200]
    assert reply.seconds >= SOON_S


async def test_a_long_pipeline_is_answered_in_order(stage: Stage) -> None:
    """More requests than the parser takes at once, in one write."""
    reply = await stage.send((request() + request(body=FORGED)) * 100, closes_half=True)

    assert reply.statuses == [200, 401] * 100


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        pytest.param([request(), request(HOST, FORM, CHUNKED, body=chunks(BODY))], 200, id="chunks behind a length"),
        pytest.param([request(HOST, FORM, CHUNKED, body=chunks(BODY)), request()], 400, id="a length behind chunks"),
        pytest.param([request(), *[request(HOST, FORM, CHUNKED, body=chunks(BODY))] * 2], 200, id="several"),
    ],
)
async def test_chunks_in_a_pipeline_are_not_taken(stage: Stage, sent: list[bytes], status: int) -> None:
    """It is there that smuggled requests hide; what came before them is answered, and the connection ends."""
    reply = await stage.send(b"".join(sent), closes_half=True)

    assert reply.statuses == [status]
    assert reply.is_last
    assert len(stage.inbox.records) == (status == 200)


async def test_chunks_on_a_kept_connection_are_taken_one_after_the_other(stage: Stage) -> None:
    """Each by itself, as a proxy sends them; between two, an empty line is passed over."""
    chunked = request(HOST, FORM, CHUNKED, body=chunks(*FIELD_BY_FIELD))
    async with stage.connected() as (reader, writer), asyncio.timeout(PATIENCE_S):
        for sent in (chunked, b"\r\n" + chunked, request(), chunked):
            writer.write(sent)
            assert (await reader.readuntil(b"success")).startswith(b"HTTP/1.1 200 ")


async def test_a_pipeline_waits_in_the_kernel_while_one_is_being_answered(stage: Stage) -> None:
    """What a client sends ahead takes its own memory, not ours."""
    stage.inbox.durable.clear()
    async with stage.connected() as (reader, writer), asyncio.timeout(PATIENCE_S):
        writer.write(request() * 5)
        await stage.inbox.asked.wait()
        (connection,) = stage.listener.connections
        assert connection.transport is not None
        assert not connection.transport.is_reading()

        stage.inbox.durable.set()
        for _ in range(5):
            await reader.readuntil(b"success")

        assert connection.transport.is_reading()


@under(replace(LIMITS, write_s=SOON_S))
async def test_a_client_that_reads_no_answers_is_given_up(stage: Stage) -> None:
    """What waits for it is bounded in memory and in time."""
    loop = asyncio.get_running_loop()
    cheap = request(HOST, FORM, b"Content-Length: 0", target=b"/n/unknown", body=b"")

    async def flood(client: socket.socket) -> None:
        while True:
            await loop.sock_sendall(client, cheap * 50)

    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER_BYTES)
        client.setblocking(False)
        async with asyncio.timeout(PATIENCE_S):
            await loop.sock_connect(client, ("127.0.0.1", stage.port))
            with pytest.raises(ConnectionError):
                await flood(client)


async def test_continue_is_said_only_where_the_body_is_wanted(stage: Stage) -> None:
    """HTTP-32, the other way round: the limits are kept, so the client is asked to go on."""
    async with stage.connected() as (reader, writer), asyncio.timeout(PATIENCE_S):
        writer.write(request(HOST, FORM, LENGTH, b"Expect: 100-continue", b"Connection: close", body=b""))
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(BODY)

        assert (await reader.read()).endswith(b"success")


async def test_60_000_chunks_hold_nobody_up(stage: Stage) -> None:
    """HTTP-22: no turn of the loop computes for 100 ms while they come; what others do with the processor is not ours."""
    flood = request(HOST, FORM, CHUNKED, body=chunks(*[b"a"] * 60_000))
    longest_s = 0.0

    async with asyncio.TaskGroup() as tasks:
        sending = tasks.create_task(stage.send(flood))
        while not sending.done():
            turned_at = time.thread_time()
            await asyncio.sleep(0)
            longest_s = max(longest_s, time.thread_time() - turned_at)

    assert sending.result().statuses == [400]
    assert longest_s < 0.1


async def test_no_byte_of_success_leaves_before_the_record_is_durable(stage: Stage) -> None:
    """S1: an append that does not end has no answer; a client that reads sees nothing."""
    stage.inbox.durable.clear()
    async with stage.connected() as (reader, writer), asyncio.timeout(PATIENCE_S):
        writer.write(request(HOST, FORM, LENGTH, b"Connection: close"))
        await stage.inbox.asked.wait()
        reading = asyncio.get_running_loop().create_task(reader.read())
        other = await stage.send(request(body=FORGED), closes_half=True)  # the loop has turned, others are answered
        assert (other.statuses, reading.done()) == ([401], False)

        stage.inbox.durable.set()

        assert (await reading).endswith(b"success")


async def test_a_client_that_leaves_early_makes_no_noise(stage: Stage) -> None:
    """HTTP-46: the append may go through; the resend is another record of the same evidence, which the fold absorbs."""
    stage.inbox.durable.clear()
    async with stage.connected() as (_, writer):
        writer.write(request())
        await stage.inbox.asked.wait()
        writer.transport.abort()
    reply_to_another = await stage.send(request(body=FORGED), closes_half=True)
    stage.inbox.durable.set()

    assert reply_to_another.statuses == [401]
    assert (await stage.send(request(), closes_half=True)).statuses == [200]
    assert [record.value for record in stage.inbox.records] == [BODY, BODY]


async def test_500_at_once_are_all_taken(stage: Stage) -> None:
    """HTTP-47."""
    replies = await asyncio.gather(*(stage.send(request(), closes_half=True) for _ in range(500)))

    assert {tuple(reply.statuses) for reply in replies} == {(200,)}
    assert len(stage.inbox.records) == 500


async def test_a_connection_too_many_is_told_to_come_back() -> None:
    """A bound on what strangers may hold open; whoever is in is served."""
    async with stage_with(replace(LIMITS, connections_max=1)) as stage, stage.connected() as (reader, writer):
        writer.write(request())
        await reader.readuntil(b"success")

        reply = await stage.send()
        assert (reply.statuses, reply.last_body) == ([503], b"fail")
        assert b"\r\nRetry-After: " in reply.raw

        writer.write(request())
        await reader.readuntil(b"success")


async def test_at_the_end_what_is_in_flight_is_answered_and_nothing_new_begins(stage: Stage) -> None:
    """A deployment loses nothing: idle connections close, the one with an append under way gets its answer first."""
    stage.inbox.durable.clear()
    async with stage.connected() as (busy, to_busy), stage.connected() as (idle, to_idle), asyncio.timeout(PATIENCE_S):
        to_idle.write(request(body=FORGED))
        await idle.readuntil(b"fail")
        to_busy.write(request())
        await stage.inbox.asked.wait()

        async with asyncio.TaskGroup() as tasks:
            finishing = tasks.create_task(stage.listener.finish(PATIENCE_S))
            assert await idle.read() == b""
            assert not finishing.done()
            stage.inbox.durable.set()

        reply = Reply(await busy.read(), 0.0)
    assert (reply.statuses, reply.last_body, reply.is_last) == ([200], b"success", True)


async def test_the_end_does_not_wait_for_what_hangs(stage: Stage) -> None:
    """The bound holds, and no success is said for what is not durable."""
    stage.inbox.durable.clear()
    async with stage.connected() as (reader, writer), asyncio.timeout(PATIENCE_S):
        writer.write(request())
        await stage.inbox.asked.wait()

        await stage.listener.finish(0.1)

        assert await reader.read() == b""
    stage.inbox.durable.set()
