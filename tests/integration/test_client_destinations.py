"""Where a URL may lead, and who may be told there: the rows of OUT-* (reference/hostile_inputs.md) about addresses and TLS."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path

import pytest
from aiohttp.abc import ResolveResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from consumers.client import Client, Fault, trusting
from notifier.addresses import Address, Network
from tests.strangers import (
    BODY,
    EVERY_ADDRESS,
    HEADERS,
    LOOPBACK,
    OK,
    answering,
    client,
    silent_listener,
    stranger,
    was_tried,
)

WITHIN_S = 30.0
"""What an answer that comes is waited for, on a machine that has much else to do."""

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
            answer = await ours.post(f"http://{host}:{hidden.getsockname()[1]}/", HEADERS, BODY, timeout_s=WITHIN_S)

        # The HTTP library calls some spellings no URL at all, which is as good.
        assert answer.error in (Fault.ADDRESS_FORBIDDEN, Fault.URL)
        assert not was_tried(hidden)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST"])
async def test_out_01_localhost_is_judged_by_what_it_resolves_to(host: str) -> None:
    """The machine's own resolver answers here."""
    with silent_listener("127.0.0.1") as hidden:
        async with Client() as ours:
            answer = await ours.post(f"http://{host}:{hidden.getsockname()[1]}/", HEADERS, BODY, timeout_s=WITHIN_S)

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
        answer = await ours.post(f"http://{host}/", HEADERS, BODY, timeout_s=WITHIN_S)

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
        answer = await ours.post(f"http://shop.test:{there.port}/", HEADERS, BODY, timeout_s=WITHIN_S)

    assert answer.error is Fault.ADDRESS_FORBIDDEN
    assert there.connections == 0


async def test_out_07_the_address_that_was_judged_is_the_one_that_is_called() -> None:
    """DNS that changes its mind between the check and the connect is never asked the second time. Host stays the name."""
    answers = [[ip_address("127.0.0.1")]]

    async def rebinding(_: str) -> Sequence[Address]:
        return answers.pop() if answers else [ip_address("127.0.0.2")]

    async with stranger(OK) as there, Client(allow_networks=LOOPBACK, lookup=rebinding) as ours:
        answer = await ours.post(f"http://shop.test:{there.port}/", HEADERS, BODY, timeout_s=WITHIN_S)

    assert answer.is_accepted
    assert f"Host: shop.test:{there.port}\r\n".encode() in there.requests[0]


@dataclass
class Rebinding:
    """DNS that answers otherwise each time it is asked."""

    answers: list[tuple[str, ...]]
    asked: int = 0

    async def __call__(self, _: str) -> Sequence[Address]:
        """The next answer; the last one for ever."""
        answer = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        return [ip_address(one) for one in answer]


@pytest.mark.parametrize(
    "later",
    [
        pytest.param(("127.0.0.2",), id="OUT-07 forbidden alone"),
        pytest.param(("127.0.0.1", "127.0.0.2"), id="OUT-06 forbidden beside the allowed one"),
        pytest.param(("fd00::2", "127.0.0.1"), id="OUT-09 AAAA private, A allowed"),
        pytest.param(("::ffff:127.0.0.2",), id="OUT-07 mapped"),
        pytest.param(("127.0.0.1", "64:ff9b:1::7f00:2"), id="OUT-06 behind a network's own NAT64"),
    ],
)
async def test_each_answer_of_dns_is_judged_before_anything_is_connected_to(later: tuple[str, ...]) -> None:
    """Good once is not good again: another port is another lookup, and so is the next one after ten seconds."""
    with silent_listener("127.0.0.2") as hidden:
        port = hidden.getsockname()[1]
        dns = Rebinding([("127.0.0.1",), later])
        async with stranger(OK) as there, Client(allow_networks=LOOPBACK, lookup=dns) as ours:
            before = await ours.post(f"http://shop.test:{there.port}/", HEADERS, BODY, timeout_s=WITHIN_S)
            after = await ours.post(f"http://shop.test:{port}/", HEADERS, BODY, timeout_s=WITHIN_S)

        assert (before.is_accepted, after.error, dns.asked) == (True, Fault.ADDRESS_FORBIDDEN, 2)
        assert not was_tried(hidden)


@pytest.mark.parametrize("answer", [OK, b"HTTP/1.0 204 X\r\n\r\n"], ids=["kept", "closed, and made anew"])
async def test_a_connection_leads_to_the_address_that_was_judged_for_as_long_as_it_is_used(answer: bytes) -> None:
    """Neither a kept connection nor a new one soon after goes where the name has moved to meanwhile."""
    dns = Rebinding([("127.0.0.1",), ("127.0.0.2",)])
    async with stranger(answer) as there, Client(allow_networks=LOOPBACK, lookup=dns) as ours:
        answers = [
            await ours.post(f"http://shop.test:{there.port}/", HEADERS, BODY, timeout_s=WITHIN_S) for _ in range(3)
        ]

    assert all(one.is_accepted for one in answers)
    assert (len(there.requests), dns.asked) == (3, 1)


async def test_an_address_that_comes_from_nowhere_is_judged_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second gate: whoever found the address, no socket is made for a forbidden one."""
    with silent_listener("127.0.0.2") as hidden:
        unjudged = ResolveResult(
            hostname="shop.test",
            host="127.0.0.2",
            port=hidden.getsockname()[1],
            family=socket.AF_INET,
            proto=0,
            flags=0,
        )

        async def resolve(*_: object, **__: object) -> list[ResolveResult]:
            return [unjudged]

        monkeypatch.setattr("consumers.client._JudgingResolver.resolve", resolve)
        async with client() as ours:
            answer = await ours.post(f"http://shop.test:{hidden.getsockname()[1]}/", HEADERS, BODY, timeout_s=WITHIN_S)

        assert answer.error is Fault.ADDRESS_FORBIDDEN
        assert not was_tried(hidden)


async def test_no_connection_outlives_the_policy_under_which_it_was_made() -> None:
    """S13: a reload forbids the address; an idle connection to it would be used without being judged again."""
    came, may_answer = asyncio.Event(), asyncio.Event()

    async def slowly(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(there.requests) == 2:
            came.set()
            await may_answer.wait()
        writer.write(OK)
        await writer.drain()

    async with stranger(slowly) as there, Client(allow_networks=LOOPBACK) as ours:
        assert (await ours.post(there.url, HEADERS, BODY, timeout_s=WITHIN_S)).is_accepted
        async with asyncio.TaskGroup() as tasks:
            under_way = tasks.create_task(ours.post(there.url, HEADERS, BODY, timeout_s=WITHIN_S))
            await came.wait()
            ours.use(allow_networks=[], connections_max=500)
            may_answer.set()

        assert under_way.result().is_accepted, "it began before"
        assert (await ours.post(there.url, HEADERS, BODY, timeout_s=WITHIN_S)).error is Fault.ADDRESS_FORBIDDEN
        ours.use(allow_networks=LOOPBACK, connections_max=500)
        assert (await ours.post(there.url, HEADERS, BODY, timeout_s=WITHIN_S)).is_accepted
    assert (len(there.requests), there.connections) == (3, 2)


async def test_one_bad_address_of_a_name_leaves_the_good_one() -> None:
    """127.0.0.3 is allowed, and nobody listens there."""
    names = answering("127.0.0.3", "127.0.0.1")
    async with stranger(OK) as there, Client(allow_networks=(IPv4Network("127.0.0.0/8"),), lookup=names) as ours:
        answer = await ours.post(f"http://shop.test:{there.port}/", HEADERS, BODY, timeout_s=WITHIN_S)

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
        refused = await ours.post(f"http://{called}:{ours_too.port}/", HEADERS, BODY, timeout_s=WITHIN_S)
        allowed = await ours.post(there.url, HEADERS, BODY, timeout_s=WITHIN_S)

    assert refused.error is Fault.ADDRESS_FORBIDDEN
    assert ours_too.connections == 0
    assert allowed.is_accepted


EVERYWHERE: tuple[Network, ...] = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))


@pytest.mark.parametrize(
    ("host", "called"),
    [
        ("127.0.0.1", EVERY_ADDRESS),
        ("127.0.0.1", "0"),
        ("127.0.0.1", "[::ffff:0.0.0.0]"),
        ("127.0.0.1", "[::ffff:127.0.0.1]"),
        ("127.0.0.1", "[64:ff9b::7f00:1]"),
        ("127.0.0.1", "[2002:7f00:1::]"),
        ("127.0.0.1", "127.1"),
        ("127.0.0.1", "2130706433"),
        ("127.0.0.1", "0x7f.1"),
        ("127.0.0.1", "１２７.0.0.1"),
        ("127.0.0.1", "127.0.0.1."),
        ("127.0.0.1", "localhost"),
        ("::1", "[::]"),
        ("::1", "[0:0:0:0:0:0:0:1]"),
    ],
)
async def test_out_14_no_spelling_and_no_way_round_leads_to_our_own_listener(host: str, called: str) -> None:
    """Even where the operator allows every address there is."""
    with silent_listener(host) as here:
        port = here.getsockname()[1]
        async with Client(allow_networks=EVERYWHERE, forbidden=[(host, port)]) as ours:
            answer = await ours.post(f"http://{called}:{port}/", HEADERS, BODY, timeout_s=WITHIN_S)

        # The HTTP library calls some spellings no URL at all, which is as good.
        assert answer.error in (Fault.ADDRESS_FORBIDDEN, Fault.URL)
        assert not was_tried(here)


@pytest.mark.parametrize(
    ("family", "somewhere"), [(socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "fd00::1")], ids=["IPv4", "IPv6"]
)
async def test_a_listener_on_all_addresses_is_ours_on_each_of_them(family: int, somewhere: str) -> None:
    """This machine's other addresses are found by asking the routing table."""
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((somewhere, 9))
        except OSError:
            pytest.skip("this machine has no address of that family but loopback")
        own = probe.getsockname()[0]
    with silent_listener(own) as here:
        port = here.getsockname()[1]
        for listener in (EVERY_ADDRESS, "::", "", "localhost"):
            async with Client(allow_networks=EVERYWHERE, forbidden=[(listener, port)]) as ours:
                literal = f"[{own}]" if family == socket.AF_INET6 else own
                answer = await ours.post(f"http://{literal}:{port}/", HEADERS, BODY, timeout_s=WITHIN_S)

            assert answer.error is Fault.ADDRESS_FORBIDDEN
            assert not was_tried(here)


async def test_a_name_without_an_address_is_a_dns_failure() -> None:
    async def unknown(_: str) -> Sequence[Address]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async with Client(allow_networks=LOOPBACK, lookup=unknown) as ours:
        answer = await ours.post("http://shop.test/", HEADERS, BODY, timeout_s=WITHIN_S)

    assert (answer.status_code, answer.error) == (None, Fault.DNS)


@pytest.mark.parametrize("host", ["a..b.test", ".a.test", "a" * 64 + ".test"])
async def test_what_the_systems_resolver_cannot_even_be_asked_for_is_a_dns_failure(host: str) -> None:
    """Python's getaddrinfo answers these with a UnicodeError, which once left `post` and ended the whole fan-out."""
    async with client() as ours:
        answer = await ours.post(f"http://{host}/", HEADERS, BODY, timeout_s=WITHIN_S)

    assert (answer.status_code, answer.error) == (None, Fault.DNS)


async def test_the_deadline_covers_the_lookup() -> None:
    async def hangs(_: str) -> Sequence[Address]:
        await asyncio.Event().wait()
        return []

    async with asyncio.timeout(WITHIN_S), Client(allow_networks=LOOPBACK, lookup=hangs) as ours:
        answer = await ours.post("http://shop.test/", HEADERS, BODY, timeout_s=0.05)

    assert answer.error is Fault.TIMEOUT


@pytest.mark.parametrize(
    "url", ["ftp://127.0.0.1/", "http://", "127.0.0.1:80", "http://127.0.0.1:99999/", "http://[::1/"]
)
async def test_what_is_no_url_is_called_so(url: str) -> None:
    async with client() as ours:
        answer = await ours.post(url, HEADERS, BODY, timeout_s=WITHIN_S)

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

    def itself(self) -> ssl.SSLContext:
        """A server that shows the authority's own certificate, as a self-signed one is."""
        return _context(self.directory / "itself.pem", self.key, self.certificate)

    def server(self, name: str, *, valid_for: timedelta = timedelta(days=1)) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _certificate(name, key, "authority", self.key, valid_for=valid_for, is_ca=False)
        return _context(self.directory / f"{name}-{valid_for.days}.pem", key, certificate)


def _context(file: Path, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> ssl.SSLContext:
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
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
            f"https://shop.test:{there.port}/",
            HEADERS,
            BODY,
            timeout_s=WITHIN_S,
            tls=trusting(authority.ca_file.read_text()),
        )

    assert answer.is_accepted
    assert asked == ["shop.test"]
    assert f"Host: shop.test:{there.port}\r\n".encode() in there.requests[0]


async def test_a_certificate_is_for_a_name_and_not_for_the_address_behind_it(authority: Authority) -> None:
    async with stranger(OK, tls=authority.server("shop.test")) as there, client() as ours:
        answer = await ours.post(
            f"https://127.0.0.1:{there.port}/",
            HEADERS,
            BODY,
            timeout_s=WITHIN_S,
            tls=trusting(authority.ca_file.read_text()),
        )

    assert answer.error is Fault.TLS
    assert there.requests == []


async def test_one_endpoints_trust_is_not_anothers(authority: Authority, tmp_path: Path) -> None:
    """The connection that one made under its own `ca_file` is not used by who would not have made it."""
    other = Authority.make(tmp_path / "another")
    async with (
        stranger(OK, tls=authority.server("shop.test")) as there,
        Client(allow_networks=LOOPBACK, lookup=answering("127.0.0.1")) as ours,
    ):
        url = f"https://shop.test:{there.port}/"
        trusted = await ours.post(url, HEADERS, BODY, timeout_s=WITHIN_S, tls=trusting(authority.ca_file.read_text()))
        others = [
            await ours.post(url, HEADERS, BODY, timeout_s=WITHIN_S, tls=tls)
            for tls in (None, trusting(other.ca_file.read_text()))
        ]

    assert trusted.is_accepted
    assert [one.error for one in others] == [Fault.TLS] * 2
    assert len(there.requests) == 1


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
        tls = trusting(authority.ca_file.read_text())
        answers = [await ours.post(url, HEADERS, BODY, timeout_s=WITHIN_S, tls=tls) for _ in contexts]

    assert all(answer.is_accepted for answer in answers)
    assert used == contexts


@pytest.mark.parametrize(
    "fault", ["unknown authority", "self-signed", "another name", "expired", "not valid yet", "not TLS"]
)
async def test_what_is_not_trusted_is_not_told(fault: str, authority: Authority, tmp_path: Path) -> None:
    stranger_to_us = Authority.make(tmp_path / "another")
    context = {
        "unknown authority": stranger_to_us.server("shop.test"),
        "self-signed": stranger_to_us.itself(),
        "another name": authority.server("other.test"),
        "expired": authority.server("shop.test", valid_for=timedelta(days=-1)),
        "not valid yet": authority.server("shop.test", valid_for=timedelta(days=31)),
        "not TLS": None,
    }[fault]
    timeout_s = 0.5 if context is None else WITHIN_S
    async with (
        stranger(OK, tls=context) as there,
        Client(allow_networks=LOOPBACK, lookup=answering("127.0.0.1")) as ours,
    ):
        answer = await ours.post(
            f"https://shop.test:{there.port}/",
            HEADERS,
            BODY,
            timeout_s=timeout_s,
            tls=trusting(authority.ca_file.read_text()),
        )

    # To who does not speak TLS at all it looks like the beginning of a request: both sides wait for as long as they may.
    assert answer.error is (Fault.TIMEOUT if fault == "not TLS" else Fault.TLS)
    assert there.requests == []


async def test_the_systems_authorities_do_not_know_ours(authority: Authority) -> None:
    names = answering("127.0.0.1")
    async with (
        stranger(OK, tls=authority.server("shop.test")) as there,
        Client(allow_networks=LOOPBACK, lookup=names) as us,
    ):
        answer = await us.post(f"https://shop.test:{there.port}/", HEADERS, BODY, timeout_s=WITHIN_S)

    assert answer.error is Fault.TLS


# --- looking beforehand: a connection, and nothing on it ----------------------------------------------------------------


async def test_who_looks_beforehand_sends_nothing(authority: Authority) -> None:
    async with (
        stranger(OK, tls=authority.server("shop.test")) as there,
        stranger(OK) as without_tls,
        Client(allow_networks=LOOPBACK, lookup=answering("127.0.0.1")) as ours,
    ):
        tls = trusting(authority.ca_file.read_text())
        found = await ours.reach(f"https://shop.test:{there.port}/hook", timeout_s=WITHIN_S, tls=tls)
        plain = await ours.reach(without_tls.url, timeout_s=WITHIN_S)

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
            tls = trusting(authority.ca_file.read_text())
            found = [
                await ours.reach(f"https://shop.test:{nobody}/", timeout_s=WITHIN_S, tls=tls),
                await ours.reach(f"https://shop.test:{misnamed.port}/", timeout_s=WITHIN_S, tls=tls),
                await misled.reach(f"https://shop.test:{misnamed.port}/", timeout_s=WITHIN_S, tls=tls),
                await asking.reach("https://a..b.test/", timeout_s=WITHIN_S),
            ]
            connections = misnamed.connections

    assert found == [Fault.REFUSED, Fault.TLS, Fault.ADDRESS_FORBIDDEN, Fault.DNS]
    assert connections == 0, "a handshake that failed is no conversation"


async def test_one_bad_address_of_a_name_leaves_the_good_one_to_who_looks() -> None:
    names = answering("127.0.0.3", "127.0.0.1")
    async with stranger(OK) as there, Client(allow_networks=(IPv4Network("127.0.0.0/8"),), lookup=names) as ours:
        found = await ours.reach(f"http://shop.test:{there.port}/", timeout_s=WITHIN_S)

    assert found is None


async def test_looking_ends_in_its_time_whatever_hangs() -> None:
    async def hangs(_: str) -> Sequence[Address]:
        await asyncio.Event().wait()
        return []

    with silent_listener("127.0.0.1") as silent:
        async with (
            asyncio.timeout(WITHIN_S),
            Client(allow_networks=LOOPBACK, lookup=hangs) as lost,
            Client(allow_networks=LOOPBACK) as ours,
        ):
            found = [
                await lost.reach("https://shop.test/", timeout_s=0.05),
                await ours.reach(f"https://127.0.0.1:{silent.getsockname()[1]}/", timeout_s=0.05),
            ]

    assert found == [Fault.TIMEOUT, Fault.TIMEOUT]
