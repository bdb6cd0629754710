"""
The only file that calls strangers.

A destination may be slow, hostile or misled; whatever it does becomes an `Answer`, never an exception, and costs at most its
deadline and 64 KiB. Where it leads is judged at the moment of connecting, on the very address that is connected to: a check of
the name beforehand would be a check of another answer (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache, partial
from ipaddress import ip_address
from types import TracebackType
from typing import Any, Self, cast

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawResponseMessage
from yarl import URL

from notifier.addresses import Address, Network, is_allowed, literal, reached

BODY_BYTES_MAX = 64 * 1024
"""Of an answer's body no more than this is read. Nothing in it is used: it is read so that the connection can be used again."""

_ANSWER_BYTES_MAX = BODY_BYTES_MAX + 32 * 1024
"""Of all that comes in answer to one POST, what is no body included: heads, interim answers, sizes of chunks, trailers."""

_MESSAGES_MAX = 16
"""Heads in answer to one POST, interim ones (100 Continue, 103 Early Hints) included. Each costs far more than its bytes."""

_PIECE_BYTES = 1024
"""So much is parsed before it is counted again: some fifty heads, at worst."""

_IDLE_S = 4.0
"""An idle connection is closed before the destination does it (Node's default is 5 s): a POST must not run into that."""

_TRUSTS_MAX = 4096
"""Kept at once: more than there are merchants with an authority of their own, and what a reload replaced goes some time."""

_LOOKUPS_MAX = 64
"""Names being looked up at one moment; one whose server hangs holds a thread for as long as the system's resolver waits."""


class Fault(StrEnum):
    """Why there is no complete answer. The values stand in the deliveries log and in log lines."""

    TIMEOUT = "timeout"
    """Not finished within the deadline."""
    REFUSED = "refused"
    """Nobody listens there."""
    RESET = "reset"
    """The connection ended before the answer did; whether the event was taken is unknown."""
    UNREACHABLE = "unreachable"
    """No way to that address."""
    DNS = "dns"
    """The name has no address, or its servers do not say."""
    TLS = "tls"
    """No handshake, or a certificate that is not trusted."""
    ADDRESS_FORBIDDEN = "address_forbidden"
    """It leads to an address that is not to be called, or to one of our own listeners. No packet was sent."""
    PROTOCOL = "protocol"
    """What came is not HTTP."""
    URL = "url"
    """The URL cannot be called at all."""
    EXHAUSTED = "exhausted"
    """Ours, not the destination's: no sockets or ports are left on this machine."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How one POST ended. Both a status and an error: the head of the answer came, its end did not."""

    status_code: int | None
    error: Fault | None
    duration_ms: float
    """From the start of the connect to the end of the answer."""
    retry_after: str | None = None
    """As the destination wrote it; `backoff.retry_after_s` reads it."""

    @property
    def is_accepted(self) -> bool:
        """Any 2xx that came to its end. A body beyond the bound is no fault: its head had said yes."""
        return self.error is None and self.status_code is not None and 200 <= self.status_code <= 299


Lookup = Callable[[str], Awaitable[Sequence[Address]]]
"""Asks for the addresses of a name. Raises OSError (`socket.gaierror`) if there are none."""


class Client:
    """
    Calls endpoints. An async context manager; one for a process, since it holds the connections that are used again.

    `allow_networks`: addresses outside the public internet that may be called. `forbidden`: our own listeners as (host, port),
    not called even where `allow_networks` has them; a host that is unspecified (0.0.0.0) or a name stands for each address of
    this machine. `connections_max`: at least what the callers do at once, else they wait for each other inside the deadline;
    `connections_per_host_max`: 0 for no bound but that one.
    """

    def __init__(
        self,
        *,
        allow_networks: Iterable[Network] = (),
        forbidden: Collection[tuple[str, int]] = (),
        connections_max: int = 500,
        connections_per_host_max: int = 0,
        lookup: Lookup | None = None,
    ) -> None:
        self._allow_networks = tuple(allow_networks)
        self._forbidden = forbidden
        self._connections_max = connections_max
        self._connections_per_host_max = connections_per_host_max
        self._lookup = lookup
        self._lines: _Lines | None = None
        self._former: list[_Lines] = []
        """Those of an older policy, until nothing is under way on them."""

    async def __aenter__(self) -> Self:
        """Open; nothing is connected yet."""
        self._lookup = self._lookup or _SystemLookup(_LOOKUPS_MAX)
        self._lines = self._open(self._lookup)
        return self

    def _open(self, lookup: Lookup) -> _Lines:
        gate = _Gate(self._allow_networks, self._forbidden)
        resolver = _JudgingResolver(lookup, gate)
        connector = _BoundedConnector(
            resolver=resolver,
            socket_factory=gate.open_socket,
            # Lookups of one name that are under way are shared, and an answer (already judged) serves this long.
            use_dns_cache=True,
            ttl_dns_cache=10,
            limit=self._connections_max,
            limit_per_host=self._connections_per_host_max,
            keepalive_timeout=_IDLE_S,
        )
        session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            # One deadline, around all of it, is set by `post`; aiohttp's own would be second ones.
            timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None),
            headers={"Accept-Encoding": "identity"},
            read_bufsize=BODY_BYTES_MAX,
            max_line_size=8190,
            max_field_size=8190,
        )
        return _Lines(gate, resolver, session)

    def use(self, *, allow_networks: Iterable[Network], connections_max: int) -> None:
        """
        Take this policy from the next POST on. What is under way ends as it began, and no connection of before is used again: one
        that was made under another policy may lead to where none may lead now.
        """
        assert self._lines is not None, "the client is open"
        assert self._lookup is not None, "it was there when it was opened"
        wanted = (tuple(allow_networks), connections_max)
        if wanted == (self._allow_networks, self._connections_max):
            return
        self._allow_networks, self._connections_max = wanted
        self._former.append(self._lines)
        self._lines = self._open(self._lookup)

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the connections that are idle."""
        for lines in (*self._former, *([self._lines] if self._lines else [])):
            await lines.session.close()

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, *, timeout_s: float, tls: ssl.SSLContext | None = None
    ) -> Answer:
        """
        POST once; `timeout_s` is over connect, headers and body together.

        Redirects are not followed: the URL is what was signed for and judged. `tls` is whom to trust (`trusting`); None: the
        system's authorities. Cancellation passes through.
        """
        assert self._lines is not None, "the client is open"
        lines = self._lines
        lines.under_way += 1
        started = time.perf_counter()  # finer than uvloop's clock, which counts milliseconds
        status: int | None = None
        retry_after: str | None = None
        error: Fault | None = None
        try:
            async with (
                asyncio.timeout(timeout_s),
                lines.session.post(url, data=body, headers=headers, allow_redirects=False, ssl=tls or True) as response,
            ):
                status = response.status
                retry_after = response.headers.get("Retry-After")
                await _read_bounded(response)
        except TimeoutError:
            error = Fault.TIMEOUT
        except _TooMuch:
            error = Fault.PROTOCOL if status is None else None  # as with a body beyond the bound: the head had spoken
        except (aiohttp.ClientError, OSError) as exc:
            error = _fault(exc)
        finally:
            lines.under_way -= 1
            if self._former:
                await self._hang_up_idle()
        return Answer(status, error, (time.perf_counter() - started) * 1000.0, retry_after)

    async def _hang_up_idle(self) -> None:
        over = [lines for lines in self._former if not lines.under_way]
        self._former = [lines for lines in self._former if lines.under_way]
        for lines in over:
            await lines.session.close()

    async def reach(self, url: str, *, timeout_s: float, tls: ssl.SSLContext | None = None) -> Fault | None:
        """
        Connect as `post` would, TLS included, send nothing and hang up; why that could not be done, or None.

        For who wants to know beforehand. What it finds says nothing about the next moment.
        """
        assert self._lines is not None, "the client is open"
        lines = self._lines
        to = URL(url)
        try:
            async with asyncio.timeout(timeout_s):
                found = await lines.resolver.resolve(to.raw_host or "", to.port or 443)
                await _connect(lines.gate, found, to, tls)
        except TimeoutError:
            return Fault.TIMEOUT
        except socket.gaierror:
            return Fault.DNS
        except _Forbidden:
            return Fault.ADDRESS_FORBIDDEN
        except OSError as error:
            return _fault(error)
        return None


@dataclass(slots=True)
class _Lines:
    """The connections of one policy."""

    gate: _Gate
    resolver: _JudgingResolver
    session: aiohttp.ClientSession
    under_way: int = 0
    """POSTs that have begun and not ended."""


async def _connect(gate: _Gate, found: Sequence[ResolveResult], to: URL, tls: ssl.SSLContext | None) -> None:
    """To the first address that takes the connection; the error of the last one where none does."""
    context = (tls or ssl.create_default_context()) if to.scheme == "https" else None
    name = to.raw_host if context is not None else None
    for at, one in enumerate(found, start=1):
        where = (one["host"], one["port"])
        sock = gate.open_socket((one["family"], socket.SOCK_STREAM, one["proto"], "", where))
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, where)
            _, writer = await asyncio.open_connection(sock=sock, ssl=context, server_hostname=name)
        except BaseException as error:
            sock.close()
            if at == len(found) or not isinstance(error, OSError):
                raise
            continue
        writer.transport.abort()  # not a farewell that somebody would have to take
        return


async def _read_bounded(response: aiohttp.ClientResponse) -> None:
    """Read the body to its end, or to the bound; then the connection is closed instead of used again."""
    size = 0
    while chunk := await response.content.readany():
        size += len(chunk)
        if size > BODY_BYTES_MAX:
            response.close()
            return


class _TooMuch(aiohttp.ClientPayloadError):
    """More came than an answer may be long."""


class _BoundedHandler(ResponseHandler):
    """
    A connection that hangs up on who sends too much, or what was not asked for.

    A body is bounded by who reads it. Nobody reads what is around it: interim answers without end once held up the whole loop for
    seconds, and everybody else's deliveries with it, for the library parses all that a socket has at one go. And what comes after
    the end of an answer would be taken for the answer to the next request.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._received = 0
        self._messages = 0
        self._has_answered = False

    def set_response_params(self, **params: Any) -> None:  # passed through as it came
        """A request begins: what comes now is in answer to it."""
        self._received = self._messages = 0
        self._has_answered = False
        super().set_response_params(**params)

    def feed_data(self, data: tuple[RawResponseMessage, aiohttp.StreamReader], size: int = 0) -> None:
        """A head was parsed. A second answer to one request is none; it would wait here for the next one."""
        if self._has_answered:
            self._hang_up()
            return
        self._messages += 1
        self._has_answered = data[0].code >= 200
        super().feed_data(data, size)

    def data_received(self, data: bytes) -> None:
        """Parse as much of it as an answer may be long."""
        view = memoryview(data)
        for start in range(0, max(len(data), 1), _PIECE_BYTES):  # none: what was parsed already goes on
            piece = bytes(view[start : start + _PIECE_BYTES])
            self._received += len(piece)
            if self._received > _ANSWER_BYTES_MAX or self._messages > _MESSAGES_MAX:
                self._hang_up()
                return
            super().data_received(piece)
            if self.exception() is not None:
                return

    def _hang_up(self) -> None:
        if self.exception() is None:
            if self._payload is not None:
                self._payload.set_exception(_TooMuch())
            self.set_exception(_TooMuch())
        if self.transport is not None:
            self.transport.abort()


class _BoundedConnector(aiohttp.TCPConnector):
    """
    Makes connections that are bounded. The library has no public place for that; a test sends without end, and would be red
    where this is no longer heeded.
    """

    def __init__(self, **options: Any) -> None:  # passed through as they came
        super().__init__(**options)
        self._factory = cast("partial[ResponseHandler]", partial(_BoundedHandler, self._loop))


@lru_cache(_TRUSTS_MAX)
def trusting(authorities: str) -> ssl.SSLContext:
    """
    TLS that trusts these authorities alone (certificates in PEM). Kept: connections are shared by those who share it.

    Raises:
        ssl.SSLError: there is no certificate among it.
    """
    return ssl.create_default_context(cadata=authorities)


class _Forbidden(OSError):
    """An address that is not to be called. An OSError, since it travels through the HTTP library's connecting."""


class _Gate:
    """Judges each address on which a connection would be made."""

    def __init__(self, allow_networks: tuple[Network, ...], forbidden: Collection[tuple[str, int]]) -> None:
        self._allow_networks = allow_networks
        self._forbidden: set[tuple[Address, int]] = set()
        self._ports_everywhere: set[int] = set()
        for host, port in forbidden:
            ip = literal(host)
            if ip is None or ip.is_unspecified:
                self._ports_everywhere.add(port)
            else:
                self._forbidden.add((reached(ip), port))

    def judge(self, ip: Address, port: int) -> None:
        """Raises `_Forbidden` if this address, or this port on it, is not to be called."""
        if not is_allowed(ip, self._allow_networks):
            raise _Forbidden("address is not allowed")
        ip = reached(ip)
        if (ip, port) in self._forbidden or (port in self._ports_everywhere and _is_own(ip)):
            raise _Forbidden("address is our own listener")

    def open_socket(
        self, addr_info: tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[object, ...]]
    ) -> socket.socket:
        """
        Make the socket for one connect, if its address may be called.

        The last gate, behind the resolver's: it sees what is connected to, whoever found it; literal addresses, for which no
        resolver is asked, among them.
        """
        family, kind, protocol, _, sockaddr = addr_info
        self.judge(ip_address(str(sockaddr[0])), int(str(sockaddr[1])))
        return socket.socket(family, kind, protocol)


def _is_own(ip: Address) -> bool:
    """Whether an address is this machine's: what goes to it would come from it. Asks the routing table; sends nothing."""
    if ip.is_loopback or ip.is_unspecified:
        return True
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(ip), 9))
            return ip_address(probe.getsockname()[0]) == ip
    except OSError:
        return False


class _JudgingResolver(AbstractResolver):
    """Gives the addresses of a name if every one of them may be called, else none: which one is tried is not ours to choose."""

    def __init__(self, lookup: Lookup, gate: _Gate) -> None:
        self._lookup = lookup
        self._gate = gate

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        addresses = await self._lookup(host)
        for ip in addresses:
            self._gate.judge(ip, port)
        return [
            ResolveResult(
                hostname=host,
                host=str(ip),
                port=port,
                family=socket.AF_INET if ip.version == 4 else socket.AF_INET6,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for ip in addresses
        ]

    async def close(self) -> None:
        """Nothing is held here."""


class _SystemLookup:
    """
    The system's resolver, as all other programs of the machine use it.

    A thread for each name, and none of a pool's: names that hang must not take those of the loop's other work, and Python waits
    for a pool's threads before a process ends, for as long as the system's resolver waits for its servers.
    """

    def __init__(self, at_once_max: int) -> None:
        self._free = asyncio.Semaphore(at_once_max)

    async def __call__(self, host: str) -> Sequence[Address]:
        await self._free.acquire()
        loop = asyncio.get_running_loop()
        found: asyncio.Future[list[Address]] = loop.create_future()
        threading.Thread(target=self._ask, args=(host, loop, found), name=f"lookup of {host}", daemon=True).start()
        return await found

    def _ask(self, host: str, loop: asyncio.AbstractEventLoop, found: asyncio.Future[list[Address]]) -> None:
        addresses, failure = list[Address](), None
        try:
            addresses = _addresses_of(host)
        except OSError as error:
            failure = error
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(self._answer, found, addresses, failure)

    def _answer(self, found: asyncio.Future[list[Address]], addresses: list[Address], failure: OSError | None) -> None:
        # only now, though who asked may be gone long since: what is bounded are the threads
        self._free.release()
        if found.done():
            return
        if failure is not None:
            found.set_exception(failure)
        else:
            found.set_result(addresses)


def _addresses_of(host: str) -> list[Address]:
    # AI_ADDRCONFIG: no addresses of a family that this machine does not speak.
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    except ValueError as error:  # UnicodeError among them: an empty label, one of more than 63 characters
        raise socket.gaierror(socket.EAI_NONAME, "no name that could be looked up") from error
    return [_address(sockaddr) for *_, sockaddr in found]


async def loop_lookup(host: str) -> Sequence[Address]:
    """The system's resolver, as the running event loop asks it: for who has a loop that is made for it."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            host, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
        )
    except ValueError as error:
        raise socket.gaierror(socket.EAI_NONAME, "no name that could be looked up") from error
    return [_address(sockaddr) for *_, sockaddr in found]


def _address(sockaddr: tuple[object, ...]) -> Address:
    """The address of a socket address; the zone of IPv6 (its fourth item) stays part of it."""
    bare = str(sockaddr[0]).partition("%")[0]
    has_zone = len(sockaddr) == 4 and sockaddr[3] != 0
    return ip_address(f"{bare}%{sockaddr[3]}" if has_zone else bare)


_ERRNOS = {
    errno.ECONNREFUSED: Fault.REFUSED,
    errno.ECONNRESET: Fault.RESET,
    errno.ECONNABORTED: Fault.RESET,
    errno.EPIPE: Fault.RESET,
    errno.ETIMEDOUT: Fault.TIMEOUT,
    errno.EMFILE: Fault.EXHAUSTED,
    errno.ENFILE: Fault.EXHAUSTED,
    errno.ENOBUFS: Fault.EXHAUSTED,
    errno.ENOMEM: Fault.EXHAUSTED,
    errno.EADDRNOTAVAIL: Fault.EXHAUSTED,
}


def _fault(error: aiohttp.ClientError | OSError) -> Fault:
    """The word for what went wrong. Narrow kinds first: aiohttp's errors inherit from one another."""
    match error:
        case aiohttp.ClientConnectorError(os_error=_Forbidden()):
            return Fault.ADDRESS_FORBIDDEN
        case aiohttp.ClientConnectorDNSError():
            return Fault.DNS
        case aiohttp.ClientSSLError() | ssl.SSLError():
            return Fault.TLS
        case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError():
            return Fault.URL
        case aiohttp.ClientResponseError():
            return Fault.PROTOCOL
        case aiohttp.ClientConnectorError(os_error=cause):
            return _ERRNOS.get(cause.errno or 0, Fault.UNREACHABLE)
        case OSError(errno=int(number)):
            return _ERRNOS.get(number, Fault.RESET)
        case _:
            # ServerDisconnectedError, ClientPayloadError: it stopped in the middle.
            return Fault.RESET
