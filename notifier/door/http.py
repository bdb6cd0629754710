"""
The public listener's HTTP, as far as it is rules: limits, what is admitted, and how an answer is written.

Every answer's body comes from the `Service`, also where no request could be read (hostile_inputs, section 1, HTTP level). Nothing
here knows channels, signatures or Kafka, and nothing decodes a path: the target is compared as it came.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from typing import NamedTuple, Protocol

from aiohttp import hdrs
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http import RawRequestMessage
from aiohttp.http_exceptions import BadHttpMethod, HttpProcessingError, LineTooLong

from notifier.errors import Rejected

HOST_BYTES_MAX = 261
"""A name of 253 characters, a colon and a port, with room for a trailing dot."""

CHARSETS = frozenset("utf-8 utf8 gbk gb2312 gb18030 us-ascii iso-8859-1".split())
"""Labels that a form's Content-Type may carry. They decide nothing: the signed field does (R9)."""

_FORM = re.compile(
    r"application/x-www-form-urlencoded[ \t]*(?:;[ \t]*(?:charset[ \t]*=[ \t]*(\"?)([a-z0-9_-]{1,20})\1[ \t]*;?[ \t]*)?)?",
    re.IGNORECASE | re.ASCII,
)
ODD_CODING = re.compile(rb"\ntransfer-encoding:(?! ?chunked\r\n)", re.IGNORECASE)
"""In the head of a chunked request: blanks that the parser passes over but another reader before us may not."""

_REQUEST_LINE = re.compile(rb"(?!POST )[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32} (/[!-~]*)[^\r\n]* HTTP/1\.[01]\r?\n")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a stranger may cost. Times in seconds, sizes in bytes."""

    body_bytes_max: int
    head_bytes_max: int = 16_384
    """Request line and headers together."""
    header_bytes_max: int = 8192
    header_count_max: int = 64
    url_bytes_max: int = 2048
    head_read_s: float = 5.0
    body_read_s: float = 5.0
    idle_s: float = 75.0
    """A kept connection between two requests; longer than the 60 s of common proxies, so that it is they who close."""
    write_s: float = 5.0
    """A client that does not read its answers."""
    linger_s: float = 1.0
    """After an answer that closes, what still arrives is thrown away for so long: closing at once would reset the connection
    and take the answer with it."""
    connections_max: int = 900
    """Below the usual limit of 1024 open files of a process, with room for Kafka."""


class Request(NamedTuple):
    """One whole request on a known path, as it came: nothing is decoded."""

    path: str
    query: str
    content_type: str
    traceparent: str | None
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, a body, and the header lines that belong to them (each ends in CRLF)."""

    status: int
    body: bytes
    headers: bytes


Receive = Callable[[Request], Awaitable[Answer]]
"""Answers a whole request. It raises nothing but cancellation."""


class Service(Protocol):
    """Who stands behind the listener and gives every answer."""

    def at(self, path: str) -> Receive | None:
        """What answers the requests to exactly this path, as of now; None where nothing is served."""
        ...

    def refuse(self, path: str | None, why: Rejected) -> Answer:
        """Answer what HTTP alone decides. The path is None where none could be read, or where it is not known."""
        ...

    def turn_away(self) -> Answer:
        """Answer a connection that is one too many."""
        ...


def on_wire(answer: Answer, *, is_last: bool, has_body: bool = True) -> bytes:
    """The bytes of an answer; `is_last` says that the connection ends with it."""
    phrase = HTTPStatus(answer.status).phrase
    ending = "Connection: close\r\n\r\n" if is_last else "\r\n"
    head = f"HTTP/1.1 {answer.status} {phrase}\r\nDate: {rfc822_formatted_time()}\r\nContent-Length: {len(answer.body)}\r\n"
    return b"".join((head.encode(), answer.headers, ending.encode(), answer.body if has_body else b""))


def admit(message: RawRequestMessage, limits: Limits, *, is_known: bool) -> None:
    """
    Judge a request by its head, before a byte of its body is waited for; `is_known`: whether something is served at its path.

    Raises:
        Rejected: with the contract's status and reason.
    """
    target, headers = message.path, message.headers
    if message.method == "CONNECT":
        raise Rejected(405, "method")
    if not target.startswith("/") or not 1 <= len(headers.get(hdrs.HOST, "")) <= HOST_BYTES_MAX:
        raise Rejected(400, "malformed")
    if len(message.raw_headers) > limits.header_count_max:
        raise Rejected(431, "headers_too_large")
    if not is_known:
        raise Rejected(404, "not_found")
    if message.method != "POST":
        raise Rejected(405, "method")
    _admit_framing(message)
    if not _is_form(headers.get(hdrs.CONTENT_TYPE, "")):
        raise Rejected(415, "content_type")
    if any(coding.lower() != "identity" for coding in headers.getall(hdrs.CONTENT_ENCODING, ())):
        raise Rejected(415, "encoding")
    if int(headers.get(hdrs.CONTENT_LENGTH, "0")) > limits.body_bytes_max:  # digits only: the parser saw to it
        raise Rejected(413, "too_large")


def _admit_framing(message: RawRequestMessage) -> None:
    """One way only to say where a body ends: where two readers disagree about it, requests are smuggled (RFC 9112, 11.2)."""
    if message.version not in ((1, 0), (1, 1)):
        raise Rejected(400, "malformed")
    codings = message.headers.getall(hdrs.TRANSFER_ENCODING, ())
    if codings and (message.version != (1, 1) or len(codings) > 1 or codings[0].lower() != "chunked"):
        raise Rejected(400, "malformed")
    if message.headers.get(hdrs.EXPECT, "100-continue").lower() != "100-continue":
        raise Rejected(400, "malformed")


@lru_cache(maxsize=64)
def _is_form(content_type: str) -> bool:
    match = _FORM.fullmatch(content_type)
    return match is not None and (match[2] is None or match[2].lower() in CHARSETS)


def judge_parse_error(
    error: HttpProcessingError, piece: bytes, limits: Limits, at: Callable[[str], object | None]
) -> Rejected:
    """The contract's answer to what aiohttp's parser (llhttp) would not read."""
    if isinstance(error, LineTooLong):
        is_url = error.args[1] == limits.url_bytes_max
        return Rejected(414, "url_too_long") if is_url else Rejected(431, "headers_too_large")
    if piece.startswith(b"CONNECT "):
        return Rejected(405, "method")
    line = _REQUEST_LINE.match(piece) if isinstance(error, BadHttpMethod) else None
    if line is not None:  # a method that llhttp has no name for
        is_served = at(line[1].partition(b"?")[0].decode("latin-1")) is not None
        return Rejected(405, "method") if is_served else Rejected(404, "not_found")
    return Rejected(400, "malformed")
