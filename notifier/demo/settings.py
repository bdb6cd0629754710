"""The demo's settings file: as a user would write one, with times made small so that retries happen while one looks on."""

from __future__ import annotations

import secrets
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from notifier.demo.history import Merchant
from notifier.demo.world.accounts import Account
from notifier.local import Addresses
from notifier.local.ports import HOST, free_ports

PARTITIONS = 6
"""Enough that orders are spread, few enough for a laptop's Kafka."""

DELIVERY_TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the pipeline's processes listen on the loopback address."""

    public: int
    internal: int
    orders: int
    fanout: int

    @classmethod
    def free(cls) -> Ports:
        """Four that are free now."""
        return cls(*free_ports(4))


@dataclass(frozen=True, slots=True)
class Setup:
    """Everything that the settings file says."""

    addresses: Addresses
    ports: Ports
    accounts: Sequence[Account]
    merchants: Sequence[Merchant]
    urls: Mapping[str, str]
    """Of the merchants' systems, by name."""
    secrets: Mapping[str, str] = field(repr=False)
    delivery_timeout_s: float = DELIVERY_TIMEOUT_S


def new_secret() -> str:
    """A fresh secret for webhooks, as an endpoint's settings hold it."""
    return f"whsec_{b64encode(secrets.token_bytes(32)).decode()}"


def write(folder: Path, setup: Setup) -> Path:
    """
    Write `notifier.toml` and its key files into a folder; its path.

    Raises:
        OSError: the folder can't be written.
    """
    keys = folder / "keys"
    keys.mkdir(parents=True, exist_ok=True)
    for account in setup.accounts:
        account.write_key(keys)
    file = folder / "notifier.toml"
    file.touch(mode=0o600)
    file.write_text(_text(setup), encoding="utf-8")
    return file


def _text(setup: Setup) -> str:
    # A prefix of its own, because Kafka and Redis may be somebody's, with an installation on them.
    prefix = f"demo-{secrets.token_hex(4)}"
    parts = [
        f"""\
[kafka]
bootstrap_servers = "{setup.addresses.bootstrap_servers}"
topic_prefix = "{prefix}"
partitions = {PARTITIONS}

[redis]
url = "{setup.addresses.redis_url}"
key_prefix = "{prefix}"

[ingress]
public = "{HOST}:{setup.ports.public}"
internal = "{HOST}:{setup.ports.internal}"

[delivery]
timeout_s = {setup.delivery_timeout_s}
first_retry_s = 0.5
retry_s_max = 2.0
allow_networks = ["127.0.0.0/8"]
"""
    ]
    parts += [_channel(account) for account in setup.accounts]
    parts += [_endpoint(setup, merchant) for merchant in setup.merchants]
    return "\n".join(parts)


def _channel(account: Account) -> str:
    key = "md5_key_file = " if account.sign_type == "MD5" else "keys = "
    path = f'"keys/{account.key_file}"'
    return f"""\
[[channels]]
name = "{account.channel}"
token = "{account.token}"
protocol = "mapi"
partner_id = "{account.partner_id}"
currency = "HKD"
sign_types = ["{account.sign_type}"]
{key}{path if account.sign_type == "MD5" else f"[{path}]"}
"""


def _endpoint(setup: Setup, merchant: Merchant) -> str:
    return f"""\
[[endpoints]]
name = "{merchant.name}"
url = "{setup.urls[merchant.name]}"
channels = {_list(merchant.channels)}
events = {_list(merchant.types)}
secrets = ["{setup.secrets[merchant.name]}"]
allow_http = true
"""


def _list(names: frozenset[str]) -> str:
    return "[" + ", ".join([f'"{name}"' for name in sorted(names)]) + "]"
