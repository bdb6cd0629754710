"""
A channel: one AlipayHK account of one merchant, and what is believed on its path.

The token routes to a channel; the channel brings algorithm, keys and policy; the message chooses nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from notifier.alipayhk import form, mapi
from notifier.alipayhk.form import SIGN, SIGN_TYPE, Fields
from notifier.alipayhk.keys import Key, SignType
from notifier.alipayhk.signature import verify
from notifier.errors import Rejected, Unavailable, Unusable
from notifier.evidence import USABLE, Evidence, Kind, Policy, evidence_id

EXPIRES_SOON = timedelta(days=14)
"""A new key has to be asked for, read by a person and rolled out: two weeks are not much."""

_NOTIFY_ID = re.compile(rb"[ -~]{1,128}")


class NoKey(Unavailable):
    """No key of the channel is active that could check this message; our settings may be the cause, so it may come again."""

    def __init__(self) -> None:
        super().__init__("keys", "no_key")


@dataclass(frozen=True, slots=True)
class KeyInRing:
    """A key and when it is used: from `not_before` on, until just before `not_after`."""

    key: Key
    not_before: datetime | None = None
    not_after: datetime | None = None
    setting: str | None = field(default=None, compare=False)
    """Where it stands in its channel's settings: `keys[0]`."""
    file: str | None = field(default=None, compare=False)
    """The file that it was read from, as the settings name it."""

    def is_active(self, at: datetime) -> bool:
        """Whether messages that arrive then are checked with it."""
        return (self.not_before is None or self.not_before <= at) and (self.not_after is None or at < self.not_after)


@dataclass(frozen=True, slots=True)
class Verified:
    """A genuine notification, usable or not, ready for the inbox."""

    evidence: Evidence
    notify_id: str | None
    """What AlipayHK is asked by where the channel asks; None where the message has none that could be asked by."""


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel as it was set."""

    name: str
    token: str = field(repr=False)
    protocol: Literal["mapi"]
    policy: Policy
    sign_types: tuple[SignType, ...]
    ring: tuple[KeyInRing, ...]
    verify_notify_id: bool
    gateway_url: str | None

    def active_keys(self, at: datetime) -> tuple[Key, ...]:
        """The keys in use at that time."""
        return tuple([one.key for one in self.ring if one.is_active(at)])

    def verify(self, body: bytes, content_type: str, received_at: datetime, traceparent: str | None) -> Verified:
        """
        Tell a genuine notification from any other, and judge what the message alone lets one judge.

        Raises:
            Rejected: 400 malformed; 401 sign_type, sign_missing or signature.
            NoKey: there is no active key for it.
        """
        fields = form.parse(body)
        canonical = form.canonical(fields)
        key = self._key_that_signed(canonical, fields, received_at)
        try:
            order: str | None = mapi.read_statement(fields).order
            verdict = USABLE
        except Unusable as unusable:
            order = mapi.order_of(fields)
            verdict = unusable.reason.value
        evidence = Evidence(
            kind=Kind.NOTIFICATION,
            channel=self.name,
            protocol=self.protocol,
            received_at=received_at,
            key=key,
            verdict=verdict,
            policy=self.policy,
            evidence_id=evidence_id(self.name, self.protocol, canonical),
            order=order,
            body=body,
            content_type=content_type,
            traceparent=traceparent,
        )
        notify_id = fields.get(b"notify_id", b"")
        return Verified(evidence, notify_id.decode("ascii") if _NOTIFY_ID.fullmatch(notify_id) else None)

    def _key_that_signed(self, canonical: bytes, fields: Fields, at: datetime) -> str:
        sign_type = self._sign_type(fields.get(SIGN_TYPE))
        sign = fields.get(SIGN)
        if not sign:
            raise Rejected(401, "sign_missing")
        keys = [key for key in self.active_keys(at) if key.serves(sign_type)]
        if not keys:
            raise NoKey
        fingerprint = verify(canonical, sign, sign_type, keys)
        # Not "anything but None": valid is one thing only, the name of a key that was given.
        if fingerprint not in [key.fingerprint for key in keys]:
            raise Rejected(401, "signature")
        return fingerprint

    def _sign_type(self, stated: bytes | None) -> SignType:
        """It selects among what the channel allows, and nothing else; a channel with one needs no word of it."""
        if stated is None and len(self.sign_types) == 1:
            return self.sign_types[0]
        for allowed in self.sign_types:
            if stated == allowed.encode():
                return allowed
        raise Rejected(401, "sign_type")


class Channels:
    """All channels of the settings, found by the token in the path."""

    def __init__(self, channels: Iterable[Channel]) -> None:
        self._by_token = {channel.token: channel for channel in channels}

    def __iter__(self) -> Iterator[Channel]:
        return iter(self._by_token.values())

    def __len__(self) -> int:
        return len(self._by_token)

    def by_token(self, token: str) -> Channel | None:
        """The channel whose path this is."""
        return self._by_token.get(token)
