"""
Keys that tell AlipayHK's messages from forged ones, judged before they are used.

A wrong key makes every message look forged and a weak one lets a forged message look genuine, so both are faults of the settings,
said with what to do. Keys are parsed once; each is known by its fingerprint, which may be logged and stored.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
    load_pem_public_key,
)

SignType = Literal["RSA", "RSA2", "MD5"]
"""PKCS#1 v1.5 with SHA-1, the same with SHA-256, MD5 with a shared key appended."""

BITS_MIN = 2048
LEGACY_BITS_MIN = 1024
"""AlipayHK's shared key of the legacy gateway has 1024 bits; nothing below was ever in use."""

EXPONENT_MIN = 65537
"""The exponent of every key that AlipayHK shows. Small ones are where forged paddings begin (Bleichenbacher 2006)."""

_PRIVATE = (
    "is a private key; AlipayHK's public key is wanted, and the private one should be in no place that needs none"
)
_UNREADABLE = "holds no public key in PEM, DER or bare base64; copy AlipayHK's public key from its portal"

_MD5_SHAPE = re.compile(r"[0-9A-Za-z]{32}")
_MD5_DISTINCT_MIN = 8
"""A key that was drawn has this many distinct characters but once in millions; one that was thought up often has fewer."""


@dataclass(frozen=True, slots=True)
class RsaKey:
    """One of AlipayHK's public keys."""

    public: RSAPublicKey = field(repr=False)
    bits: int
    fingerprint: str
    """First 16 hex digits of the SHA-256 of its DER SubjectPublicKeyInfo."""

    @classmethod
    def of(cls, public: RSAPublicKey) -> RsaKey:
        """The key as it is, not judged."""
        spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return cls(public, public.key_size, hashlib.sha256(spki).hexdigest()[:16])

    @property
    def signature_bytes(self) -> int:
        """How long a signature under it is: as long as its modulus (RFC 8017, section 8.2)."""
        return (self.bits + 7) // 8

    def serves(self, sign_type: SignType) -> bool:
        """Whether messages of this sign type are checked with it. A short key is for the legacy gateway's SHA-1 alone."""
        return sign_type == "RSA" or (sign_type == "RSA2" and self.bits >= BITS_MIN)


@dataclass(frozen=True, slots=True)
class Md5Key:
    """The secret that a merchant shares with AlipayHK."""

    secret: bytes = field(repr=False)
    fingerprint: str

    @classmethod
    def parse(cls, text: str) -> Md5Key:
        """
        Read a key as AlipayHK's portal shows it: 32 letters and digits.

        Any other length is a key that was cut, or none of AlipayHK's; a short one can be guessed from a single message.

        Raises:
            ValueError: it is not such a key. What it is, is not repeated.
        """
        if not text:
            raise ValueError("is empty; AlipayHK's MD5 key is wanted, 32 letters and digits")
        if not _MD5_SHAPE.fullmatch(text):
            raise ValueError("must be AlipayHK's MD5 key: exactly 32 letters and digits, as its portal shows it")
        if len(set(text)) < _MD5_DISTINCT_MIN:
            raise ValueError("is too easy to guess; have AlipayHK's portal make a new MD5 key")
        secret = text.encode()
        # Another domain than any message, so that the fingerprint is no signature of anything.
        return cls(secret, hashlib.sha256(b"alipayhk-notifier/md5-key\0" + secret).hexdigest()[:16])

    def serves(self, sign_type: SignType) -> bool:
        """Whether messages of this sign type are checked with it."""
        return sign_type == "MD5"


Key = RsaKey | Md5Key


def load_public_key(data: bytes, *, allow_legacy_key: bool, sign_types: Collection[str]) -> RsaKey:
    """
    Read and judge one of AlipayHK's public keys: PEM, DER, or the bare base64 that AlipayHK's portal shows.

    A key below 2048 bits does only for sign type RSA, and only where the settings say that it may: it is shared by all merchants
    of the legacy gateway.

    Raises:
        ValueError: it will not do; the message says why and what to do, and repeats nothing of the key.
    """
    public = _read(data)
    numbers = public.public_numbers()
    if numbers.e < EXPONENT_MIN or numbers.e % 2 == 0 or numbers.n % 2 == 0:
        raise ValueError(f"is an RSA key that can be forged (exponent {numbers.e}); AlipayHK's public key is wanted")
    if public.key_size < LEGACY_BITS_MIN:
        raise ValueError(f"has only {public.key_size} bits; AlipayHK's public key is wanted")
    if public.key_size < BITS_MIN:
        if "RSA" not in sign_types:
            raise ValueError(f"has only {public.key_size} bits; RSA2 needs AlipayHK's RSA2 key of {BITS_MIN} bits")
        if not allow_legacy_key:
            raise ValueError(
                f"has only {public.key_size} bits; if it is AlipayHK's own of the legacy gateway, shared by all its merchants, "
                "set allow_legacy_key = true"
            )
    return RsaKey.of(public)


def _read(data: bytes) -> RSAPublicKey:
    is_der = data[:1] == b"\x30"
    if not is_der:  # DER keeps each of its bytes: the last one may look like a blank
        data = data.removeprefix(b"\xef\xbb\xbf").strip()
    if b"-----BEGIN" in data:
        if b"PRIVATE KEY" in data:
            raise ValueError(_PRIVATE)
        if b"CERTIFICATE" in data:
            raise ValueError("is a certificate; AlipayHK's public key is wanted, as its portal shows it")
        load, encoded = load_pem_public_key, data
    else:
        load, encoded = load_der_public_key, data if is_der else _from_base64(data)
        if _is_private(encoded):
            raise ValueError(_PRIVATE)
    try:
        public = load(encoded)
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError(_UNREADABLE) from None
    if not isinstance(public, RSAPublicKey):
        raise ValueError("is not an RSA key; AlipayHK signs with RSA")  # noqa: TRY004 - a fault of the settings
    return public


def _from_base64(text: bytes) -> bytes:
    """Base64 of a key begins with `M`, DER with the byte that base64 reads from it: the first byte tells which it is."""
    try:
        return binascii.a2b_base64(b"".join(text.split()), strict_mode=True)
    except binascii.Error:
        raise ValueError(_UNREADABLE) from None


def _is_private(der: bytes) -> bool:
    try:
        load_der_private_key(der, password=None)
    except (ValueError, UnsupportedAlgorithm):
        return False
    except TypeError:  # it is encrypted, so it is one
        return True
    return True
