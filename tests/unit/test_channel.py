"""A channel believes what AlipayHK signed for it, whole, and nothing else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import cast
from urllib.parse import parse_qsl, quote_plus, urlencode

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey, generate_private_key
from hypothesis import given
from hypothesis import strategies as st

from notifier import channel as channel_module
from notifier.alipayhk.compose import compose
from notifier.alipayhk.form import canonical, parse
from notifier.alipayhk.keys import Key, Md5Key, RsaKey, SignType
from notifier.alipayhk.signature import sign
from notifier.channel import Channel, Channels, KeyInRing, NoKey, Verified
from notifier.errors import Rejected, Unavailable
from notifier.evidence import Evidence, Kind, Policy

NOW = datetime(2026, 11, 22, 9, 30, 5, tzinfo=UTC)
DAY = timedelta(days=1)
CONTENT_TYPE = "application/x-www-form-urlencoded; charset=utf-8"
POLICY = Policy(currency="HKD", seller_id=None, partner_id="2088000000000001", orders="open")

ALIPAYHK = generate_private_key(65537, 2048)
NEXT_ALIPAYHK = generate_private_key(65537, 2048)
STRANGER = generate_private_key(65537, 2048)
SECRET = Md5Key.parse("760bdzec6y9goq7ctyx96ezkz78287de")

PAID = {
    "notify_id": "5b89a773c60af059d96b1693dd3b3d6nc1",
    "notify_type": "trade_status_sync",
    "notify_time": "2026-11-22 17:30:04",
    "out_trade_no": "T20260001",
    "trade_no": "2026112222001332950500389138",
    "trade_status": "TRADE_FINISHED",
    "total_fee": "128.00",
    "currency": "HKD",
    "subject": "咖啡 + cake",
    "gmt_refund": "",
}


def public(key: RSAPrivateKey) -> RsaKey:
    return RsaKey.of(key.public_key())


def channel(*sign_types: SignType, ring: Iterable[KeyInRing] | None = None, name: str = "shop-hkd") -> Channel:
    return Channel(
        name=name,
        token="a-token-of-22-characters",
        protocol="mapi",
        policy=POLICY,
        sign_types=sign_types or ("RSA2",),
        ring=(KeyInRing(public(ALIPAYHK)),) if ring is None else tuple(ring),
        verify_notify_id=False,
        gateway_url=None,
    )


def verify(body: bytes, by: Channel | None = None, at: datetime = NOW) -> Verified:
    return (by or channel()).verify(body, CONTENT_TYPE, at, None)


def refusal(body: bytes, by: Channel | None = None, at: datetime = NOW) -> tuple[int, str]:
    with pytest.raises(Rejected) as why:
        verify(body, by, at)
    return why.value.status, why.value.reason


def fields_of(body: bytes) -> list[tuple[str, str]]:
    return parse_qsl(body.decode("ascii"), keep_blank_values=True, strict_parsing=True)


GENUINE = compose(PAID, "RSA2", ALIPAYHK)


def test_a_genuine_notification_becomes_evidence_as_it_arrived() -> None:
    verified = channel().verify(GENUINE, CONTENT_TYPE, NOW, "00-trace-01")

    assert verified == Verified(
        evidence=Evidence(
            kind=Kind.NOTIFICATION,
            channel="shop-hkd",
            protocol="mapi",
            received_at=NOW,
            key=public(ALIPAYHK).fingerprint,
            verdict="usable",
            policy=POLICY,
            evidence_id=hashlib.sha256(b"shop-hkd\0mapi\0" + canonical(parse(GENUINE))).hexdigest(),
            order="T20260001",
            body=GENUINE,
            content_type=CONTENT_TYPE,
            traceparent="00-trace-01",
        ),
        notify_id="5b89a773c60af059d96b1693dd3b3d6nc1",
    )


@pytest.mark.parametrize("sign_type", ["RSA", "RSA2", "MD5"])
def test_each_sign_type_is_verified_by_a_channel_that_allows_it(sign_type: SignType) -> None:
    ring = [KeyInRing(SECRET), KeyInRing(public(ALIPAYHK))]
    body = compose(PAID, sign_type, SECRET if sign_type == "MD5" else ALIPAYHK)

    assert verify(body, channel("MD5", "RSA", "RSA2", ring=ring)).evidence.verdict == "usable"


def test_the_evidence_id_of_an_md5_message_does_not_hold_the_key() -> None:
    body = compose(PAID, "MD5", SECRET)

    evidence = verify(body, channel("MD5", ring=[KeyInRing(SECRET)])).evidence

    assert evidence.evidence_id == hashlib.sha256(b"shop-hkd\0mapi\0" + canonical(parse(body))).hexdigest()
    assert evidence.key == SECRET.fingerprint


@given(st.permutations(fields_of(GENUINE)))
def test_a_resend_with_shuffled_fields_is_the_same_evidence(shuffled: list[tuple[str, str]]) -> None:
    """FORM-39."""
    evidence = verify(urlencode(shuffled).encode()).evidence

    assert evidence.evidence_id == verify(GENUINE).evidence.evidence_id
    assert (evidence.verdict, evidence.order) == ("usable", "T20260001")


def test_a_resend_with_a_newer_time_is_other_evidence() -> None:
    resend = compose(PAID | {"notify_time": "2026-11-22 17:34:04"}, "RSA2", ALIPAYHK)

    assert verify(resend).evidence.evidence_id != verify(GENUINE).evidence.evidence_id


@given(st.data())
def test_no_byte_of_a_signed_value_may_differ(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from([name for name, value in PAID.items() if value]))
    value = PAID[name].encode()
    at = data.draw(st.integers(0, len(value) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != value[at]))
    changed = dict(fields_of(GENUINE)) | {name: value[:at] + bytes([byte]) + value[at + 1 :]}

    assert refusal(urlencode(changed).encode()) == (401, "signature")


def signed_over(text: bytes) -> Callable[[], bytes]:
    """The genuine fields, with a good signature over another form of them than the rule's."""
    return lambda: urlencode(PAID | {"sign_type": "RSA2", "sign": sign(text, "RSA2", ALIPAYHK)}).encode()


def joined(fields: Iterable[tuple[str, str]]) -> bytes:
    return "&".join(f"{name}={value}" for name, value in fields).encode()


_NOT_EMPTY = [(name, value) for name, value in PAID.items() if value]


def test_the_helper_signs_as_alipayhk_does_when_it_is_given_the_rules_form() -> None:
    """Otherwise the cases below could be refused for another reason than theirs."""
    assert verify(signed_over(joined(sorted(_NOT_EMPTY)))()).evidence.verdict == "usable"


def with_pairs(*pairs: str, body: bytes = GENUINE) -> Callable[[], bytes]:
    return lambda: body + "".join(f"&{pair}" for pair in pairs).encode()


def with_sign(change: Callable[[bytes], bytes]) -> Callable[[], bytes]:
    """The genuine message with another text as its signature, escaped as it must be."""

    def body() -> bytes:
        fields = dict(fields_of(GENUINE))
        return urlencode(fields | {"sign": change(fields["sign"].encode())}).encode()

    return body


def with_plus_in_sign() -> bytes:
    """A message whose genuine signature has both `+` and `/` in it; most have."""
    bodies = (compose(PAID | {"out_trade_no": f"T{n}"}, "RSA2", ALIPAYHK) for n in range(10_000))
    return next(body for body in bodies if b"%2B" in sign_of(body) and b"%2F" in sign_of(body))


def sign_of(body: bytes) -> bytes:
    return quote_plus(dict(fields_of(body))["sign"]).encode()


PLUS = with_plus_in_sign()

SIGNATURE: dict[str, Callable[[], bytes]] = {
    "HTTP-06 another key": lambda: compose(PAID, "RSA2", STRANGER),
    "FORM-09 null as a word": with_pairs("seller_id=null"),
    "FORM-09 a value that became undefined": lambda: GENUINE.replace(b"gmt_refund=", b"gmt_refund=undefined"),
    "FORM-09 None": lambda: GENUINE.replace(b"gmt_refund=", b"gmt_refund=None"),
    "FORM-11 ; is data": lambda: GENUINE.replace(b"&currency", b";currency"),
    "FORM-37 R11 a field that was not signed": with_pairs("seller_id=2088000000000001"),
    "C05 parameters that want to choose keys": with_pairs("key=x", "_config=x", "alipay_cert_sn=x", "app_id=x"),
    "SIGN-02 blanks for a signature": with_sign(lambda sign: b"   "),
    "SIGN-04 extended": with_sign(lambda sign: sign + b"AAAA"),
    "SIGN-07 the URL's alphabet": lambda: PLUS.replace(b"%2B", b"-").replace(b"%2F", b"_"),
    "SIGN-09 lines": with_sign(lambda sign: base64.encodebytes(base64.b64decode(sign))),
    "SIGN-12 R2 percent-encoded twice": with_sign(lambda sign: quote_plus(sign).encode()),
    "SIGN-12 hex": with_sign(lambda sign: base64.b64decode(sign).hex().encode()),
    "R3 + in a signature sent as it is": lambda: PLUS.replace(sign_of(PLUS), sign_of(PLUS).replace(b"%2B", b"+")),
    "SIGN-14 of another message": lambda: PLUS.replace(sign_of(PLUS), sign_of(GENUINE)),
    "SIGN-17 unsorted": signed_over(joined(sorted(_NOT_EMPTY, reverse=True))),
    "SIGN-17 over escaped values": signed_over(urlencode(sorted(_NOT_EMPTY)).encode()),
    "SIGN-17 R10 with sign_type": signed_over(joined(sorted([*_NOT_EMPTY, ("sign_type", "RSA2")]))),
    "SIGN-17 with empty values": signed_over(joined(sorted(PAID.items()))),
    "SIGN-17 R1 over lists": signed_over(joined((name, f"['{value}']") for name, value in sorted(_NOT_EMPTY))),
    "R8 over another charset": signed_over("&".join(f"{n}={v}" for n, v in sorted(_NOT_EMPTY)).encode("gbk")),
    "R6 over HTML": signed_over(joined(sorted(_NOT_EMPTY)).replace(b"&", b"&amp;")),
    "MEAN-44 an amount that was changed": lambda: GENUINE.replace(b"128.00", b"1.00"),
}


@pytest.mark.parametrize("forge", SIGNATURE.values(), ids=SIGNATURE)
def test_what_alipayhk_did_not_sign_as_it_stands_is_refused(forge: Callable[[], bytes]) -> None:
    assert refusal(forge()) == (401, "signature")


def test_the_message_that_the_cases_change_is_genuine() -> None:
    """R3: with `+` escaped as it must be, it passes."""
    assert verify(PLUS).evidence.verdict == "usable"


@pytest.mark.parametrize("name", [name for name, value in PAID.items() if value])
def test_no_signed_field_may_be_missing(name: str) -> None:
    """SIGN-16."""
    rest = [(given, value) for given, value in fields_of(GENUINE) if given != name]

    assert refusal(urlencode(rest).encode()) == (401, "signature")


def test_names_are_sorted_as_bytes_and_not_as_pairs_or_without_case() -> None:
    """SIGN-17."""
    fields = PAID | {"total_fee1": "x", "Z": "y"}
    by_pairs = joined(sorted(((n, v) for n, v in fields.items() if v), key=lambda pair: f"{pair[0]}={pair[1]}"))
    without_case = joined(sorted(((n, v) for n, v in fields.items() if v), key=lambda pair: pair[0].lower()))

    for text in (by_pairs, without_case):
        body = urlencode(fields | {"sign_type": "RSA2", "sign": sign(text, "RSA2", ALIPAYHK)}).encode()
        assert refusal(body) == (401, "signature")
    assert verify(compose(fields, "RSA2", ALIPAYHK)).evidence.verdict == "usable"


SIGN_TYPES = ["rsa2", "RSA2 ", "RSA512", "none", "NONE", "", "DSA", "MD5", "RSA", "RSA2\0", "ＲＳＡ2"]


@pytest.mark.parametrize("stated", SIGN_TYPES, ids=repr)
def test_a_sign_type_that_the_channel_does_not_allow_is_refused_before_any_key_is_used(stated: str) -> None:
    """SIGN-19, C03, C04: even over a signature that would pass."""
    body = urlencode(dict(fields_of(GENUINE)) | {"sign_type": stated}).encode()

    assert refusal(body) == (401, "sign_type")


def test_a_genuine_weaker_signature_is_no_downgrade() -> None:
    """C04, C03: the key would do, the channel does not allow it."""
    assert refusal(compose(PAID, "RSA", ALIPAYHK)) == (401, "sign_type")
    assert refusal(
        compose(PAID, "MD5", SECRET), channel("RSA2", ring=[KeyInRing(public(ALIPAYHK)), KeyInRing(SECRET)])
    ) == (
        401,
        "sign_type",
    )


def test_without_a_sign_type_the_channels_only_one_is_meant() -> None:
    body = urlencode([pair for pair in fields_of(GENUINE) if pair[0] != "sign_type"]).encode()

    assert verify(body).evidence.verdict == "usable"
    assert refusal(body, channel("RSA2", "RSA")) == (401, "sign_type")


def test_a_sign_type_chooses_among_what_is_allowed_and_is_not_tried_otherwise() -> None:
    """R10: a signature of the one type under the name of the other is none."""
    both = channel("RSA2", "RSA")
    body = urlencode(dict(fields_of(GENUINE)) | {"sign_type": "RSA"}).encode()

    assert refusal(body, both) == (401, "signature")
    assert verify(GENUINE, both).evidence.verdict == "usable"


@pytest.mark.parametrize("body", [GENUINE.split(b"&sign=")[0], GENUINE.split(b"&sign=")[0] + b"&sign="])
def test_a_message_without_a_signature_is_refused(body: bytes) -> None:
    """SIGN-01, SIGN-02."""
    assert refusal(body) == (401, "sign_missing")


MALFORMED = {
    "C09 total_fee twice": GENUINE + b"&total_fee=9999.00",
    "FORM-02 twice through an escape": GENUINE + b"&%74otal_fee=9999.00",
    "sign twice": GENUINE + b"&sign=x",
    "FORM-36 Sign": GENUINE + b"&Sign=x",
    "HTTP-44 a byte order mark": b"\xef\xbb\xbf" + GENUINE,
    "a line end behind": GENUINE + b"&",
    "nothing": b"",
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_message_is_refused_as_such(body: bytes) -> None:
    assert refusal(body) == (400, "malformed")


def test_empty_fields_that_were_added_are_not_read() -> None:
    """C08: the fields that would make a refund of it are empty, so it is a payment, and the same evidence."""
    verified = verify(GENUINE + b"&refund_status=&out_return_no=").evidence

    assert (verified.verdict, verified.order) == ("usable", "T20260001")
    assert verified.evidence_id == verify(GENUINE).evidence.evidence_id


RE_SPLIT = {
    "FORM-32 a signed & in a subject": PAID | {"subject": "a&b"},
    "C07 an amount inside of a subject": PAID | {"subject": "a&total_fee=9999.00"},
}


@pytest.mark.parametrize("fields", RE_SPLIT.values(), ids=RE_SPLIT)
def test_a_signed_ampersand_is_kept_set_aside_and_names_no_order(fields: dict[str, str]) -> None:
    evidence = verify(compose(fields, "RSA2", ALIPAYHK)).evidence

    assert (evidence.verdict, evidence.order) == ("ambiguous", None)


def test_a_signature_that_is_split_again_into_other_fields_is_set_aside() -> None:
    """
    C07, FORM-34: the bytes that were signed stay the same, the fields do not. Whoever pays 0.01 for an order whose body they
    choose could make 9999.00 for another order of it.
    """
    signed_for = PAID | {"body": "x&out_trade_no=VICTIM&total_fee=9999.00&zz=", "total_fee": "0.01"}
    signature = sign(canonical({n.encode(): v.encode() for n, v in signed_for.items()}), "RSA2", ALIPAYHK)
    text = canonical({n.encode(): v.encode() for n, v in signed_for.items()}).decode()
    head, tail = text.split("&total_fee=9999.00&", 1)
    forged = dict(pair.split("=", 1) for pair in head.split("&")) | {"total_fee": f"9999.00&{tail}"}
    body = urlencode(forged | {"sign_type": "RSA2", "sign": signature}).encode()
    assert canonical(parse(body)) == text.encode(), "it is a forgery"
    assert parse(body)[b"out_trade_no"] == b"VICTIM"

    evidence = verify(body).evidence

    assert (evidence.verdict, evidence.order) == ("ambiguous", None)


def test_the_charset_is_the_signed_one_whatever_the_header_says() -> None:
    """FORM-22, R9."""
    body = compose(PAID | {"charset": "GBK"}, "RSA2", ALIPAYHK, charset="gbk")

    evidence = channel().verify(body, "application/x-www-form-urlencoded; charset=UTF-8", NOW, None).evidence

    assert evidence.verdict == "usable"
    assert evidence.content_type.endswith("UTF-8"), "as it was received"


def test_the_bytes_are_verified_as_they_arrived_and_not_as_text() -> None:
    """
    R8, FORM-21: decoded and encoded again, a message in another charset would be refused.

    Signed here without the project's own reading of what is signed, which would be wrong in the same way.
    """
    fields = sorted((name, value.encode("gbk")) for name, value in [*_NOT_EMPTY, ("charset", "GBK")])
    signed = b"&".join(name.encode() + b"=" + value for name, value in fields)
    body = urlencode([*fields, ("sign", sign(signed, "RSA2", ALIPAYHK)), ("sign_type", "RSA2")]).encode()

    assert verify(body).evidence.verdict == "usable"


SET_ASIDE = {
    "a status that nobody knows": ({"trade_status": "PAID"}, "unknown_status", "T20260001"),
    "C26 no type": ({"notify_type": ""}, "unknown_type", "T20260001"),
    "FORM-16 NUL in a subject": ({"subject": "a\0"}, "bad_field", "T20260001"),
    "an order number that is none": ({"out_trade_no": "~position"}, "bad_field", None),
    "protocol B": ({"out_return_no": "R1", "trade_status": ""}, "not_handled", "T20260001"),
    "a charset that nobody knows": ({"charset": "klingon"}, "undecodable", "T20260001"),
}


@pytest.mark.parametrize(("changed", "verdict", "order"), SET_ASIDE.values(), ids=SET_ASIDE)
def test_genuine_and_unusable_is_evidence_with_its_reason(
    changed: dict[str, str], verdict: str, order: str | None
) -> None:
    evidence = verify(compose(PAID | changed, "RSA2", ALIPAYHK)).evidence

    assert (evidence.verdict, evidence.order) == (verdict, order)


NOTIFY_IDS = {
    "none": ("", None),
    "one with an escape in it, read once": ("RqPnCoPT3K9%2Fvwbh3", "RqPnCoPT3K9%2Fvwbh3"),
    "C28 one that would bring parameters": ("x&partner=attacker", "x&partner=attacker"),
    "not ASCII": ("标", None),
    "a line end": ("x\n", None),
    "longer than any": ("x" * 129, None),
}


@pytest.mark.parametrize(("given_id", "asked_by"), NOTIFY_IDS.values(), ids=NOTIFY_IDS)
def test_the_notify_id_is_what_alipayhk_can_be_asked_by(given_id: str, asked_by: str | None) -> None:
    assert verify(compose(PAID | {"notify_id": given_id}, "RSA2", ALIPAYHK)).notify_id == asked_by


def ring_in_rotation() -> list[KeyInRing]:
    """The old key ends a day after now, the new one began a day before."""
    return [
        KeyInRing(public(ALIPAYHK), None, NOW + DAY),
        KeyInRing(public(NEXT_ALIPAYHK), NOW - DAY, None),
    ]


def test_both_keys_pass_while_one_follows_the_other() -> None:
    """C34."""
    by = channel(ring=ring_in_rotation())

    for key in (ALIPAYHK, NEXT_ALIPAYHK):
        assert verify(compose(PAID, "RSA2", key), by).evidence.key == public(key).fingerprint


ROTATION = {
    "before the new one begins": (NOW - DAY - timedelta(microseconds=1), [ALIPAYHK]),
    "as the new one begins": (NOW - DAY, [ALIPAYHK, NEXT_ALIPAYHK]),
    "just before the old one ends": (NOW + DAY - timedelta(microseconds=1), [ALIPAYHK, NEXT_ALIPAYHK]),
    "as the old one ends": (NOW + DAY, [NEXT_ALIPAYHK]),
}


@pytest.mark.parametrize(("at", "active"), ROTATION.values(), ids=ROTATION)
def test_a_key_passes_only_in_its_time(at: datetime, active: list[RSAPrivateKey]) -> None:
    """SIGN-31, C34: from not_before on, until just before not_after."""
    by = channel(ring=ring_in_rotation())

    assert [key.fingerprint for key in by.active_keys(at)] == [public(key).fingerprint for key in active]
    for key in (ALIPAYHK, NEXT_ALIPAYHK):
        body = compose(PAID, "RSA2", key)
        if key in active:
            assert verify(body, by, at).evidence.verdict == "usable"
        else:
            assert refusal(body, by, at) == (401, "signature")


NO_KEY: dict[str, tuple[tuple[SignType, ...], list[KeyInRing]]] = {
    "all have ended": (("RSA2",), [KeyInRing(public(ALIPAYHK), None, NOW)]),
    "none has begun": (("RSA2",), [KeyInRing(public(ALIPAYHK), NOW + DAY, None)]),
    "the one for this sign type has ended": (
        ("RSA2", "MD5"),
        [KeyInRing(public(ALIPAYHK), None, NOW), KeyInRing(SECRET)],
    ),
    "the one that is left is too short for this sign type": (
        ("RSA2", "RSA"),
        [KeyInRing(replace(public(ALIPAYHK), bits=1024))],
    ),
}


@pytest.mark.parametrize(("sign_types", "ring"), NO_KEY.values(), ids=NO_KEY)
def test_without_a_key_the_message_may_come_again(sign_types: tuple[SignType, ...], ring: list[KeyInRing]) -> None:
    """Our settings may be the cause, so it is neither believed nor refused."""
    with pytest.raises(NoKey) as why:
        verify(GENUINE, channel(*sign_types, ring=ring))

    assert isinstance(why.value, Unavailable)
    assert (why.value.what, why.value.why) == ("keys", "no_key")


def test_what_is_malformed_is_told_so_even_without_a_key() -> None:
    assert refusal(b"&", channel(ring=[])) == (400, "malformed")


@pytest.mark.parametrize("outcome", [None, -1, 0, 1, True, "", "valid", "0123456789abcdef"], ids=repr)
def test_valid_is_the_name_of_a_key_that_was_given_and_nothing_else(
    outcome: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C02."""
    monkeypatch.setattr(channel_module, "verify", lambda *_: outcome)

    assert refusal(GENUINE) == (401, "signature")


class _Broken:
    def verify(self, *_: object) -> None:
        raise RuntimeError("the library is broken")


def test_a_broken_library_is_neither_yes_nor_no() -> None:
    """SIGN-34: it surfaces, so that the door answers 503 and somebody hears of it."""
    broken = replace(public(ALIPAYHK), public=cast(RSAPublicKey, _Broken()))

    with pytest.raises(RuntimeError, match="broken"):
        verify(GENUINE, channel(ring=[KeyInRing(broken)]))


def test_another_channels_message_is_refused_or_bears_its_own_name() -> None:
    """SIGN-32, MEAN-31: other keys refuse it; under a key that both share, it is other evidence."""
    theirs = channel(name="other-hkd", ring=[KeyInRing(public(STRANGER))])
    sharing = channel(name="other-hkd")

    assert refusal(GENUINE, theirs) == (401, "signature")
    assert verify(GENUINE, sharing).evidence.channel == "other-hkd"
    assert verify(GENUINE, sharing).evidence.evidence_id != verify(GENUINE).evidence.evidence_id


def test_no_refusal_holds_anything_of_the_message() -> None:
    """S12: an exception ends in a log line."""
    canary = "canary@example.com"
    for body in (
        compose(PAID | {"buyer_email": canary}, "RSA2", STRANGER),
        compose(PAID | {"buyer_email": canary}, "RSA2", ALIPAYHK) + b"&buyer_email=x",
    ):
        with pytest.raises(Rejected) as why:
            verify(body)
        assert canary not in repr(why.value) + str(why.value)
        assert why.value.__context__ is None


def test_a_channel_shows_neither_token_nor_secret() -> None:
    shown = repr(channel("MD5", ring=[KeyInRing(SECRET)]))

    assert "a-token-of-22-characters" not in shown
    assert SECRET.secret.decode() not in shown
    assert "shop-hkd" in shown


def test_channels_are_found_by_their_token_alone() -> None:
    one, other = channel(), replace(channel(name="other-hkd"), token="another-token-of-many")
    channels = Channels([one, other])

    assert channels.by_token("a-token-of-22-characters") is one
    assert channels.by_token("another-token-of-many") is other
    assert channels.by_token("shop-hkd") is None
    assert channels.by_token("") is None
    assert list(channels) == [one, other]
    assert len(channels) == 2


def test_a_ring_may_hold_keys_of_each_kind() -> None:
    keys: list[Key] = [SECRET, public(ALIPAYHK)]

    assert list(channel(ring=[KeyInRing(key) for key in keys]).active_keys(NOW)) == keys
