"""
The channels' keys: would they tell AlipayHK's messages from forged ones, today and in two weeks?

A key that is no key at all, the merchant's own in the place of AlipayHK's, or one that is too short for its sign type never comes
here: the settings refuse it. What is judged here is what the settings let pass because it may be meant. Pure: time comes in.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from notifier.alipayhk.keys import BITS_MIN, Key, Md5Key
from notifier.channel import EXPIRES_SOON, Channel, KeyInRing
from notifier.checks.finding import Finding, fault, ok, warning

LEGACY_FINGERPRINT = "ce187c187219eb20"
"""Of the 1024-bit key that AlipayHK shows to all merchants of the legacy gateway (its integration guide, "Alipay public key")."""


@dataclass(frozen=True, slots=True)
class Keyed:
    """A channel, and what its files say beside it."""

    channel: Channel
    own_fingerprint: str | None
    """Of the public half of `merchant_key_file`; None where none is set."""
    has_test_keys: Collection[int] = ()
    """Which of its keys have their private half beside them, by their place in `keys`."""


def judge_channels(channels: Sequence[Keyed], now: datetime) -> list[Finding]:
    """A line for each key, and for each thing about a channel that should not be."""
    if not channels:
        return [
            warning(
                "channels",
                "there is no channel: every notification is answered 404",
                "Add [[channels]]; see the README.",
            )
        ]
    known = _Known.of(channels, now)
    return [finding for one in channels for finding in _judge_channel(one, known)]


@dataclass(frozen=True, slots=True)
class _Known:
    """What one key is compared with."""

    now: datetime
    owners: Mapping[str, str]
    """Whose own key has this fingerprint: the name of a channel."""
    firsts: Mapping[str, Channel]
    """The first channel that has this key."""

    @classmethod
    def of(cls, channels: Sequence[Keyed], now: datetime) -> _Known:
        owners = {one.own_fingerprint: one.channel.name for one in channels if one.own_fingerprint is not None}
        firsts: dict[str, Channel] = {}
        for one in channels:
            for in_ring in one.channel.ring:
                firsts.setdefault(in_ring.key.fingerprint, one.channel)
        return cls(now, owners, firsts)


def _judge_channel(one: Keyed, known: _Known) -> Iterator[Finding]:
    channel, base = one.channel, f"channels.{one.channel.name}"
    for index, in_ring in enumerate(channel.ring):
        is_md5 = isinstance(in_ring.key, Md5Key)
        name = f"{base}.md5_key" if is_md5 else f"{base}.keys[{index}]"
        found = list(_judge_key(name, one, index, known))
        yield from found or [ok(name, _described(in_ring, known.now, one))]
    active = channel.active_keys(known.now)
    for sign_type in channel.sign_types:
        if not any(key.serves(sign_type) for key in active):
            yield fault(
                f"{base}.keys",
                f"no key is active for {sign_type}: every notification is answered 503",
                "Put AlipayHK's present key into keys, or mend not_before and not_after.",
            )
    if channel.sign_types == ("MD5",):
        yield warning(
            f"{base}.sign_types",
            "MD5 alone: whoever has read the shared key can forge payments, its readers here included",
            "Ask AlipayHK to sign with RSA2.",
        )
    if not channel.verify_notify_id and any(_is_short(key) for key in active):
        yield warning(
            f"{base}.verify_notify_id",
            "a key of less than 2048 bits alone decides: who breaks it, for all merchants at once, forges payments",
            "Leave verify_notify_id out, and set gateway_url: AlipayHK is then asked about each notification.",
        )


def _judge_key(name: str, one: Keyed, index: int, known: _Known) -> Iterator[Finding]:
    """What should not be about one key; nothing where all is well."""
    channel, in_ring = one.channel, one.channel.ring[index]
    key = in_ring.key
    owner, first = known.owners.get(key.fingerprint), known.firsts[key.fingerprint]
    if owner is not None:
        yield fault(
            name,
            f"is the merchant's own public key of channel {owner}: every genuine notification would look forged",
            "Put AlipayHK's public key here, which its portal shows beside your own.",
        )
    elif first.name != channel.name and first.policy.partner_id != channel.policy.partner_id and not _is_shared(key):
        yield warning(
            name,
            f"is also a key of channel {first.name}, which has another partner_id: AlipayHK has a key for each partner",
            "Look at both channels in AlipayHK's portal; one has the other's key.",
        )
    if index in one.has_test_keys:
        yield warning(
            name,
            "is a test key: its private half lies beside it, and who has that signs as AlipayHK",
            "Good for trying out. Before real money: put AlipayHK's public key here and delete both halves.",
        )
    if _is_short(key):
        yield warning(name, _weakness(key), "Ask AlipayHK for an RSA2 key of your own, of 2048 bits.")
    yield from _judge_window(name, channel, in_ring, known.now)


def _judge_window(name: str, channel: Channel, in_ring: KeyInRing, now: datetime) -> Iterator[Finding]:
    begin, end = in_ring.not_before, in_ring.not_after
    if end is not None and end <= now:
        yield warning(name, f"expired at {_day(end)} and is not used any more", "Take it out of keys.")
    elif end is not None and end - now <= EXPIRES_SOON and (begin is None or begin <= now):
        successors = [
            other
            for other in channel.ring
            if other is not in_ring and other.is_active(end) and _serves_as_much(other.key, in_ring.key, channel)
        ]
        then = "another key is active then" if successors else "and no other key is active then: 503 from that moment"
        yield warning(
            name,
            f"expires at {_day(end)}, in {_span(end - now)}; {then}",
            "Take it out once it has expired." if successors else "Add AlipayHK's next key, or move not_after.",
        )


def _serves_as_much(other: Key, key: Key, channel: Channel) -> bool:
    return all(other.serves(sign_type) for sign_type in channel.sign_types if key.serves(sign_type))


def _described(in_ring: KeyInRing, now: datetime, one: Keyed) -> str:
    key = in_ring.key
    if isinstance(key, Md5Key):
        return f"MD5 key {key.fingerprint}"
    parts = [f"RSA, {key.bits} bits, {key.fingerprint}"]
    if in_ring.not_before is not None and in_ring.not_before > now:
        parts.append(f"not active until {_day(in_ring.not_before)}")
    if in_ring.not_after is not None:
        parts.append(f"until {_day(in_ring.not_after)}")
    if one.own_fingerprint is None:
        parts.append("not compared with your own key (merchant_key_file is not set)")
    return ", ".join(parts)


def _weakness(key: Key) -> str:
    assert not isinstance(key, Md5Key), "it has no length that counts"
    if _is_shared(key):
        return f"is AlipayHK's key of the legacy gateway: {key.bits} bits, and the same for all its merchants"
    return f"has {key.bits} bits, and is not the key of the legacy gateway that AlipayHK shows to all its merchants"


def _is_short(key: Key) -> bool:
    return not isinstance(key, Md5Key) and key.bits < BITS_MIN


def _is_shared(key: Key) -> bool:
    return key.fingerprint == LEGACY_FINGERPRINT


def _day(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M}Z"


def _span(length: timedelta) -> str:
    return f"{length.days} d" if length.days else f"{length.seconds // 3600} h"
