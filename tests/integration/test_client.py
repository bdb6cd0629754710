"""What strangers answer, or do instead, on real sockets: the rows of OUT-* (reference/hostile_inputs.md) about answers."""

from __future__ import annotations

import asyncio
import gzip
import socket
from pathlib import Path

import pytest

from consumers.client import BODY_BYTES_MAX, Fault
from tests.strangers import (
    BODY,
    HEADERS,
    OK,
    Script,
    client,
    hangs_up,
    reset,
    silent_listener,
    stranger,
    was_tried,
)

WITHIN_S = 30.0
"""What an answer that comes is waited for, on a machine that has much else to do. A deadline that a test is about is short."""
HEAD_S = 2.0
"""A deadline that the head of an answer keeps on any machine, and its body does not."""


def says(*answer: bytes) -> Script:
    async def say(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"".join(answer))
        writer.close()

    return say


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


# --- what a destination answers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "accepted"),
    [
        pytest.param(status, 200 <= status <= 299, id=f"{case}-{status}")
        for case, statuses in {
            "OUT-22 any 2xx": (200, 201, 202, 204, 226, 299),
            "OUT-11 redirects": (301, 302, 303, 307, 308),
            "OUT-24 refusals": (400, 401, 403, 404, 405, 409, 410, 413, 422, 429),
            "OUT-27 trouble": (500, 502, 503, 504),
            "outside of all classes": (300, 304, 600, 999),
        }.items()
        for status in statuses
    ],
)
async def test_2xx_alone_is_acceptance(status: int, accepted: bool) -> None:
    async with stranger(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status) as there, client() as ours:
        answer = await ours.post(there.url, HEADERS, BODY, timeout_s=WITHIN_S)

    assert (answer.status_code, answer.error, answer.is_accepted) == (status, None, accepted)
    assert there.requests[0].endswith(BODY)


@pytest.mark.parametrize("status", [300, 301, 302, 303, 305, 307, 308])
@pytest.mark.parametrize(
    "location",
    ["http://127.0.0.1:{port}/elsewhere", "/hook", "file:///etc/passwd", "gopher://127.0.0.1/", "//[::1]/", "\\"],
    ids=["OUT-11 elsewhere", "OUT-12 a loop", "OUT-12 file", "OUT-12 gopher", "another host", "nonsense"],
)
async def test_a_redirect_is_not_followed(location: str, status: int) -> None:
    with silent_listener("127.0.0.1") as elsewhere:
        target = location.format(port=elsewhere.getsockname()[1]).encode()
        redirect = b"HTTP/1.1 %d X\r\nContent-Length: 0\r\nLocation: %b\r\n\r\n" % (status, target)
        async with stranger(redirect) as there, client() as ours:
            answer = await ours.post(there.url, HEADERS, BODY, timeout_s=WITHIN_S)

        assert (answer.status_code, answer.is_accepted) == (status, False)
        assert len(there.requests) == 1
        assert not was_tried(elsewhere)


async def test_out_26_what_the_destination_asks_for_is_handed_on_as_it_was_written() -> None:
    busy = b"HTTP/1.1 429 Slow\r\nContent-Length: 0\r\nRetry-After: 120\r\n\r\n"
    async with stranger(busy) as there, client() as ours:
        answer = await ours.post(there.url, HEADERS, BODY, timeout_s=WITHIN_S)

    assert (answer.status_code, answer.retry_after) == (429, "120")


async def test_out_34_a_cookie_is_not_kept() -> None:
    sticky = b"HTTP/1.1 200 OK\r\nSet-Cookie: id=1; Path=/\r\nContent-Length: 0\r\n\r\n"
    async with stranger(sticky) as there, client() as ours:
        for _ in range(2):
            await ours.post(there.url, HEADERS, BODY, timeout_s=WITHIN_S)

    assert len(there.requests) == 2
    assert b"cookie" not in b"".join(there.requests).lower()


async def test_a_connection_is_used_again() -> None:
    async with stranger(OK) as there, client() as ours:
        for _ in range(3):
            assert (await ours.post(there.url, HEADERS, BODY, timeout_s=WITHIN_S)).is_accepted

    assert (there.connections, len(there.requests)) == (1, 3)


async def test_the_headers_are_the_callers_and_no_proxy_of_the_environment_is_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In no spelling of the variables; and no password for that host is taken from a .netrc."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login us password hunter2\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with silent_listener("127.0.0.1") as proxy:
        for name in ("http_proxy", "https_proxy", "all_proxy", "ws_proxy"):
            for spelled in (name, name.upper()):
                monkeypatch.setenv(spelled, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        async with stranger(OK) as there, client() as ours:
            answer = await ours.post(there.url, HEADERS, BODY, timeout_s=WITHIN_S)

        assert answer.is_accepted
        assert not was_tried(proxy)
    head = there.requests[0].lower()
    assert b"webhook-id: evt_1\r\n" in head
    assert b"user-agent: test\r\n" in head
    assert b"accept-encoding: identity\r\n" in head
    assert b"authorization" not in head


@pytest.mark.parametrize(
    ("answer", "status", "accepted"),
    [
        pytest.param(b"HTTP/1.0 200 OK\r\n\r\nok", 200, True, id="HTTP/1.0, whose end is the connection's"),
        pytest.param(b"HTTP/1.0 204 X\r\n\r\n", 204, True, id="HTTP/1.0 without a body"),
        pytest.param(b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", 200, True, id="no reason"),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n" + OK, 200, True, id="100 before it"),
        pytest.param(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 3 + OK, 200, True, id="103, three times"),
        pytest.param(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n..", 101, False, id="101"),
    ],
)
async def test_what_is_unusual_and_http_is_understood(answer: bytes, status: int, accepted: bool) -> None:
    async with stranger(says(answer)) as there, client() as ours:
        given = await ours.post(there.url, HEADERS, BODY, timeout_s=WITHIN_S)

    assert (given.status_code, given.error, given.is_accepted) == (status, None, accepted)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
    ],
    ids=["HTTP/1.0", "close", "101"],
)
async def test_a_connection_that_is_over_is_not_used_again(answer: bytes) -> None:
    async with stranger(answer) as there, client() as ours:
        for _ in range(2):
            assert (await ours.post(there.url, HEADERS, BODY, timeout_s=WITHIN_S)).error is None

    assert there.connections == 2


# --- what a destination does instead of answering ------------------------------------------------------------------------


async def never_answers(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


async def drips_its_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while not await hangs_up(reader, within_s=0.02):
        writer.write(b"X: y\r\n")


async def drips_its_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while not await hangs_up(reader, within_s=0.02):
        writer.write(b".")


async def is_about_to_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while not await hangs_up(reader, within_s=0.02):
        writer.write(b"HTTP/1.1 102 Processing\r\n\r\n")


async def resets(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    reset(writer)


async def resets_after_200(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
    await writer.drain()
    reset(writer)


async def closes_unasked(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def closes_half_way(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
    writer.write_eof()


async def floods_with_headers(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-Flood: 0123456789\r\n" * 1000)
        await writer.drain()


async def floods_with_one_header(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nX-Flood: ")
    while True:
        writer.write(b"0123456789" * 1000)
        await writer.drain()


@pytest.mark.parametrize(
    ("script", "timeout_s", "status", "error"),
    [
        pytest.param(never_answers, 0.2, None, Fault.TIMEOUT, id="OUT-19 accepts and is silent"),
        pytest.param(drips_its_head, 0.2, None, Fault.TIMEOUT, id="OUT-19 a byte now and then keeps nothing open"),
        pytest.param(drips_its_body, HEAD_S, 200, Fault.TIMEOUT, id="the deadline covers the body"),
        pytest.param(is_about_to_answer, 0.2, None, Fault.TIMEOUT, id="1xx for ever is no answer"),
        pytest.param(resets, 2 * WITHIN_S, None, Fault.RESET, id="OUT-21 reset instead of an answer"),
        pytest.param(resets_after_200, 2 * WITHIN_S, 200, Fault.RESET, id="OUT-21 reset after the head of a 200"),
        pytest.param(closes_unasked, 2 * WITHIN_S, None, Fault.RESET, id="OUT-21 closed instead of an answer"),
        pytest.param(closes_half_way, 2 * WITHIN_S, 200, Fault.RESET, id="OUT-21 half closed inside the body"),
        pytest.param(floods_with_headers, 2 * WITHIN_S, None, Fault.PROTOCOL, id="headers without end"),
        pytest.param(floods_with_one_header, 2 * WITHIN_S, None, Fault.PROTOCOL, id="one header without end"),
        pytest.param(says(b"SSH-2.0-OpenSSH_9\r\n"), 2 * WITHIN_S, None, Fault.PROTOCOL, id="another protocol"),
        pytest.param(
            says(b"\x16\x03\x01\x02\x00\x01"), 2 * WITHIN_S, None, Fault.PROTOCOL, id="TLS where http was said"
        ),
        pytest.param(says(b"HTTP/1.1 abc OK\r\n\r\n"), 2 * WITHIN_S, None, Fault.PROTOCOL, id="a status that is none"),
        pytest.param(says(b"\0" * 9000), 2 * WITHIN_S, None, Fault.PROTOCOL, id="zeros"),
        pytest.param(
            says(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"),
            2 * WITHIN_S,
            None,
            Fault.PROTOCOL,
            id="a negative length",
        ),
        pytest.param(says(CHUNKED, b"zz\r\nab\r\n"), 2 * WITHIN_S, None, Fault.PROTOCOL, id="a chunk without a size"),
        pytest.param(says(CHUNKED, b"5\r\nab"), 2 * WITHIN_S, 200, Fault.RESET, id="a chunk without its end"),
    ],
)
async def test_what_is_no_complete_answer_is_a_failure_with_a_word(
    script: Script, timeout_s: float, status: int | None, error: Fault
) -> None:
    async with stranger(script) as there, client() as ours, asyncio.timeout(WITHIN_S):
        answer = await ours.post(there.url, HEADERS, BODY, timeout_s=timeout_s)

    assert (answer.status_code, answer.error, answer.is_accepted) == (status, error, False)
    assert answer.duration_ms < WITHIN_S * 1000


async def test_nobody_there_is_refused() -> None:
    with socket.socket() as nobodys:
        nobodys.bind(("127.0.0.1", 0))  # held, so that nobody else gets it; and not listened on
        async with client() as ours:
            answer = await ours.post(f"http://127.0.0.1:{nobodys.getsockname()[1]}/", HEADERS, BODY, timeout_s=WITHIN_S)

    assert (answer.status_code, answer.error) == (None, Fault.REFUSED)


async def test_a_deadline_frees_the_connection() -> None:
    """OUT-19: what hangs is hung up on, so that as many as one likes cost nothing that lasts."""
    hung_up = asyncio.Event()

    async def waits(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()
        hung_up.set()

    async with stranger(waits) as there, client() as ours, asyncio.timeout(WITHIN_S):
        await ours.post(there.url, HEADERS, BODY, timeout_s=0.05)
        await hung_up.wait()


async def test_cancellation_passes_through() -> None:
    arrived = asyncio.Event()

    async def waits(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        arrived.set()
        await reader.read()

    async with stranger(waits) as there, client() as ours, asyncio.timeout(WITHIN_S), asyncio.TaskGroup() as group:
        delivery = group.create_task(ours.post(there.url, HEADERS, BODY, timeout_s=60))
        await arrived.wait()
        delivery.cancel()
        with pytest.raises(asyncio.CancelledError):
            await delivery


# --- how much a destination can cost -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "head",
    [b"HTTP/1.1 200 OK\r\nContent-Length: 10737418240\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"],
    ids=["OUT-16 10 GiB, as announced", "without end, unannounced"],
)
async def test_a_body_is_read_to_the_bound_and_its_2xx_counts(head: bytes) -> None:
    async def floods(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(b"\0" * 65536)
            there.bytes_sent += 65536
            await writer.drain()

    async with stranger(floods) as there, client() as ours:
        answer = await ours.post(there.url, HEADERS, BODY, timeout_s=WITHIN_S)

    assert answer.is_accepted
    # The rest of what was sent lies in the kernel's buffers, which are some MiB on loopback.
    assert there.bytes_sent < 64 * 1024 * 1024


@pytest.mark.parametrize(
    ("head", "flood", "status", "error"),
    [
        pytest.param(b"", b"HTTP/1.1 100 Continue\r\n\r\n", None, Fault.PROTOCOL, id="100 Continue"),
        pytest.param(b"", b"HTTP/1.1 102 Processing\r\n\r\n", None, Fault.PROTOCOL, id="102 Processing"),
        pytest.param(b"", b"HTTP/1.1 103 Hints\r\nLink: </a>\r\n\r\n", None, Fault.PROTOCOL, id="103 Early Hints"),
        pytest.param(b"", b"\r\n", None, Fault.PROTOCOL, id="empty lines"),
        pytest.param(CHUNKED + b"1;", b"a=b;", 200, None, id="an extension of a chunk"),
        pytest.param(CHUNKED, b"1;a=b\r\nx\r\n", 200, None, id="chunks with extensions"),
        pytest.param(CHUNKED, b"1\r\nx\r\n", 200, None, id="chunks of one byte"),
        pytest.param(CHUNKED, b"0", 200, None, id="the size of a chunk"),
        pytest.param(OK, OK, 200, None, id="answers"),
    ],
)
async def test_what_is_around_a_body_is_bounded_too(
    head: bytes, flood: bytes, status: int | None, error: Fault | None
) -> None:
    """
    One that sent interim answers without end once stopped the loop for as long as the attempt might last, and with it the
    deliveries to everybody else. What ends it is the bound; at the deadline of this test it would be too late.
    """

    async def floods(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(flood * 1000)
            await writer.drain()

    async with stranger(floods) as there, client() as ours, asyncio.timeout(WITHIN_S):
        answer = await ours.post(there.url, HEADERS, BODY, timeout_s=60)

    assert (answer.status_code, answer.error, answer.is_accepted) == (status, error, status == 200)


async def test_each_head_counts_for_more_than_its_bytes() -> None:
    """A thousand of them are 25 KiB, and a fifth of a second of everybody's time."""
    async with stranger(says(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000 + OK)) as there, client() as ours:
        answer = await ours.post(there.url, HEADERS, BODY, timeout_s=WITHIN_S)

    assert (answer.status_code, answer.error) == (None, Fault.PROTOCOL)


async def test_trailers_without_end_are_no_answer() -> None:
    """A 2xx whose end is no HTTP: it may have been cut by somebody in between."""

    async def floods(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED + b"0\r\n")
        while True:
            writer.write(b"X: y\r\n" * 1000)
            await writer.drain()

    async with stranger(floods) as there, client() as ours, asyncio.timeout(WITHIN_S):
        answer = await ours.post(there.url, HEADERS, BODY, timeout_s=60)

    assert answer.error in (Fault.PROTOCOL, Fault.RESET)
    assert not answer.is_accepted


REFUSES = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize(
    ("pieces", "late"),
    [
        pytest.param([OK + OK], b"", id="with the first"),
        pytest.param([OK[:-2], OK[-2:] + OK], b"", id="with the end of the first"),
        pytest.param([OK], OK, id="while nothing was asked"),
        pytest.param([b"HTTP/1.1 204 X\r\n\r\n"], OK, id="while nothing was asked, behind one without a body"),
        pytest.param([OK], b"x", id="what is no answer"),
    ],
)
async def test_an_answer_that_came_before_its_request_is_not_taken_for_its_answer(
    pieces: list[bytes], late: bytes
) -> None:
    """Sent ahead on a connection that is kept, it would count for the next webhook to that host, whatever becomes of that."""
    is_over = asyncio.Event()

    async def answers_ahead(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if there.connections > 1:
            writer.write(REFUSES)
            return
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await turns()
        if late:
            await is_over.wait()
            writer.write(late)
        assert await reader.read() == b"", "the second request comes on another connection"

    async with stranger(answers_ahead) as there, client() as ours, asyncio.timeout(WITHIN_S):
        first = await ours.post(there.url, HEADERS, BODY, timeout_s=WITHIN_S)
        is_over.set()
        await turns()
        second = await ours.post(there.url, HEADERS, BODY, timeout_s=WITHIN_S)

    assert (first.is_accepted, second.status_code, there.connections) == (True, 500, 2)


async def turns() -> None:
    """Let what was written arrive: both ends are on this loop."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, gzip", "unheard-of"])
async def test_out_17_what_is_packed_stays_packed(encoding: str) -> None:
    """A body that is marked as packed and is not is no fault: nobody unpacks it, so no bomb can go off."""
    bomb = gzip.compress(b"\0" * 30_000_000, compresslevel=9)
    assert len(bomb) < BODY_BYTES_MAX

    for body in (b"hello", bomb):
        head = b"HTTP/1.1 200 OK\r\nContent-Encoding: %b\r\nContent-Length: %d\r\n\r\n" % (encoding.encode(), len(body))
        async with stranger(head + body) as there, client() as ours:
            answer = await ours.post(there.url, HEADERS, BODY, timeout_s=WITHIN_S)

        assert answer.is_accepted


async def test_out_31_one_that_hangs_costs_the_others_nothing() -> None:
    async with stranger(never_answers) as slow, stranger(OK) as fast, client() as ours, asyncio.TaskGroup() as group:
        waiting = [group.create_task(ours.post(slow.url, HEADERS, BODY, timeout_s=2 * WITHIN_S)) for _ in range(50)]
        answers = [await ours.post(fast.url, HEADERS, BODY, timeout_s=WITHIN_S) for _ in range(20)]

        assert all(answer.is_accepted for answer in answers)
        assert not any(delivery.done() for delivery in waiting)
        for delivery in waiting:
            delivery.cancel()
