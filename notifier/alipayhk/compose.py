"""What AlipayHK would send: for `notifier simulate`, the demo's simulated AlipayHK, and tests."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from notifier.alipayhk.form import SIGN, SIGN_TYPE, canonical
from notifier.alipayhk.keys import Md5Key, SignType
from notifier.alipayhk.signature import sign


def compose(
    fields: Mapping[str, str], sign_type: SignType, key: RSAPrivateKey | Md5Key, *, charset: str = "utf-8"
) -> bytes:
    """
    The signed body of a notification with these fields. Empty ones are sent and, as AlipayHK does, not signed.

    `charset` is how the values are encoded; the message says so only where the fields do (`charset`, `_input_charset`).
    """
    encoded = {name.encode("ascii"): value.encode(charset) for name, value in fields.items()}
    signature = sign(canonical(encoded), sign_type, key)
    return urlencode(encoded | {SIGN_TYPE: sign_type.encode(), SIGN: signature}).encode("ascii")
