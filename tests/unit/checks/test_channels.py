"""Keys that the settings let pass: which of them would not do, today or in two weeks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from notifier.alipayhk.keys import Md5Key, RsaKey, SignType, load_public_key
from notifier.channel import EXPIRES_SOON, Channel, KeyInRing
from notifier.checks.channels import LEGACY_FINGERPRINT, Keyed, judge_channels
from notifier.checks.finding import Finding, State
from notifier.evidence import Policy

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)

ALIPAYHK, NEXT, OWN = (RsaKey.of(generate_private_key(65537, 2048).public_key()) for _ in range(3))
SHORT = RsaKey.of(generate_private_key(65537, 1024).public_key())  # noqa: S505 - it is what is to be found
MD5 = Md5Key.parse("760bdzec6y9goq7ctyx96ezkz78287de")


def shared_key() -> RsaKey:
    vectors = json.loads((Path(__file__).parents[2] / "golden" / "vectors.json").read_text("utf-8"))
    text = vectors["keys"]["mapi_rsa1024_public_b64_spki"]
    return load_public_key(text.encode(), allow_legacy_key=True, sign_types=("RSA",))


SHARED = shared_key()


def keyed(
    *ring: KeyInRing,
    name: str = "shop",
    sign_types: tuple[SignType, ...] = ("RSA2",),
    partner_id: str = "2088000000000001",
    verify_notify_id: bool = False,
    own: RsaKey | None = OWN,
    test_keys: Sequence[int] = (),
) -> Keyed:
    channel = Channel(
        name=name,
        token=f"token-of-{name}-in-22-characters",
        protocol="mapi",
        policy=Policy(currency="HKD", seller_id=None, partner_id=partner_id, orders="open"),
        sign_types=sign_types,
        ring=ring,
        verify_notify_id=verify_notify_id,
        gateway_url="https://intlmapi.alipay.com/gateway.do" if verify_notify_id else None,
    )
    return Keyed(channel, own.fingerprint if own is not None else None, test_keys)


def until(end: datetime, key: RsaKey = ALIPAYHK) -> KeyInRing:
    return KeyInRing(key, None, end)


def since(begin: datetime, key: RsaKey = NEXT) -> KeyInRing:
    return KeyInRing(key, begin, None)


GOOD = KeyInRing(ALIPAYHK)


@dataclass(frozen=True, slots=True)
class Case:
    """Channels, and what is to be found about them: a name, a state, and some of its words."""

    channels: list[Keyed]
    found: list[tuple[str, State, str]]


CASES: dict[str, Case] = {
    "a key of AlipayHK's, compared with the own one": Case(
        [keyed(GOOD)], [("channels.shop.keys[0]", "ok", "2048 bits")]
    ),
    "one that nothing says is not the own one": Case(
        [keyed(GOOD, own=None)], [("channels.shop.keys[0]", "ok", "not compared with your own key")]
    ),
    "the own key of another channel": Case(
        [keyed(GOOD), keyed(KeyInRing(OWN), name="other", own=None)],
        [("channels.shop.keys[0]", "ok", ""), ("channels.other.keys[0]", "fault", "own public key of channel shop")],
    ),
    "one key for two partners": Case(
        [keyed(GOOD), keyed(GOOD, name="other", partner_id="2088000000000002")],
        [("channels.shop.keys[0]", "ok", ""), ("channels.other.keys[0]", "warning", "also a key of channel shop")],
    ),
    "one key for two channels of one partner": Case(
        [keyed(GOOD), keyed(GOOD, name="other")],
        [("channels.shop.keys[0]", "ok", ""), ("channels.other.keys[0]", "ok", "")],
    ),
    "the key that all merchants share, in two partners' channels": Case(
        [
            keyed(KeyInRing(SHARED), sign_types=("RSA",), verify_notify_id=True),
            keyed(KeyInRing(SHARED), name="b", partner_id="2", sign_types=("RSA",), verify_notify_id=True),
        ],
        [
            ("channels.shop.keys[0]", "warning", "the same for all its merchants"),
            ("channels.b.keys[0]", "warning", "the same for all its merchants"),
        ],
    ),
    "the shared key, and AlipayHK not asked": Case(
        [keyed(KeyInRing(SHARED), sign_types=("RSA",))],
        [
            ("channels.shop.keys[0]", "warning", "1024 bits"),
            ("channels.shop.verify_notify_id", "warning", "alone decides"),
        ],
    ),
    "a short key that is not AlipayHK's": Case(
        [keyed(KeyInRing(SHORT), sign_types=("RSA",), verify_notify_id=True)],
        [("channels.shop.keys[0]", "warning", "is not the key of the legacy gateway")],
    ),
    "a test key": Case(
        [keyed(GOOD, test_keys=[0])], [("channels.shop.keys[0]", "warning", "private half lies beside it")]
    ),
    "expired, with another one": Case(
        [keyed(until(NOW), since(NOW - DAY))],
        [("channels.shop.keys[0]", "warning", "expired at 2026-11-24 12:00Z"), ("channels.shop.keys[1]", "ok", "")],
    ),
    "expired, and alone": Case(
        [keyed(until(NOW))],
        [("channels.shop.keys[0]", "warning", "expired"), ("channels.shop.keys", "fault", "answered 503")],
    ),
    "expires in two weeks, and the next one is there": Case(
        [keyed(until(NOW + EXPIRES_SOON), since(NOW + EXPIRES_SOON))],
        [
            ("channels.shop.keys[0]", "warning", "in 14 d; another key is active then"),
            ("channels.shop.keys[1]", "ok", "not active until 2026-12-08 12:00Z"),
        ],
    ),
    "expires in hours, and the next one begins a minute later": Case(
        [keyed(until(NOW + 3600 * timedelta(seconds=3)), since(NOW + 3600 * timedelta(seconds=3) + MINUTE))],
        [
            ("channels.shop.keys[0]", "warning", "in 3 h; and no other key is active then"),
            ("channels.shop.keys[1]", "ok", "not active until"),
        ],
    ),
    "expires, and the next one is too short for its sign type": Case(
        [keyed(until(NOW + DAY), KeyInRing(SHORT), sign_types=("RSA", "RSA2"), verify_notify_id=True)],
        [
            ("channels.shop.keys[0]", "warning", "no other key is active then"),
            ("channels.shop.keys[1]", "warning", "1024 bits"),
        ],
    ),
    "expires a minute after that": Case(
        [keyed(until(NOW + EXPIRES_SOON + MINUTE))], [("channels.shop.keys[0]", "ok", "until 2026-12-08 12:01Z")]
    ),
    "not active yet, and alone": Case(
        [keyed(since(NOW + MINUTE))],
        [("channels.shop.keys[0]", "ok", "not active until"), ("channels.shop.keys", "fault", "no key is active")],
    ),
    "MD5 alone": Case(
        [keyed(KeyInRing(MD5), sign_types=("MD5",), own=None)],
        [("channels.shop.md5_key", "ok", ""), ("channels.shop.sign_types", "warning", "can forge")],
    ),
    "MD5 beside RSA2": Case(
        [keyed(GOOD, KeyInRing(MD5), sign_types=("RSA2", "MD5"))],
        [("channels.shop.keys[0]", "ok", ""), ("channels.shop.md5_key", "ok", "")],
    ),
    "no channel": Case([], [("channels", "warning", "answered 404")]),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_what_is_wrong_with_a_key_is_told_with_what_to_do(case: Case) -> None:
    found = judge_channels(case.channels, NOW)

    assert [(one.name, one.state) for one in found] == [(name, state) for name, state, _ in case.found]
    assert [words for one, (_, _, words) in zip(found, case.found, strict=True) if words not in one.message] == []
    assert all(has_remedy(one) for one in found)


def test_no_line_holds_a_key_or_a_token() -> None:
    """They are printed, and pasted into tickets."""
    one = keyed(GOOD, KeyInRing(MD5), sign_types=("RSA2", "MD5"))

    said = repr(judge_channels([one], NOW))

    assert MD5.secret.decode() not in said
    assert one.channel.token not in said


def test_the_shared_key_is_known_by_what_alipayhk_published() -> None:
    assert SHARED.fingerprint == LEGACY_FINGERPRINT


def test_a_channel_is_judged_with_all_others_whatever_their_order() -> None:
    """The own key of a channel is found in any other, also in one that stands before it."""
    wrong = keyed(KeyInRing(OWN), name="other", own=None)

    found = judge_channels([wrong, replace(keyed(GOOD))], NOW)

    assert [one.state for one in found] == ["fault", "ok"]


def has_remedy(one: Finding) -> bool:
    return bool(one.remedy) == (one.state != "ok")
