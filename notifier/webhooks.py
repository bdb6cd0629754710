"""
Standard Webhooks 1.0: how a merchant knows that a webhook is ours (contract, section 7).

The signature is HMAC-SHA256 over `id.timestamp.body`, one for each active secret, so that a secret can be changed without a
moment at which nobody can verify. Source: https://www.standardwebhooks.com, "Signature scheme". Pure; the time comes in.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from notifier import __version__

USER_AGENT = f"alipayhk-notifier/{__version__}"
TOLERANCE_S = 300
"""How far a webhook's timestamp may be from the receiver's clock: the five minutes of the reference implementation."""

_TIMESTAMP_DIGITS_MAX = 12
_PREFIX = "whsec_"
_KEY_BYTES_MIN, _KEY_BYTES_MAX = 24, 64
"""Standard Webhooks, "Symmetric": between 192 and 512 bits."""


class Unverified(ValueError):
    """
    A webhook that must not be believed: the sender's fault, to be answered 401. The message says why, for the receiver's log, and
    holds nothing of the secret.
    """


@dataclass(frozen=True, slots=True)
class Secret:
    """One of an endpoint's signing secrets."""

    key: bytes = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Secret:
        """
        Read `whsec_` and base64 of 24 to 64 bytes; the padding may be missing.

        Raises:
            ValueError: it is not such a secret. The message never repeats it.
        """
        if not text.startswith(_PREFIX):
            raise ValueError(f"a webhook secret begins with {_PREFIX}")
        encoded = text.removeprefix(_PREFIX)
        try:
            key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
        except (binascii.Error, ValueError):
            raise ValueError(f"after {_PREFIX} comes base64 (A-Z a-z 0-9 + /)") from None
        if not _KEY_BYTES_MIN <= len(key) <= _KEY_BYTES_MAX:
            raise ValueError(f"a webhook secret holds {_KEY_BYTES_MIN} to {_KEY_BYTES_MAX} bytes, not {len(key)}")
        return cls(key)


def sign(secrets: Sequence[Secret], webhook_id: str, timestamp: int, body: bytes) -> str:
    """The header `webhook-signature`: `v1,…` for each secret, a space between. `timestamp` is in Unix seconds."""
    signed = b"%b.%d.%b" % (webhook_id.encode(), timestamp, body)
    return " ".join([_signature(secret, signed) for secret in secrets])


def headers(secrets: Sequence[Secret], webhook_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """All headers of one attempt. The id is the event's on every attempt; timestamp and signature are fresh."""
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign(secrets, webhook_id, timestamp, body),
        "content-type": "application/json",
        "user-agent": USER_AGENT,
    }


def verify(
    secrets: Sequence[Secret], headers: Mapping[str, str], body: bytes, now: float, tolerance_s: float = TOLERANCE_S
) -> None:
    """
    What a receiver does before it believes a webhook; it returns if one signature is by one of the secrets, and fresh.

        try:
            verify([Secret.parse("whsec_…")], request.headers, await request.read(), time.time())
        except Unverified:
            ...  # answer 401 and do nothing
        event = json.loads(body)

    `body` is the bytes as they came, before anything parses them: JSON that was read and written again is another text.
    `headers` is any mapping; the case of names does not matter. `secrets` are all that may still be in use: while one is
    changed, the sender signs with both, and either side may come first. `now` is the receiver's clock in Unix seconds;
    `tolerance_s` is how far from it, either way, the timestamp may be. A webhook that is repeated within that time verifies
    again: what is done once only needs the event's id to be kept. Signatures are compared in constant time.

    Raises:
        Unverified: a header is missing or unreadable, the timestamp is too far away, or no signature is by these secrets.
        ValueError, TypeError: the caller's own fault, whatever was sent: no secrets, or a body that is not bytes. Not to be
            answered 401; let it become a 500, and the webhook comes again.
    """
    if not secrets:
        raise ValueError("there is no secret to verify with")
    if not isinstance(body, bytes | bytearray | memoryview):
        raise TypeError("body must be the bytes as they came, before anything decodes or parses them")
    webhook_id = _header(headers, "webhook-id")
    written = _header(headers, "webhook-timestamp")
    given = _header(headers, "webhook-signature")
    if not (written.isdigit() and len(written) <= _TIMESTAMP_DIGITS_MAX):
        raise Unverified("webhook-timestamp is not in Unix seconds")
    age_s = now - int(written)
    if not abs(age_s) <= tolerance_s:  # so written, a clock that is no number believes nothing
        raise Unverified(
            f"webhook-timestamp is {'too old' if age_s > 0 else 'in the future'}: {abs(age_s):.0f} s from this clock"
        )
    signed = b".".join((webhook_id, written, body))
    expected = [_signature(secret, signed).encode() for secret in secrets]
    for signature in given.split(b" "):
        if any(hmac.compare_digest(signature, ours) for ours in expected):
            return
    raise Unverified("no signature matches")


def _header(headers: Mapping[str, str], name: str) -> bytes:
    """
    A header's bytes. As the mapping itself finds it, so that a receiver who reads it afterwards reads what was verified; else by
    any spelling, for mappings that were copied into a plain dict.
    """
    value = headers.get(name) or next((text for key, text in headers.items() if key.lower() == name), "")
    if not value:
        raise Unverified(f"{name} is missing")
    try:
        return value.encode(errors="surrogateescape")  # bytes that are no text, as HTTP servers hand them on
    except UnicodeEncodeError:
        raise Unverified(f"{name} is unreadable") from None


def _signature(secret: Secret, signed: bytes) -> str:
    return "v1," + base64.b64encode(hmac.digest(secret.key, signed, "sha256")).decode("ascii")
