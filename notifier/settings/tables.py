"""The tables that are there once. What each setting means stands in the README and in `notifier init`'s file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, PrivateAttr, field_validator, model_validator

from notifier.settings.types import (
    Address,
    AllowedNetwork,
    Count,
    FromJson,
    Listen,
    Number,
    Seconds,
    Table,
    read_certificates,
    read_file,
    read_secret,
)
from notifier.watching import tracing

BODY_BYTES_MAX = 1_048_576
"""The largest bound on a body that can be set; what a process appends may be that long, whatever a reload sets."""

_LISTED_SERVER = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:,\[\]/@]+):([0-9]{1,5})")


class Kafka(Table):
    """The cluster, and how this installation's topics are there."""

    bootstrap_servers: str = "127.0.0.1:9092"
    topic_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}$")] = "alipayhk"
    partitions: Annotated[int, Number, Field(ge=1, le=10_000)] = 24
    replication_factor: Annotated[int, Number, Field(ge=1, le=15)] = 1
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    sasl_username: str | None = None
    sasl_password_file: Path | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    _sasl_password: str | None = PrivateAttr(default=None)

    @property
    def sasl_password(self) -> str | None:
        """What `sasl_password_file` holds."""
        return self._sasl_password

    @field_validator("bootstrap_servers")
    @classmethod
    def _is_a_list_of_servers(cls, value: str) -> str:
        for server in value.split(","):
            listed = _LISTED_SERVER.fullmatch(server.strip())
            if listed is None or not 0 < int(listed[2]) <= 65535:
                raise ValueError("must be HOST:PORT, or several with commas between")
        return value

    @field_validator("ca_file", "cert_file", "key_file")
    @classmethod
    def _can_be_read(cls, value: Path | None) -> Path | None:
        if value is not None:
            read_file(value)
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Kafka:
        """A setting that the chosen protocol would not use is a misunderstanding, and so is one that it lacks."""
        sasl = {name: getattr(self, name) for name in ("sasl_mechanism", "sasl_username", "sasl_password_file")}
        if self.security_protocol.startswith("SASL_"):
            lacking = [name for name, value in sasl.items() if value is None]
            if lacking:
                raise ValueError(f"security_protocol {self.security_protocol} needs {' and '.join(lacking)}")
        elif useless := [name for name, value in sasl.items() if value is not None]:
            raise ValueError(f"{' and '.join(useless)} need security_protocol SASL_SSL or SASL_PLAINTEXT")
        tls = [name for name in ("ca_file", "cert_file", "key_file") if getattr(self, name) is not None]
        if tls and not self.security_protocol.endswith("SSL"):
            raise ValueError(f"{' and '.join(tls)} need security_protocol SSL or SASL_SSL")
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file belong together")
        if self.sasl_password_file is not None:
            self._sasl_password = read_secret(self.sasl_password_file)
            if not self._sasl_password:
                raise ValueError("sasl_password_file names an empty file")
        return self


class Redis(Table):
    """Where the views are."""

    url: str = Field(default="redis://127.0.0.1:6379/0", repr=False)
    key_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,60}$")] = "alipayhk"
    ca_file: Path | None = None

    @field_validator("ca_file")
    @classmethod
    def _holds_certificates(cls, value: Path | None) -> Path | None:
        if value is not None:
            read_certificates(value)
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Redis:
        if self.ca_file is not None and not self.url.startswith("rediss://"):
            raise ValueError("ca_file needs a url that begins with rediss://")
        return self

    @field_validator("url")
    @classmethod
    def _is_a_redis_url(cls, value: str) -> str:
        shape = "must be redis://HOST:PORT/DB, or rediss:// for TLS"
        try:
            url = urlsplit(value)
            has_port = url.port != 0
        except ValueError:
            raise ValueError(shape) from None
        if url.scheme in ("redis+sentinel", "redis+cluster"):
            raise ValueError(f"{url.scheme} is not built yet; {shape}")
        if url.scheme not in ("redis", "rediss") or not url.hostname or not has_port:
            raise ValueError(shape)
        if not re.fullmatch(r"(/[0-9]{0,4})?", url.path) or url.query or url.fragment:
            raise ValueError(f"{shape}, with nothing after the number of the database")
        return value

    @property
    def address(self) -> str:
        """HOST:PORT, for people: without what a URL may hold of a password."""
        url = urlsplit(self.url)
        host = url.hostname or ""
        return f"{f'[{host}]' if ':' in host else host}:{url.port or 6379}"


class Ingress(Table):
    """The two listeners, and what the public one takes."""

    public: Listen = Address("127.0.0.1", 8080)
    internal: Listen = Address("127.0.0.1", 8081)
    workers: Annotated[int, Number, Field(ge=1, le=256)] = 1
    body_bytes_max: Annotated[int, Number, Field(ge=1024, le=BODY_BYTES_MAX)] = 65_536
    append_timeout_s: Annotated[float, Number, Field(ge=0.05, le=60, allow_inf_nan=False)] = 2.5

    @model_validator(mode="after")
    def _listeners_differ(self) -> Ingress:
        if self.public == self.internal and self.public.port != 0:
            raise ValueError("public and internal are the same address; the internal one must never be public")
        return self


class Consumers(Table):
    """What all consumer jobs have in common, and where each answers for its health under `notifier run`."""

    session_timeout_s: Annotated[float, Number, Field(ge=1, le=1800, allow_inf_nan=False)] = 10.0
    listen_orders: Listen | None = None
    listen_fanout: Listen | None = None


class Orders(Table):
    """How long what is known of an order is kept, and where."""

    quiet_s: Count = 604_800
    kept_s: Count = 34_560_000

    @model_validator(mode="after")
    def _kept_longer_than_quiet(self) -> Orders:
        if self.kept_s < self.quiet_s:
            raise ValueError("kept_s must not be shorter than quiet_s: what Redis points to has to be in the topic")
        return self


class Delivery(Table):
    """How merchants are called."""

    timeout_s: Seconds = 10.0
    give_up_after_s: Seconds = 259_200.0
    first_retry_s: Seconds = 5.0
    retry_s_max: Seconds = 3600.0
    concurrency_per_endpoint: Count = 8
    concurrency: Count = 500
    suspend_after_s: Seconds = 300.0
    allow_networks: Annotated[tuple[AllowedNetwork, ...], FromJson] = ()


class Telemetry(Table):
    """Where traces go."""

    otlp_endpoint: str | None = None

    @field_validator("otlp_endpoint")
    @classmethod
    def _is_a_collector(cls, value: str | None) -> str | None:
        if value is None:
            return None
        shape = "must be http://HOST:PORT or https://HOST:PORT of a collector that takes OTLP over HTTP"
        try:
            url = urlsplit(value)
            has_port = url.port != 0
        except ValueError:
            raise ValueError(shape) from None
        if url.scheme not in ("http", "https") or not url.hostname or not has_port:
            raise ValueError(shape)
        if url.username is not None or url.query or url.fragment:
            raise ValueError(f"{shape}, with no more than a path behind it")
        if not tracing.is_installed():
            raise ValueError("needs the extra [telemetry]: pip install 'alipayhk-notifier[telemetry]'")
        return value


class Log(Table):
    """How log lines look, and which are written."""

    format: Literal["json", "console"] = "json"
    level: Literal["debug", "info", "warning", "error"] = "info"
