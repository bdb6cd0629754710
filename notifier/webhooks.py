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

_PREFIX = "whsec_"
_KEY_BYTES_MIN, _KEY_BYTES_MAX = 24, 64
"""Standard Webhooks, "Symmetric": between 192 and 512 bits."""


class Unverified(ValueError):
    """A webhook that must not be believed. The message says why, and holds nothing of the secret."""


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
    What a receiver does before it believes a webhook: one signature of any of its secrets, and a timestamp near its own clock.

    `headers` finds names in lower case (a case-insensitive mapping will do); `now` is in Unix seconds.

    Raises:
        Unverified: a header is missing or unreadable, the timestamp is too far away, or no signature is ours.
    """
    webhook_id = _header(headers, "webhook-id")
    written = _header(headers, "webhook-timestamp")
    given = _header(headers, "webhook-signature")
    if not (written.isascii() and written.isdigit() and len(written) <= 12):
        raise Unverified("webhook-timestamp is not in Unix seconds")
    timestamp = int(written)
    if abs(now - timestamp) > tolerance_s:
        raise Unverified("webhook-timestamp is too old" if timestamp < now else "webhook-timestamp is in the future")
    signed = b".".join((webhook_id.encode(errors="surrogateescape"), written.encode(), body))
    expected = [_signature(secret, signed).encode() for secret in secrets]
    for one in given.split(" "):
        signature = one.encode(errors="surrogateescape")
        if any(hmac.compare_digest(signature, ours) for ours in expected):
            return
    raise Unverified("no signature matches")


def _header(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name, "")
    if not value:
        raise Unverified(f"{name} is missing")
    return value


def _signature(secret: Secret, signed: bytes) -> str:
    return "v1," + base64.b64encode(hmac.digest(secret.key, signed, "sha256")).decode("ascii")
