"""
Signatures of the legacy gateway: MD5, RSA and RSA2 over canonical bytes.

The channel pins the algorithm and brings the keys; the message chooses nothing. One message has one signature that passes: base64
is read strictly, and what was read must encode to the same text again, so that nobody can make a second form of a genuine one.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256

from notifier.alipayhk.keys import Key, Md5Key, SignType

_PADDING = PKCS1v15()
_HASHES = {"RSA": SHA1(), "RSA2": SHA256()}  # noqa: S303 - SHA-1 is what the legacy gateway signs with


def verify(signed: bytes, sign: bytes, sign_type: SignType, keys: Iterable[Key]) -> str | None:
    """
    The fingerprint of the key under which this signature is genuine, or None.

    Only what the library calls an invalid signature is one: any other exception of it is a fault of ours and passes through, to
    be answered with another chance instead of a refusal.

    Args:
        signed: the canonical bytes, see `form.canonical`.
        sign: the value of `sign`, decoded from the form and no further.
        sign_type: what the channel allows and the message does not contradict.
        keys: those active now; one that does not serve `sign_type` is passed over.
    """
    for key in keys:
        if key.serves(sign_type) and _is_genuine(signed, sign, sign_type, key):
            return key.fingerprint
    return None


def sign(signed: bytes, sign_type: SignType, key: RSAPrivateKey | Md5Key) -> bytes:
    """What AlipayHK would put into `sign`; for the simulated AlipayHK and for tests."""
    if isinstance(key, Md5Key):
        assert sign_type == "MD5", "a shared secret signs with MD5 alone"
        return _md5(signed, key)
    assert sign_type != "MD5", "an RSA key does not sign with MD5"
    return base64.b64encode(key.sign(signed, _PADDING, _HASHES[sign_type]))


def _is_genuine(signed: bytes, sign: bytes, sign_type: SignType, key: Key) -> bool:
    if isinstance(key, Md5Key):
        return hmac.compare_digest(_md5(signed, key), sign)  # 32 lower-case hex digits, so nothing else is equal to it
    signature = _from_base64(sign)
    if signature is None or len(signature) != key.signature_bytes:
        return False
    try:
        returned = key.public.verify(signature, signed, _PADDING, _HASHES[sign_type])
    except InvalidSignature:
        return False
    return returned is None  # the library promises it; whatever else might come back is not a clean return


def _md5(signed: bytes, key: Md5Key) -> bytes:
    """The key is appended without a separator (alipayhk.md, 2.3). The flag is for machines that forbid MD5: AlipayHK chose it."""
    return hashlib.md5(signed + key.secret, usedforsecurity=False).hexdigest().encode()


def _from_base64(text: bytes) -> bytes | None:
    """Decode strictly; None where the text is not exactly what encoding the result gives (unused bits of the last symbol)."""
    try:
        decoded = binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error:
        return None
    return decoded if base64.b64encode(decoded) == text else None
