"""An installation for each measure: its own settings file, topics and Redis keys, on the services that all share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from notifier.config import Settings, load
from notifier.kafka.access import Access
from notifier.local import Services
from notifier.local.ports import free_ports
from notifier.topics import Topics, plans

from .bodies import PARTNER
from .broker import Broker, connected

TOKEN = "benchmark-token-0123456789"
SECRET = "whsec_" + "c2VjcmV0" * 4

_SETTINGS = """
[kafka]
bootstrap_servers = "{kafka}"
topic_prefix = "{name}"

[redis]
url = "{redis}"
key_prefix = "{name}"

[ingress]
public = "127.0.0.1:{public}"
internal = "127.0.0.1:{internal}"

[delivery]
allow_networks = ["127.0.0.0/8"]
concurrency_per_endpoint = {at_once}

[[channels]]
name = "shop-hkd"
token = "{token}"
protocol = "mapi"
partner_id = "{partner}"
currency = "HKD"
sign_types = ["RSA2"]
keys = ["alipayhk.pem"]

[[endpoints]]
name = "shop-oms"
url = "http://127.0.0.1:{sink}/hooks"
channels = ["shop-hkd"]
secrets = ["{secret}"]
allow_http = true
"""


@dataclass(frozen=True, slots=True)
class Installation:
    """What a measure works on."""

    folder: Path
    settings_file: Path
    settings: Settings
    topics: Topics
    access: Access
    broker: Broker
    public_port: int
    sink_port: int

    @property
    def partitions(self) -> int:
        """Of each topic."""
        return self.settings.kafka.partitions


@asynccontextmanager
async def installation(
    name: str, *, folder: Path, services: Services, key: RSAPrivateKey, at_once: int = 8
) -> AsyncIterator[Installation]:
    """
    Settings, keys and topics under a name of their own.

    Args:
        key: plays AlipayHK's.
        at_once: attempts in flight at the one endpoint (`delivery.concurrency_per_endpoint`).
    """
    public, internal, sink = free_ports(3)
    (folder / "alipayhk.pem").write_bytes(
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    settings_file = folder / f"{name}.toml"
    settings_file.write_text(
        _SETTINGS.format(
            kafka=services.addresses.bootstrap_servers,
            redis=services.addresses.redis_url,
            name=name,
            public=public,
            internal=internal,
            sink=sink,
            at_once=at_once,
            token=TOKEN,
            partner=PARTNER,
            secret=SECRET,
        ),
        encoding="utf-8",
    )
    settings = load(settings_file, {})
    access, topics = Access.to(settings.kafka, f"benchmark-{name}"), Topics(settings.kafka.topic_prefix)
    async with connected(access) as broker:
        await broker.create(
            plans(
                topics,
                partitions=settings.kafka.partitions,
                replication_factor=settings.kafka.replication_factor,
                kept_s=settings.orders.kept_s,
                body_bytes_max=settings.ingress.body_bytes_max,
            )
        )
        yield Installation(folder, settings_file, settings, topics, access, broker, public, sink)
