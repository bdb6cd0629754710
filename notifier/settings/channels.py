"""Channels: AlipayHK accounts of merchants, with the keys that tell AlipayHK's messages from forged ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from pydantic import BeforeValidator, Field, field_validator, model_validator

from notifier.alipayhk.keys import Md5Key, RsaKey, load_public_key
from notifier.channel import Channel, KeyInRing
from notifier.evidence import Policy
from notifier.money import is_currency
from notifier.settings.endpoints import split_url
from notifier.settings.types import FromJson, Instant, Name, Table, read_file, read_secret

KEYS_ACTIVE_MAX = 3
"""Each active key is tried on each message (contract, section 3)."""

_ALWAYS, _NEVER = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_TOKEN = re.compile(r"[A-Za-z0-9._~-]{22,128}")
_ACCOUNT = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NOT_BUILT = ("acquiring", "ams")


def _key_entry(value: object) -> object:
    return {"file": value} if isinstance(value, str) else value


class KeySettings(Table):
    """One of AlipayHK's public keys, and when it is used. `version` is AlipayHK's name of it, for those who read the file."""

    file: Path
    version: str | None = None
    not_before: Instant | None = None
    not_after: Instant | None = None

    @field_validator("file")
    @classmethod
    def _can_be_read(cls, path: Path) -> Path:
        read_file(path)
        return path

    @model_validator(mode="after")
    def _begins_before_it_ends(self) -> KeySettings:
        if self.not_before is not None and self.not_after is not None and self.not_before >= self.not_after:
            raise ValueError("not_before must be earlier than not_after")
        return self


class ChannelSettings(Table):
    """`[[channels]]` as it is written."""

    name: Name
    token: str | None = Field(default=None, repr=False)
    token_file: Path | None = None
    protocol: str
    partner_id: str
    currency: str
    sign_types: Annotated[tuple[Literal["RSA", "RSA2", "MD5"], ...], FromJson, Field(min_length=1)]
    keys: Annotated[tuple[Annotated[KeySettings, BeforeValidator(_key_entry)], ...], FromJson] = ()
    md5_key_file: Path | None = None
    allow_legacy_key: bool = False
    verify_notify_id: bool | None = None
    gateway_url: str | None = None
    merchant_key_file: Path | None = None
    seller_id: str | None = None
    orders: Literal["open", "registered"] = "open"

    @field_validator("token")
    @classmethod
    def _is_a_token(cls, token: str | None) -> str | None:
        if token is not None and not _TOKEN.fullmatch(token):
            raise ValueError("must be 22 to 128 URL-safe characters (A-Z a-z 0-9 . _ ~ -)")
        return token

    @field_validator("token_file")
    @classmethod
    def _holds_a_token(cls, path: Path | None) -> Path | None:
        if path is not None:
            cls._is_a_token(read_secret(path))
        return path

    @field_validator("md5_key_file")
    @classmethod
    def _holds_an_md5_key(cls, path: Path | None) -> Path | None:
        if path is not None:
            Md5Key.parse(read_secret(path))
        return path

    @field_validator("protocol")
    @classmethod
    def _is_built(cls, protocol: str) -> str:
        if protocol in _NOT_BUILT:
            raise ValueError(f"{protocol} is not built yet; mapi is")
        if protocol != "mapi":
            raise ValueError("must be mapi")
        return protocol

    @field_validator("partner_id", "seller_id")
    @classmethod
    def _is_an_account(cls, account: str | None) -> str | None:
        if account is not None and not _ACCOUNT.fullmatch(account):
            raise ValueError("must be AlipayHK's number of the account, such as 2088000000000001")
        return account

    @field_validator("currency")
    @classmethod
    def _is_a_currency(cls, currency: str) -> str:
        if not is_currency(currency):
            raise ValueError("must be an ISO 4217 code such as HKD")
        return currency

    @field_validator("gateway_url")
    @classmethod
    def _is_safe_to_ask(cls, url: str | None) -> str | None:
        """What the gateway answers decides whether a payment is believed: nobody on the way may change it."""
        if url is None:
            return None
        parts = split_url(url)
        if parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname or "")):
            return url
        raise ValueError("must begin with https:// (http:// only with a loopback address such as 127.0.0.1)")

    @model_validator(mode="after")
    def _fits_together(self) -> ChannelSettings:
        if (self.token is None) == (self.token_file is None):
            raise ValueError("needs either token or token_file")
        if len(set(self.sign_types)) < len(self.sign_types):
            raise ValueError("names one of sign_types twice")
        has_rsa = "RSA" in self.sign_types or "RSA2" in self.sign_types
        if has_rsa and not self.keys:
            raise ValueError("keys are needed for sign_types RSA and RSA2")
        if self.keys and not has_rsa:
            raise ValueError("keys are only for sign_types RSA and RSA2")
        has_md5 = "MD5" in self.sign_types
        if has_md5 != (self.md5_key_file is not None):
            raise ValueError(f"md5_key_file is {'needed' if has_md5 else 'only'} for sign_types MD5")
        if self.verifies_notify_id and self.gateway_url is None:
            why = (
                "verify_notify_id" if self.verify_notify_id else "allow_legacy_key, which switches verify_notify_id on,"
            )
            raise ValueError(f"{why} needs gateway_url, where AlipayHK is asked")
        if self._active_at_once() > KEYS_ACTIVE_MAX:
            raise ValueError(f"has more than {KEYS_ACTIVE_MAX} keys active at one time; not_after ends an old one")
        return self

    @property
    def verifies_notify_id(self) -> bool:
        """AlipayHK's 1024-bit key is shared by all its merchants: a message under it is asked about, unless told not to."""
        return self.allow_legacy_key if self.verify_notify_id is None else self.verify_notify_id

    def secret_token(self) -> str:
        """The path of the notify_url."""
        if self.token_file is not None:
            return read_secret(self.token_file)
        assert self.token is not None, "one of the two is there"
        return self.token

    def _active_at_once(self) -> int:
        """The most keys that are active at any one time."""
        windows = [(key.not_before or _ALWAYS, key.not_after or _NEVER) for key in self.keys]
        return max((sum(begin <= at < end for begin, end in windows) for at, _ in windows), default=0)

    def ready(self, refuse: Callable[[str, str], None]) -> Channel | None:
        """
        The channel with its keys, or None after `refuse` was told (which setting, what is wrong) for each key that will not do.
        """
        ring = list(self._rsa_ring(refuse))
        if len(ring) < len(self.keys):
            return None
        if self.md5_key_file is not None:
            ring.append(KeyInRing(Md5Key.parse(read_secret(self.md5_key_file))))
        for sign_type in self.sign_types:
            if not any(one.key.serves(sign_type) for one in ring):
                refuse("sign_types", f"names {sign_type}, and no key is strong enough for it")
        return Channel(
            name=self.name,
            token=self.secret_token(),
            protocol="mapi",
            policy=Policy(
                currency=self.currency, seller_id=self.seller_id, partner_id=self.partner_id, orders=self.orders
            ),
            sign_types=self.sign_types,
            ring=tuple(ring),
            verify_notify_id=self.verifies_notify_id,
            gateway_url=self.gateway_url,
        )

    def _rsa_ring(self, refuse: Callable[[str, str], None]) -> Iterator[KeyInRing]:
        taken = {
            self._own_fingerprint(refuse): "is the merchant's own public key; AlipayHK's is wanted, shown beside it"
        }
        for index, entry in enumerate(self.keys):
            try:
                key = load_public_key(
                    read_file(entry.file), allow_legacy_key=self.allow_legacy_key, sign_types=self.sign_types
                )
            except ValueError as fault:
                refuse(f"keys[{index}]", str(fault))
                continue
            if key.fingerprint in taken:
                refuse(f"keys[{index}]", taken[key.fingerprint])
                continue
            taken[key.fingerprint] = f"is the same key as keys[{index}]"
            yield KeyInRing(key, entry.not_before, entry.not_after, f"keys[{index}]", str(entry.file))

    def _own_fingerprint(self, refuse: Callable[[str, str], None]) -> str | None:
        try:
            return self.own_fingerprint()
        except ValueError as fault:
            refuse("merchant_key_file", str(fault))
            return None

    def own_fingerprint(self) -> str | None:
        """
        Of the public half of our own key, which is often put where AlipayHK's belongs, and then every message looks forged.

        Raises:
            ValueError: the file holds no such key.
        """
        if self.merchant_key_file is None:
            return None
        return RsaKey.of(_private_key(read_file(self.merchant_key_file)).public_key()).fingerprint


def _private_key(pem: bytes) -> RSAPrivateKey:
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: it is encrypted
        raise ValueError("names a file that holds no private key in PEM without a password") from None
    if not isinstance(key, RSAPrivateKey):
        raise ValueError("names a key that is not RSA")  # noqa: TRY004 - a fault of the settings, not of the code
    return key


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
