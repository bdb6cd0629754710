"""What is composed as AlipayHK would send it is read again as it was meant."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from hypothesis import given
from hypothesis import strategies as st

from notifier.alipayhk.compose import compose
from notifier.alipayhk.form import SIGN, SIGN_TYPE, canonical, parse
from notifier.alipayhk.keys import Md5Key, RsaKey, SignType
from notifier.alipayhk.signature import verify

MD5_KEY = Md5Key.parse("760bdzec6y9goq7ctyx96ezkz78287de")

_fields = st.dictionaries(
    st.from_regex(r"[a-z0-9_]{1,64}", fullmatch=True).filter(lambda name: not name.startswith("sign")),
    st.text(st.characters(codec="utf-8"), max_size=20),
    min_size=1,
    max_size=20,
)


@given(_fields)
def test_what_is_composed_is_read_and_genuine(fields: dict[str, str]) -> None:
    read = parse(compose(fields, "MD5", MD5_KEY))

    assert verify(canonical(read), read[SIGN], "MD5", [MD5_KEY]) == MD5_KEY.fingerprint
    assert {name.decode(): value.decode() for name, value in read.items() if name not in (SIGN, SIGN_TYPE)} == fields


@given(st.data())
def test_a_signed_value_that_is_changed_by_one_byte_is_not_genuine(data: st.DataObject) -> None:
    fields = data.draw(_fields.filter(lambda fields: any(fields.values())))
    read = parse(compose(fields, "MD5", MD5_KEY))
    name = data.draw(st.sampled_from([name.encode() for name, value in fields.items() if value]))
    at = data.draw(st.integers(0, len(read[name]) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != read[name][at]))

    changed = read | {name: read[name][:at] + bytes([other]) + read[name][at + 1 :]}

    assert verify(canonical(changed), read[SIGN], "MD5", [MD5_KEY]) is None


@pytest.mark.parametrize("sign_type", ["RSA", "RSA2"])
def test_rsa_messages_are_genuine(sign_type: SignType, private: RSAPrivateKey) -> None:
    key = RsaKey.of(private.public_key())
    read = parse(compose({"subject": "會員+ & %41", "total_fee": "0.01"}, sign_type, private))

    assert read[SIGN_TYPE] == sign_type.encode()
    assert verify(canonical(read), read[SIGN], sign_type, [key]) == key.fingerprint


def test_text_is_sent_in_the_charset_asked_for() -> None:
    read = parse(compose({"subject": "测试", "charset": "GBK"}, "MD5", MD5_KEY, charset="gbk"))

    assert read[b"subject"] == "测试".encode("gbk")
