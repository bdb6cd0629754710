"""Three merchants' AlipayHK accounts, one of each sign type, with keys that are made when the demo begins."""

from __future__ import annotations

import secrets
import string
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from notifier.alipayhk.keys import Md5Key, SignType
from notifier.cli.keys import new_key


@dataclass(frozen=True, slots=True)
class ForgersKeys:
    """Keys that the attacked channel does not know, one of each sort."""

    rsa: RSAPrivateKey = field(repr=False)
    md5: Md5Key = field(repr=False)


@dataclass(frozen=True, slots=True)
class Account:
    """One account as AlipayHK knows it. `key` is AlipayHK's own private half, or the MD5 key that both know."""

    channel: str
    token: str = field(repr=False)
    partner_id: str
    sign_type: SignType
    key: RSAPrivateKey | Md5Key = field(repr=False)
    forgers_keys: ForgersKeys
    """Keys of others, with which somebody signs in vain."""
    is_brief: bool = False
    """Whether its messages carry the short set of fields that cross-border trades have (alipayhk.md, 2.2, set A1)."""

    @property
    def path(self) -> str:
        """Of the notify_url."""
        return f"/n/{self.token}"

    @property
    def key_file(self) -> str:
        """The name of the file that the settings point to."""
        return f"{self.channel}.md5" if isinstance(self.key, Md5Key) else f"{self.channel}.pem"

    def write_key(self, folder: Path) -> None:
        """Put what the pipeline may know of the key into its file."""
        file = folder / self.key_file
        file.touch(mode=0o600)
        if isinstance(self.key, Md5Key):
            file.write_bytes(self.key.secret)
        else:
            file.write_bytes(self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def open_accounts() -> tuple[Account, ...]:
    """Three accounts with fresh keys and tokens."""
    peak, ferry, forger = new_key(), new_key(), md5_key()
    return (
        Account("peak", _token(), "2088000000000101", "RSA2", peak, ForgersKeys(ferry, forger)),
        Account("ferry", _token(), "2088000000000102", "RSA", ferry, ForgersKeys(peak, forger)),
        Account("market", _token(), "2088000000000103", "MD5", md5_key(), ForgersKeys(peak, forger), is_brief=True),
    )


def md5_key() -> Md5Key:
    """A fresh key of the shape that AlipayHK's portal gives."""
    return Md5Key.parse("".join([secrets.choice(string.ascii_lowercase + string.digits) for _ in range(32)]))


def _token() -> str:
    return secrets.token_urlsafe(24)
