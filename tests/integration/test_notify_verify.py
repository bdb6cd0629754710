"""Asking AlipayHK: what is sent to the gateway, and what each of its answers means (hostile_inputs, C12, C27, C28, MEAN-46)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs

import pytest

from notifier.door.notify_verify import ANSWER_BYTES_MAX, NotifyVerifier
from notifier.errors import Rejected, Unavailable

PARTNER = "2088000000000001"
WITHIN_S = 30.0
"""What an answer that comes is waited for, on a machine that has much else to do."""
SOON_S = 0.2
"""What silence is waited for."""


@dataclass
class Gateway:
    """A gateway that gives one answer, and what it was asked."""

    answer: bytes
    is_silent: bool = False
    requests: list[bytes] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        """Its address, as a channel names it."""
        return f"http://127.0.0.1:{self.port}/gateway.do"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.requests.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(self.answer)
        if self.is_silent:
            await reader.read()
        writer.close()


@asynccontextmanager
async def running(gateway: Gateway, timeout_s: float = 2 * WITHIN_S) -> AsyncIterator[NotifyVerifier]:
    """The gateway on a free port, and a verifier to ask it."""
    async with (
        await asyncio.start_server(gateway.serve, "127.0.0.1", 0) as server,
        NotifyVerifier(timeout_s=timeout_s) as verifier,
    ):
        gateway.port = server.sockets[0].getsockname()[1]
        yield verifier


def http(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    """An answer that ends with its connection."""
    return b"\r\n".join((b"HTTP/1.1 " + status, b"Connection: close", *headers, b"", body))


async def test_yes_lets_the_message_in_and_the_question_says_who_asks() -> None:
    """`true` exactly, for our own partner number."""
    gateway = Gateway(http(b"true"))
    async with running(gateway) as verifier:
        await verifier.confirm(gateway.url, PARTNER, "0123456789abcdef")

    (sent,) = gateway.requests
    method, target, _ = sent.split(b"\r\n")[0].split(b" ")
    assert method == b"GET"
    assert b"\r\nAccept-Encoding: identity\r\n" in sent
    assert parse_qs(target.partition(b"?")[2], strict_parsing=True) == {
        b"service": [b"notify_verify"],
        b"partner": [PARTNER.encode()],
        b"notify_id": [b"0123456789abcdef"],
    }


@pytest.mark.parametrize("notify_id", ["x&partner=attacker&service=..", "a+b c%20#?/", "%26partner%3Dattacker"])
async def test_an_id_brings_no_parameters_of_its_own(notify_id: str) -> None:
    """C28: it arrives as the one value it is."""
    gateway = Gateway(http(b"true"))
    async with running(gateway) as verifier:
        await verifier.confirm(gateway.url, PARTNER, notify_id)

    target = gateway.requests[0].split(b" ")[1]
    asked = parse_qs(target.partition(b"?")[2], strict_parsing=True)
    assert asked[b"notify_id"] == [notify_id.encode()]
    assert asked[b"partner"] == [PARTNER.encode()]


@pytest.mark.parametrize("notify_id", [None, ""])
async def test_without_an_id_there_is_nothing_to_ask(notify_id: str | None) -> None:
    """C26: refused, and nobody is called."""
    gateway = Gateway(http(b"true"))
    async with running(gateway) as verifier:
        with pytest.raises(Rejected, match="401 notify_id"):
            await verifier.confirm(gateway.url, PARTNER, notify_id)

    assert gateway.requests == []


async def test_no_refuses_the_message() -> None:
    """C12: AlipayHK did not make it for us."""
    gateway = Gateway(http(b"false"))
    async with running(gateway) as verifier:
        with pytest.raises(Rejected, match="401 notify_id"):
            await verifier.confirm(gateway.url, PARTNER, "id")


@pytest.mark.parametrize(
    ("answer", "is_silent"),
    [
        pytest.param(http(b"TRUE"), False, id="another case"),
        pytest.param(http(b" true"), False, id="a blank before"),
        pytest.param(http(b"true\0"), False, id="something behind"),
        pytest.param(http(b"<html>true</html>"), False, id="HTML"),
        pytest.param(http(b""), False, id="nothing"),
        pytest.param(http(b"true", status=b"500 Oops"), False, id="a status of failure"),
        pytest.param(http(b"", b"Location: /elsewhere", status=b"302 Found"), False, id="a redirect is not followed"),
        pytest.param(http(b"true" + b" " * ANSWER_BYTES_MAX), False, id="much too long"),
        pytest.param(http(b"tr", b"Content-Length: 4"), False, id="cut off"),
        pytest.param(b"", True, id="MEAN-46 silence"),
        pytest.param(http(b"true", b"Content-Length: 5"), True, id="silence in the middle"),
        pytest.param(http(b"\x1f\x8b", b"Content-Encoding: gzip"), False, id="compressed"),
        pytest.param(b"no HTTP at all\r\n\r\n", False, id="no HTTP"),
        pytest.param(b"", False, id="closed at once"),
    ],
)
async def test_anything_else_is_no_answer(answer: bytes, is_silent: bool) -> None:
    """C27: neither believed nor refused; AlipayHK sends again. It ends in time."""
    gateway = Gateway(answer, is_silent)
    async with running(gateway, SOON_S if is_silent else 2 * WITHIN_S) as verifier, asyncio.timeout(WITHIN_S):
        with pytest.raises(Unavailable) as raised:
            await verifier.confirm(gateway.url, PARTNER, "id")

    assert (raised.value.what, raised.value.why) == ("alipayhk", "notify_verify")
    assert gateway.requests


async def test_nobody_whom_the_gateway_names_is_asked_in_its_place() -> None:
    """A redirect is no answer, even where it leads to somebody who says yes."""
    other = Gateway(http(b"true"))
    async with running(other):
        gateway = Gateway(http(b"", b"Location: " + other.url.encode(), status=b"302 Found"))
        async with running(gateway) as verifier:
            with pytest.raises(Unavailable):
                await verifier.confirm(gateway.url, PARTNER, "id")

    assert other.requests == []


async def test_a_gateway_that_is_not_there_is_no_answer() -> None:
    """Nor is a connection that is refused."""
    gateway = Gateway(b"")
    async with running(gateway):
        pass
    async with NotifyVerifier(timeout_s=2 * WITHIN_S) as verifier, asyncio.timeout(WITHIN_S):
        with pytest.raises(Unavailable):
            await verifier.confirm(gateway.url, PARTNER, "id")


async def test_no_proxy_of_the_environment_hears_the_question(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sets a variable must not be able to say yes for AlipayHK."""
    proxy = Gateway(http(b"true"))
    gateway = Gateway(http(b"false"))
    async with running(proxy), running(gateway) as verifier:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        with pytest.raises(Rejected):
            await verifier.confirm(gateway.url, PARTNER, "id")

    assert proxy.requests == []
