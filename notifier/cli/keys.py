"""
Keys for trying out: AlipayHK's place is taken by a pair of our own.

The rule by which `simulate` finds the half that signs: beside a channel's public key `X.pem` lies `X.private.pem`.
"""

from __future__ import annotations

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from notifier.alipayhk.keys import BITS_MIN, EXPONENT_MIN


def private_path(public: Path) -> Path:
    """Where the private half of a public key is looked for: `keys/a.pem` → `keys/a.private.pem`."""
    return public.with_name(f"{public.name.removesuffix('.pem')}.private.pem")


def new_pair() -> tuple[bytes, bytes]:
    """A fresh key pair, as PEM: the private half and the public one."""
    key = new_key()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def new_key() -> RSAPrivateKey:
    """A fresh key, of the size that AlipayHK's RSA2 keys have."""
    return rsa.generate_private_key(public_exponent=EXPONENT_MIN, key_size=BITS_MIN)


def read_private(path: Path) -> RSAPrivateKey:
    """
    Read a private key.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it cannot be read or used.
    """
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except FileNotFoundError:
        raise
    except OSError as fault:
        raise ValueError(f"{path} cannot be read: {(fault.strerror or 'no reason given').lower()}") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: it is encrypted
        raise ValueError(f"{path} holds no private key in PEM without a password") from None
    if not isinstance(key, RSAPrivateKey):
        raise ValueError(f"{path} holds a key that is not RSA")  # noqa: TRY004 - a fault of the file, not of the code
    return key
