"""Endpoints: merchants' URLs, what they want to hear, and what a URL may be."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import Field, field_validator, model_validator
from yarl import URL

from notifier.addresses import Network, is_allowed, literal
from notifier.settings.types import Count, FromJson, Name, Seconds, Table, read_certificates, read_secret
from notifier.webhooks import Secret

EVENT_TYPES = (
    "order.registered",
    "order.pending",
    "order.paid",
    "order.finalized",
    "order.closed",
    "order.refunded",
    "order.refund_failed",
    "order.flagged",
    "order.noted",
    "order.settled",
    "order.discrepancy",
)
"""Contract, section 6."""

_BUT_NOTED = tuple(name for name in EVENT_TYPES if name != "order.noted")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]{0,1024}")
_HEADERS_MAX = 16
# What the webhook itself says (contract, section 7), and what belongs to the connection (RFC 9110, 7.6.1).
_OUR_HEADERS = frozenset(
    "accept-encoding connection content-encoding content-length content-type expect host keep-alive proxy-authorization "
    "proxy-connection te trailer transfer-encoding upgrade user-agent".split()
)
SECRETS_MAX = 3
Start = Literal["now", "earliest"]
_HOST_MAX, _LABEL_MAX = 253, 63


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One merchant's URL, ready to be called."""

    name: str
    url: str = field(repr=False)  # a path may be as good as a password
    channels: tuple[str, ...]
    """Names of channels, or `*` alone for all."""
    events: tuple[str, ...]
    secrets: tuple[Secret, ...] = field(repr=False)
    timeout_s: float
    concurrency: int
    headers: Mapping[str, str] = field(repr=False)
    ca_file: Path | None
    start: Start = "now"
    """Where it begins when it is met for the first time: with what comes next, or with all that the orders topic holds."""
    authorities: str | None = field(default=None, repr=False)
    """The certificates in PEM that `ca_file` held when the settings were read: it may be replaced while they are in use."""

    def wants(self, channel: str, event_type: str, flags_added: Collection[str] = ()) -> bool:
        """Whether an event is for this endpoint. Who wants `order.flagged` also hears what adds flags under another type."""
        if self.channels != ("*",) and channel not in self.channels:
            return False
        return self._matches(event_type) or (bool(flags_added) and self._matches("order.flagged"))

    def _matches(self, event_type: str) -> bool:
        return any(fnmatchcase(event_type, pattern) for pattern in self.events)


class EndpointSettings(Table):
    """`[[endpoints]]` as it is written."""

    name: Name
    url: str = Field(repr=False)
    channels: Annotated[tuple[str, ...], FromJson, Field(min_length=1)]
    events: Annotated[tuple[str, ...], FromJson, Field(min_length=1)] = _BUT_NOTED
    secrets: Annotated[tuple[str, ...], FromJson, Field(repr=False)] = ()
    secret_files: Annotated[tuple[Path, ...], FromJson] = ()
    start: Start = "now"
    timeout_s: Seconds | None = None
    concurrency: Count | None = None
    allow_http: bool = False
    headers: Annotated[dict[str, str], FromJson] = Field(default={}, repr=False)
    ca_file: Path | None = None

    @field_validator("events")
    @classmethod
    def _each_means_something(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            if not re.fullmatch(r"[a-z_.*]{1,64}", pattern) or not any(
                fnmatchcase(name, pattern) for name in EVENT_TYPES
            ):
                raise ValueError("each must be the name of an event, such as order.paid, or a pattern such as order.*")
        return patterns

    @field_validator("secrets")
    @classmethod
    def _each_is_a_secret(cls, secrets: tuple[str, ...]) -> tuple[str, ...]:
        for secret in secrets:
            Secret.parse(secret)
        return secrets

    @field_validator("secret_files")
    @classmethod
    def _each_holds_a_secret(cls, files: tuple[Path, ...]) -> tuple[Path, ...]:
        for file in files:
            Secret.parse(read_secret(file))
        return files

    @field_validator("headers")
    @classmethod
    def _are_theirs_to_set(cls, headers: dict[str, str]) -> dict[str, str]:
        if len(headers) > _HEADERS_MAX:
            raise ValueError(f"must be at most {_HEADERS_MAX}")
        for name, value in headers.items():
            if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
                raise ValueError("holds one that HTTP does not allow; values are printable ASCII on one line")
            if name.lower() in _OUR_HEADERS or name.lower().startswith("webhook-"):
                raise ValueError(f"must not set {name.lower()}: the webhook or the connection sets it")
        if len({name.lower() for name in headers}) < len(headers):
            raise ValueError("names one header twice")
        return headers

    @field_validator("ca_file")
    @classmethod
    def _holds_certificates(cls, path: Path | None) -> Path | None:
        if path is not None:
            read_certificates(path)
        return path

    @model_validator(mode="after")
    def _has_one_to_three_secrets(self) -> EndpointSettings:
        count = len(self.signing_secrets())
        if not 1 <= count <= SECRETS_MAX:
            raise ValueError(f"needs 1 to {SECRETS_MAX} secrets, in secrets or secret_files; it has {count}")
        if len(set(self.signing_secrets())) < count:
            raise ValueError("has one secret twice")
        return self

    def signing_secrets(self) -> tuple[Secret, ...]:
        """All of them, those in files last."""
        return tuple(Secret.parse(text) for text in (*self.secrets, *map(read_secret, self.secret_files)))

    def ready(self, *, timeout_s: float, concurrency: int) -> Endpoint:
        """The endpoint with everything it needs; the arguments hold where it says nothing itself."""
        return Endpoint(
            name=self.name,
            url=self.url,
            channels=self.channels,
            events=self.events,
            secrets=self.signing_secrets(),
            timeout_s=self.timeout_s if self.timeout_s is not None else timeout_s,
            concurrency=self.concurrency if self.concurrency is not None else concurrency,
            headers=self.headers,
            ca_file=self.ca_file,
            start=self.start,
            authorities=read_certificates(self.ca_file) if self.ca_file is not None else None,
        )


def split_url(text: str) -> SplitResult:
    """
    Read a URL that will be called, refusing what two readers could read in two ways.

    Raises:
        ValueError: it is none. The message does not repeat it.
    """
    if re.search(r"[\x00-\x20\x7f\\]", text):
        raise ValueError("must be a URL without blanks, control characters and backslashes")
    try:
        url = urlsplit(text)
        port_is_fine = url.port != 0
    except ValueError:
        raise ValueError("must be a URL such as https://oms.example.com/hooks") from None
    if not url.hostname or not port_is_fine:
        raise ValueError("must be a URL such as https://oms.example.com/hooks")
    if not _can_be_asked_for(text):
        raise ValueError(
            "must name a host that DNS could know: labels of 1 to 63 characters with dots between them, at most 253 in all"
        )
    if "@" in url.netloc:
        raise ValueError("must hold no user name or password; a header can carry them (headers = {authorization = …})")
    if "#" in text:
        raise ValueError("must hold no fragment (#…): it would never be sent")
    return url


def _can_be_asked_for(url: str) -> bool:
    """
    Whether a URL's host is an address or has the shape of a name (RFC 1035, 2.3.4; RFC 5891, 4.2.4): asked for another one, the
    system's resolver would not say no, it would fail. Read as the HTTP client reads it, since it is in ASCII that lengths count.
    """
    try:
        host = URL(url).raw_host or ""
    except ValueError:
        return False
    name = host.removesuffix(".")
    return ":" in host or (len(name) <= _HOST_MAX and all(0 < len(label) <= _LABEL_MAX for label in name.split(".")))


def judge_url(text: str, *, allow_http: bool, allow_networks: Sequence[Network]) -> None:
    """
    Refuse what the policy forbids already by how it is written. A name is judged when connecting, whatever it resolves to then.

    Raises:
        ValueError: worded for the settings' author.
    """
    url = split_url(text)
    if url.scheme == "http" and not allow_http:
        raise ValueError("is http: everybody on the way could read it; allow_http = true allows it")
    if url.scheme not in ("http", "https"):
        raise ValueError("must begin with https://")
    address = literal(url.hostname or "")
    if address is not None and not is_allowed(address, allow_networks):
        raise ValueError(
            f"leads to {address}, which is not on the public internet; delivery.allow_networks lists what else may be called"
        )
