"""A genuine message tells whether the keys are the right ones."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from notifier.alipayhk.compose import compose
from notifier.alipayhk.keys import RsaKey
from notifier.channel import Channel, KeyInRing
from notifier.checks.finding import State
from notifier.checks.vectors import judge_file, judge_newest, vectors_beside
from notifier.config import ChannelSettings
from notifier.evidence import Evidence, Policy
from notifier.settings.channels import KeySettings

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
ALIPAYHK, OTHER = generate_private_key(65537, 2048), generate_private_key(65537, 2048)
FORM = "application/x-www-form-urlencoded"
BODY = compose(
    {
        "notify_type": "trade_status_sync",
        "out_trade_no": "T1",
        "trade_no": "2026112422001332950500389138",
        "trade_status": "TRADE_SUCCESS",
        "total_fee": "128.00",
        "subject": "咖啡",
    },
    "RSA2",
    ALIPAYHK,
)


def channel(*ring: KeyInRing) -> Channel:
    return Channel(
        name="shop",
        token="a-token-of-22-characters",
        protocol="mapi",
        policy=Policy(currency="HKD", seller_id=None, partner_id="2088000000000001", orders="open"),
        sign_types=("RSA2",),
        ring=ring,
        verify_notify_id=False,
        gateway_url=None,
    )


GENUINE = KeyInRing(RsaKey.of(ALIPAYHK.public_key()))
WRONG = KeyInRing(RsaKey.of(OTHER.public_key()))
EXPIRED = replace(GENUINE, not_after=NOW)


@pytest.mark.parametrize(
    ("ring", "body", "state", "words"),
    [
        pytest.param(GENUINE, BODY, "ok", "verified", id="as it was sent"),
        pytest.param(GENUINE, BODY + b"\r\n", "ok", "verified", id="with an editor's line end"),
        pytest.param(WRONG, BODY, "fault", "(signature)", id="the key is another's"),
        pytest.param(EXPIRED, BODY, "fault", "no key is active", id="the key has expired"),
        pytest.param(GENUINE, BODY.replace(b"128.00", b"129.00"), "fault", "(signature)", id="not as it was sent"),
        pytest.param(GENUINE, b"\xff\x00=", "fault", "(malformed)", id="no form at all"),
    ],
)
def test_a_message_beside_a_key_proves_it_or_disproves_it(
    ring: KeyInRing, body: bytes, state: State, words: str
) -> None:
    found = judge_file(channel(ring), "alipayhk.vector", body, NOW)

    assert (found.name, found.state) == ("channels.shop.vector", state)
    assert words in found.message


def received(before: timedelta = DAY) -> Evidence:
    return channel(GENUINE).verify(BODY, FORM, NOW - before, None).evidence


DAMAGED = msgspec.structs.replace(received(), body=BODY.replace(b"128.00", b"129.00"))


@pytest.mark.parametrize(
    ("ring", "newest", "state", "words"),
    [
        pytest.param([GENUINE], received(), "ok", "verifies", id="the same keys"),
        pytest.param([WRONG, GENUINE], received(), "ok", "verifies", id="one more key"),
        pytest.param([WRONG], received(), "warning", "not active any more", id="another key"),
        pytest.param([EXPIRED, WRONG], received(), "warning", "not active any more", id="expired since"),
        pytest.param([GENUINE], None, "warning", "unproven", id="nothing was received yet"),
        pytest.param([GENUINE], DAMAGED, "fault", "(signature)", id="it is not what was verified then"),
    ],
)
def test_the_newest_notification_tells_whether_the_keys_still_fit(
    ring: list[KeyInRing], newest: Evidence | None, state: State, words: str
) -> None:
    found = judge_newest(channel(*ring), newest, NOW)

    assert (found.name, found.state) == ("channels.shop.vector", state)
    assert words in found.message
    assert bool(found.remedy) == (state != "ok")


def test_a_sign_type_that_is_allowed_no_more_refuses_what_was_taken() -> None:
    narrowed = replace(channel(GENUINE), sign_types=("RSA",))

    found = judge_newest(narrowed, received(), NOW)

    assert found.state == "fault"
    assert "(sign_type)" in found.message


def test_it_lies_beside_the_key_under_the_keys_own_name(tmp_path: Path) -> None:
    public = RsaKey.of(ALIPAYHK.public_key()).public
    (tmp_path / "a.pem").write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    (tmp_path / "md5").write_text("760bdzec6y9goq7ctyx96ezkz78287de")
    written = ChannelSettings(
        name="shop",
        token="a-token-of-22-characters",
        protocol="mapi",
        partner_id="2088000000000001",
        currency="HKD",
        sign_types=("RSA2", "MD5"),
        keys=(KeySettings(file=tmp_path / "a.pem"),),
        md5_key_file=tmp_path / "md5",
    )

    before = vectors_beside(written)
    for name in ("a.vector", "md5.vector", "b.vector"):
        (tmp_path / name).write_bytes(BODY)

    assert before == []
    assert vectors_beside(written) == [tmp_path / "a.vector", tmp_path / "md5.vector"]
