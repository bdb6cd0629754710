"""Calling strangers: real sockets on loopback, each row of OUT-* (reference/hostile_inputs.md) that is the client's to answer."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from consumers.client import BODY_BYTES_MAX, Client, Fault, trusting
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
        answer = await ours.post(there.url, HEADERS, BODY, timeout_s=5)

    assert (answer.status_code, answer.error, answer.is_accepted) == (status, None, accepted)
    assert there.requests[0].endswith(BODY)


@pytest.mark.parametrize(
    "location",
    ["http://127.0.0.1:{port}/elsewhere", "/hook", "file:///etc/passwd", "gopher://127.0.0.1/", "//[::1]/", "\\"],
    ids=["OUT-11 elsewhere", "OUT-12 a loop", "OUT-12 file", "OUT-12 gopher", "another host", "nonsense"],
)
async def test_a_redirect_is_not_followed(location: str) -> None:
    with silent_listener("127.0.0.1") as elsewhere:
        target = location.format(port=elsewhere.getsockname()[1]).encode()
        redirect = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: %b\r\n\r\n" % target
        async with stranger(redirect) as there, client() as ours:
            answer = await ours.post(there.url, HEADERS, BODY, timeout_s=5)

        assert (answer.status_code, answer.is_accepted) == (302, False)
        assert len(there.requests) == 1
        assert not was_tried(elsewhere)


async def test_out_26_what_the_destination_asks_for_is_handed_on_as_it_was_written() -> None:
    busy = b"HTTP/1.1 429 Slow\r\nContent-Length: 0\r\nRetry-After: 120\r\n\r\n"
    async with stranger(busy) as there, client() as ours:
        answer = await ours.post(there.url, HEADERS, BODY, timeout_s=5)

    assert (answer.status_code, answer.retry_after) == (429, "120")


async def test_out_34_a_cookie_is_not_kept() -> None:
    sticky = b"HTTP/1.1 200 OK\r\nSet-Cookie: id=1; Path=/\r\nContent-Length: 0\r\n\r\n"
    async with stranger(sticky) as there, client() as ours:
        for _ in range(2):
            await ours.post(there.url, HEADERS, BODY, timeout_s=5)

    assert len(there.requests) == 2
    assert b"cookie" not in b"".join(there.requests).lower()


async def test_a_connection_is_used_again() -> None:
    async with stranger(OK) as there, client() as ours:
        for _ in range(3):
            assert (await ours.post(there.url, HEADERS, BODY, timeout_s=5)).is_accepted

    assert (there.connections, len(there.requests)) == (1, 3)


async def test_the_headers_are_the_callers_and_no_proxy_of_the_environment_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with silent_listener("127.0.0.1") as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        async with stranger(OK) as there, client() as ours:
            answer = await ours.post(there.url, HEADERS, BODY, timeout_s=5)

        assert answer.is_accepted
        assert not was_tried(proxy)
    head = there.requests[0].lower()
    assert b"webhook-id: evt_1\r\n" in head
    assert b"user-agent: test\r\n" in head
    assert b"accept-encoding: identity\r\n" in head


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


def says(*answer: bytes) -> Script:
    async def say(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"".join(answer))
        writer.close()

    return say


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("script", "timeout_s", "status", "error"),
    [
        pytest.param(never_answers, 0.2, None, Fault.TIMEOUT, id="OUT-19 accepts and is silent"),
        pytest.param(drips_its_head, 0.2, None, Fault.TIMEOUT, id="OUT-19 a byte now and then keeps nothing open"),
        pytest.param(drips_its_body, 0.2, 200, Fault.TIMEOUT, id="the deadline covers the body"),
        pytest.param(is_about_to_answer, 0.2, None, Fault.TIMEOUT, id="1xx for ever is no answer"),
        pytest.param(resets, 5, None, Fault.RESET, id="OUT-21 reset instead of an answer"),
        pytest.param(resets_after_200, 5, 200, Fault.RESET, id="OUT-21 reset after the head of a 200"),
        pytest.param(closes_unasked, 5, None, Fault.RESET, id="OUT-21 closed instead of an answer"),
        pytest.param(closes_half_way, 5, 200, Fault.RESET, id="OUT-21 half closed inside the body"),
        pytest.param(floods_with_headers, 5, None, Fault.PROTOCOL, id="headers without end"),
        pytest.param(floods_with_one_header, 5, None, Fault.PROTOCOL, id="one header without end"),
        pytest.param(says(b"SSH-2.0-OpenSSH_9\r\n"), 5, None, Fault.PROTOCOL, id="another protocol"),
        pytest.param(says(b"\x16\x03\x01\x02\x00\x01"), 5, None, Fault.PROTOCOL, id="TLS where http was said"),
        pytest.param(says(b"HTTP/1.1 abc OK\r\n\r\n"), 5, None, Fault.PROTOCOL, id="a status that is none"),
        pytest.param(says(b"\0" * 9000), 5, None, Fault.PROTOCOL, id="zeros"),
        pytest.param(
            says(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"), 5, None, Fault.PROTOCOL, id="a negative length"
        ),
        pytest.param(says(CHUNKED, b"zz\r\nab\r\n"), 5, None, Fault.PROTOCOL, id="a chunk without a size"),
        pytest.param(says(CHUNKED, b"5\r\nab"), 5, 200, Fault.RESET, id="a chunk without its end"),
    ],
)
async def test_what_is_no_complete_answer_is_a_failure_with_a_word(
    script: Script, timeout_s: float, status: int | None, error: Fault
) -> None:
    async with stranger(script) as there, client() as ours, asyncio.timeout(10):
        answer = await ours.post(there.url, HEADERS, BODY, timeout_s=timeout_s)

    assert (answer.status_code, answer.error, answer.is_accepted) == (status, error, False)
    assert answer.duration_ms < (timeout_s + 2) * 1000


async def test_nobody_there_is_refused() -> None:
    with silent_listener("127.0.0.1") as gone:
        port = gone.getsockname()[1]

    async with client() as ours:
        answer = await ours.post(f"http://127.0.0.1:{port}/", HEADERS, BODY, timeout_s=5)

    assert (answer.status_code, answer.error) == (None, Fault.REFUSED)


async def test_a_deadline_frees_the_connection() -> None:
    """OUT-19: what hangs is hung up on, so that as many as one likes cost nothing that lasts."""
    hung_up = asyncio.Event()

    async def waits(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()
        hung_up.set()

    async with stranger(waits) as there, client() as ours, asyncio.timeout(5):
        await ours.post(there.url, HEADERS, BODY, timeout_s=0.05)
        await hung_up.wait()


async def test_cancellation_passes_through() -> None:
    arrived = asyncio.Event()

    async def waits(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        arrived.set()
        await reader.read()

    async with stranger(waits) as there, client() as ours, asyncio.timeout(5), asyncio.TaskGroup() as group:
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
        answer = await ours.post(there.url, HEADERS, BODY, timeout_s=5)

    assert answer.is_accepted
    # The rest of what was sent lies in the kernel's buffers, which are some MiB on loopback.
    assert there.bytes_sent < 64 * 1024 * 1024


async def test_out_17_what_is_packed_stays_packed() -> None:
    """A body that is marked as gzip and is none is no fault: nobody unpacks it, so no bomb can go off."""
    not_gzip = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello"
    bomb = gzip.compress(b"\0" * 30_000_000, compresslevel=9)
    assert len(bomb) < BODY_BYTES_MAX
    packed = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b" % (len(bomb), bomb)

    for given in (not_gzip, packed):
        async with stranger(given) as there, client() as ours:
            answer = await ours.post(there.url, HEADERS, BODY, timeout_s=5)

        assert answer.is_accepted


async def test_out_31_one_that_hangs_costs_the_others_nothing() -> None:
    async with stranger(never_answers) as slow, stranger(OK) as fast, client() as ours, asyncio.TaskGroup() as group:
        waiting = [group.create_task(ours.post(slow.url, HEADERS, BODY, timeout_s=1)) for _ in range(50)]
        answers = [await ours.post(fast.url, HEADERS, BODY, timeout_s=1) for _ in range(20)]

        assert all(answer.is_accepted for answer in answers)
        assert not any(delivery.done() for delivery in waiting)
        for delivery in waiting:
            delivery.cancel()


# --- where a URL may lead ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.2",
        "127.2",
        "2130706434",
        "0x7f.0.0.2",
        "017700000002",
        "１２７.0.0.2",
        "127.0.0.2.",
        "0x7f000002",
        "[::ffff:127.0.0.2]",
        "[::ffff:7f00:2]",
    ],
)
async def test_out_01_no_spelling_of_a_forbidden_address_is_connected_to(host: str) -> None:
    with silent_listener("127.0.0.2") as hidden:
        async with client() as ours:
            answer = await ours.post(f"http://{host}:{hidden.getsockname()[1]}/", HEADERS, BODY, timeout_s=5)

        # The HTTP library calls some spellings no URL at all, which is as good.
        assert answer.error in (Fault.ADDRESS_FORBIDDEN, Fault.URL)
        assert not was_tried(hidden)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST"])
async def test_out_01_localhost_is_judged_by_what_it_resolves_to(host: str) -> None:
    """The machine's own resolver answers here."""
    with silent_listener("127.0.0.1") as hidden:
        async with Client() as ours:
            answer = await ours.post(f"http://{host}:{hidden.getsockname()[1]}/", HEADERS, BODY, timeout_s=5)

        assert answer.error is Fault.ADDRESS_FORBIDDEN
        assert not was_tried(hidden)


@pytest.mark.parametrize(
    "host",
    [
        EVERY_ADDRESS,
        "[::]",
        "[::1]",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "169.254.169.254",
        "[fc00::1]",
        "[fe80::1%251]",
    ],
)
async def test_out_02_04_addresses_outside_the_public_internet_are_refused(host: str) -> None:
    async with client() as ours:
        answer = await ours.post(f"http://{host}/", HEADERS, BODY, timeout_s=5)

    assert answer.error is Fault.ADDRESS_FORBIDDEN


@pytest.mark.parametrize(
    "addresses",
    [
        pytest.param(("127.0.0.1", "127.0.0.2"), id="OUT-06 A allowed and A forbidden"),
        pytest.param(("127.0.0.2", "127.0.0.1"), id="OUT-06 the other way round"),
        pytest.param(("127.0.0.1", "fd00::1"), id="OUT-09 AAAA private, A allowed"),
        pytest.param(("::ffff:127.0.0.2",), id="the forbidden one as IPv6"),
        pytest.param(("127.0.0.1", "64:ff9b::7f00:2"), id="the forbidden one behind NAT64"),
        pytest.param(("fe80::1%2",), id="OUT-04 a zone"),
    ],
)
async def test_a_name_is_called_only_if_every_answer_may_be(addresses: tuple[str, ...]) -> None:
    async with stranger(OK) as there, Client(allow_networks=LOOPBACK, lookup=answering(*addresses)) as ours:
        answer = await ours.post(f"http://shop.test:{there.port}/", HEADERS, BODY, timeout_s=5)

    assert answer.error is Fault.ADDRESS_FORBIDDEN
    assert there.connections == 0


async def test_out_07_the_address_that_was_judged_is_the_one_that_is_called() -> None:
    """DNS that changes its mind between the check and the connect is never asked the second time. Host stays the name."""
    answers = [[ip_address("127.0.0.1")]]

    async def rebinding(_: str) -> Sequence[Address]:
        return answers.pop() if answers else [ip_address("127.0.0.2")]

    async with stranger(OK) as there, Client(allow_networks=LOOPBACK, lookup=rebinding) as ours:
        answer = await ours.post(f"http://shop.test:{there.port}/", HEADERS, BODY, timeout_s=5)

    assert answer.is_accepted
    assert f"Host: shop.test:{there.port}\r\n".encode() in there.requests[0]


async def test_one_bad_address_of_a_name_leaves_the_good_one() -> None:
    """127.0.0.3 is allowed, and nobody listens there."""
    names = answering("127.0.0.3", "127.0.0.1")
    async with stranger(OK) as there, Client(allow_networks=(IPv4Network("127.0.0.0/8"),), lookup=names) as ours:
        answer = await ours.post(f"http://shop.test:{there.port}/", HEADERS, BODY, timeout_s=5)

    assert answer.is_accepted


@pytest.mark.parametrize(
    ("listener", "called"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "[::ffff:127.0.0.1]"),
        (EVERY_ADDRESS, "127.0.0.1"),
        ("::", "127.0.0.1"),
        ("localhost", "127.0.0.1"),
    ],
)
async def test_out_14_our_own_listeners_are_not_called(listener: str, called: str) -> None:
    """Not even where `allow_networks` has loopback in it, as on a laptop."""
    async with (
        stranger(OK) as ours_too,
        stranger(OK) as there,
        Client(allow_networks=LOOPBACK, forbidden=[(listener, ours_too.port)]) as ours,
    ):
        refused = await ours.post(f"http://{called}:{ours_too.port}/", HEADERS, BODY, timeout_s=5)
        allowed = await ours.post(there.url, HEADERS, BODY, timeout_s=5)

    assert refused.error is Fault.ADDRESS_FORBIDDEN
    assert ours_too.connections == 0
    assert allowed.is_accepted


async def test_a_listener_on_all_addresses_is_ours_on_each_of_them() -> None:
    """This machine's other addresses are found by asking the routing table."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return  # a machine with loopback alone has no other address
        own = probe.getsockname()[0]
    everywhere: tuple[Network, ...] = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))
    with silent_listener(own) as here:
        port = here.getsockname()[1]
        async with Client(allow_networks=everywhere, forbidden=[(EVERY_ADDRESS, port)]) as ours:
            answer = await ours.post(f"http://{own}:{port}/", HEADERS, BODY, timeout_s=5)

        assert answer.error is Fault.ADDRESS_FORBIDDEN
        assert not was_tried(here)


async def test_a_name_without_an_address_is_a_dns_failure() -> None:
    async def unknown(_: str) -> Sequence[Address]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async with Client(allow_networks=LOOPBACK, lookup=unknown) as ours:
        answer = await ours.post("http://shop.test/", HEADERS, BODY, timeout_s=5)

    assert (answer.status_code, answer.error) == (None, Fault.DNS)


@pytest.mark.parametrize("host", ["a..b.test", ".a.test", "a" * 64 + ".test"])
async def test_what_the_systems_resolver_cannot_even_be_asked_for_is_a_dns_failure(host: str) -> None:
    """Python's getaddrinfo answers these with a UnicodeError, which once left `post` and ended the whole fan-out."""
    async with client() as ours:
        answer = await ours.post(f"http://{host}/", HEADERS, BODY, timeout_s=5)

    assert (answer.status_code, answer.error) == (None, Fault.DNS)


async def test_the_deadline_covers_the_lookup() -> None:
    async def hangs(_: str) -> Sequence[Address]:
        await asyncio.Event().wait()
        return []

    async with asyncio.timeout(5), Client(allow_networks=LOOPBACK, lookup=hangs) as ours:
        answer = await ours.post("http://shop.test/", HEADERS, BODY, timeout_s=0.05)

    assert answer.error is Fault.TIMEOUT


@pytest.mark.parametrize(
    "url", ["ftp://127.0.0.1/", "http://", "127.0.0.1:80", "http://127.0.0.1:99999/", "http://[::1/"]
)
async def test_what_is_no_url_is_called_so(url: str) -> None:
    async with client() as ours:
        answer = await ours.post(url, HEADERS, BODY, timeout_s=5)

    assert answer.error is Fault.URL


# --- TLS -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority of this test alone."""

    directory: Path
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def make(cls, directory: Path) -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _certificate("authority", key, "authority", key, valid_for=timedelta(days=1), is_ca=True)
        directory.mkdir()
        (directory / "ca.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return cls(directory, key, certificate)

    @property
    def ca_file(self) -> Path:
        return self.directory / "ca.pem"

    def server(self, name: str, *, valid_for: timedelta = timedelta(days=1)) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _certificate(name, key, "authority", self.key, valid_for=valid_for, is_ca=False)
        both = self.directory / f"{name}-{valid_for.days}.pem"
        both.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(both)
        return context


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: str,
    issuer_key: ec.EllipticCurvePrivateKey,
    *,
    valid_for: timedelta,
    is_ca: bool,
) -> x509.Certificate:
    ends = datetime.now(UTC) + valid_for  # noqa: TID251 - the machine's clock is what a handshake looks at
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    issuer_identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(ends - timedelta(days=30))
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(identifier, critical=False)
        .add_extension(issuer_identifier, critical=False)
        .sign(issuer_key, hashes.SHA256())
    )


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.make(tmp_path / "authority")


async def test_a_certificate_of_the_endpoints_own_authority_is_trusted_and_the_name_is_asked_for(
    authority: Authority,
) -> None:
    """SNI carries the name of the URL although an address is connected to."""
    asked: list[str | None] = []
    context = authority.server("shop.test")
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    async with (
        stranger(OK, tls=context) as there,
        Client(allow_networks=LOOPBACK, lookup=answering("127.0.0.1")) as ours,
    ):
        answer = await ours.post(
            f"https://shop.test:{there.port}/", HEADERS, BODY, timeout_s=5, tls=trusting(authority.ca_file)
        )

    assert answer.is_accepted
    assert asked == ["shop.test"]


async def test_out_29_another_certificate_the_next_time_is_fine_if_valid(authority: Authority) -> None:
    contexts = [authority.server("shop.test", valid_for=timedelta(days=days)) for days in (1, 2)]
    context = authority.server("shop.test")
    used: list[ssl.SSLContext] = []

    def another(connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        used.append(contexts[len(used)])
        connection.context = used[-1]

    context.sni_callback = another
    once = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    names = answering("127.0.0.1")
    async with stranger(once, tls=context) as there, Client(allow_networks=LOOPBACK, lookup=names) as ours:
        url = f"https://shop.test:{there.port}/"
        tls = trusting(authority.ca_file)
        answers = [await ours.post(url, HEADERS, BODY, timeout_s=5, tls=tls) for _ in contexts]

    assert all(answer.is_accepted for answer in answers)
    assert used == contexts


@pytest.mark.parametrize("fault", ["unknown authority", "another name", "expired", "not TLS"])
async def test_what_is_not_trusted_is_not_told(fault: str, authority: Authority, tmp_path: Path) -> None:
    stranger_to_us = Authority.make(tmp_path / "another")
    context = {
        "unknown authority": stranger_to_us.server("shop.test"),
        "another name": authority.server("other.test"),
        "expired": authority.server("shop.test", valid_for=timedelta(days=-1)),
        "not TLS": None,
    }[fault]
    async with (
        stranger(OK, tls=context) as there,
        Client(allow_networks=LOOPBACK, lookup=answering("127.0.0.1")) as ours,
    ):
        answer = await ours.post(
            f"https://shop.test:{there.port}/", HEADERS, BODY, timeout_s=1, tls=trusting(authority.ca_file)
        )

    # To who does not speak TLS at all it looks like the beginning of a request: both sides wait.
    assert answer.error is (Fault.TIMEOUT if fault == "not TLS" else Fault.TLS)
    assert there.requests == []


async def test_the_systems_authorities_do_not_know_ours(authority: Authority) -> None:
    names = answering("127.0.0.1")
    async with (
        stranger(OK, tls=authority.server("shop.test")) as there,
        Client(allow_networks=LOOPBACK, lookup=names) as us,
    ):
        answer = await us.post(f"https://shop.test:{there.port}/", HEADERS, BODY, timeout_s=5)

    assert answer.error is Fault.TLS


# --- looking beforehand: a connection, and nothing on it ----------------------------------------------------------------


async def test_who_looks_beforehand_sends_nothing(authority: Authority) -> None:
    async with (
        stranger(OK, tls=authority.server("shop.test")) as there,
        stranger(OK) as without_tls,
        Client(allow_networks=LOOPBACK, lookup=answering("127.0.0.1")) as ours,
    ):
        tls = trusting(authority.ca_file)
        found = await ours.reach(f"https://shop.test:{there.port}/hook", timeout_s=5, tls=tls)
        plain = await ours.reach(without_tls.url, timeout_s=5)

    assert (found, plain) == (None, None)
    assert there.requests == without_tls.requests == []


async def test_it_is_told_what_a_post_would_be(authority: Authority) -> None:
    """By the same gate and in the same words, so that nobody is told that all is well where every delivery will fail."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = closed.getsockname()[1]
        async with (
            stranger(OK, tls=authority.server("other.test")) as misnamed,
            Client(allow_networks=LOOPBACK, lookup=answering("127.0.0.1")) as ours,
            Client(allow_networks=LOOPBACK, lookup=answering("127.0.0.1", "127.0.0.2")) as misled,
            Client(allow_networks=LOOPBACK) as asking,
        ):
            tls = trusting(authority.ca_file)
            found = [
                await ours.reach(f"https://shop.test:{nobody}/", timeout_s=5, tls=tls),
                await ours.reach(f"https://shop.test:{misnamed.port}/", timeout_s=5, tls=tls),
                await misled.reach(f"https://shop.test:{misnamed.port}/", timeout_s=5, tls=tls),
                await asking.reach("https://a..b.test/", timeout_s=5),
            ]
            connections = misnamed.connections

    assert found == [Fault.REFUSED, Fault.TLS, Fault.ADDRESS_FORBIDDEN, Fault.DNS]
    assert connections == 0, "a handshake that failed is no conversation"


async def test_one_bad_address_of_a_name_leaves_the_good_one_to_who_looks() -> None:
    names = answering("127.0.0.3", "127.0.0.1")
    async with stranger(OK) as there, Client(allow_networks=(IPv4Network("127.0.0.0/8"),), lookup=names) as ours:
        found = await ours.reach(f"http://shop.test:{there.port}/", timeout_s=5)

    assert found is None


async def test_looking_ends_in_its_time_whatever_hangs() -> None:
    async def hangs(_: str) -> Sequence[Address]:
        await asyncio.Event().wait()
        return []

    with silent_listener("127.0.0.1") as silent:
        async with (
            asyncio.timeout(5),
            Client(allow_networks=LOOPBACK, lookup=hangs) as lost,
            Client(allow_networks=LOOPBACK) as ours,
        ):
            found = [
                await lost.reach("https://shop.test/", timeout_s=0.05),
                await ours.reach(f"https://127.0.0.1:{silent.getsockname()[1]}/", timeout_s=0.05),
            ]

    assert found == [Fault.TIMEOUT, Fault.TIMEOUT]
