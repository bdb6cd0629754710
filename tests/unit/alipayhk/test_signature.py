"""Laws of signatures: the genuine one passes, and nothing else does."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS, PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey, RSAPublicNumbers
from cryptography.hazmat.primitives.hashes import MD5, SHA1, SHA256, SHA512
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from notifier.alipayhk.keys import Md5Key, RsaKey, SignType
from notifier.alipayhk.signature import sign, verify

SIGNED = b"out_trade_no=T1&total_fee=0.01&trade_status=TRADE_SUCCESS"
_SHA256_INFO = bytes.fromhex("3031300d060960864801650304020105000420")  # RFC 8017, section 9.2, note 1
_SHA256_INFO_WITHOUT_NULL = bytes.fromhex("302f300b0609608648016503040201" + "0420")


def padded(info: bytes = _SHA256_INFO, *, block_type: int = 1, filler: bytes = b"\xff", tail: bytes = b"") -> bytes:
    """An encoded message of 256 bytes as PKCS#1 v1.5 wants it, but for what a case changes."""
    digest_info = info + hashlib.sha256(SIGNED).digest() + tail
    return b"\x00" + bytes([block_type]) + filler * (253 - len(digest_info)) + b"\x00" + digest_info


def raw(key: RSAPrivateKey, encoded: bytes) -> bytes:
    """The RSA operation itself, without any padding rule."""
    numbers = key.private_numbers()
    return pow(int.from_bytes(encoded, "big"), numbers.d, numbers.public_numbers.n).to_bytes(256, "big")


def genuine(key: RSAPrivateKey) -> bytes:
    return key.sign(SIGNED, PKCS1v15(), SHA256())


def text(signature: bytes) -> bytes:
    return base64.b64encode(signature)


def last_bits_altered(encoded: bytes) -> bytes:
    """Another text that even a strict base64 decoder reads as the same bytes: the last symbol has bits that nobody uses."""
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    body = encoded.rstrip(b"=")
    return body[:-1] + bytes([alphabet[alphabet.index(body[-1]) ^ 1]]) + encoded[len(body) :]


@pytest.mark.parametrize("sign_type", ["RSA", "RSA2"])
def test_a_genuine_signature_names_its_key(
    sign_type: SignType, private: RSAPrivateKey, other_private: RSAPrivateKey
) -> None:
    ring = [RsaKey.of(other_private.public_key()), RsaKey.of(private.public_key())]

    assert verify(SIGNED, sign(SIGNED, sign_type, private), sign_type, ring) == ring[1].fingerprint


def test_a_genuine_md5_signature_names_its_key(md5_key: Md5Key) -> None:
    signature = hashlib.md5(SIGNED + b"760bdzec6y9goq7ctyx96ezkz78287de").hexdigest().encode()  # noqa: S324 - the rule

    assert sign(SIGNED, "MD5", md5_key) == signature
    assert verify(SIGNED, signature, "MD5", [md5_key]) == md5_key.fingerprint


def test_the_raw_operation_of_these_tests_makes_genuine_signatures(private: RSAPrivateKey) -> None:
    """Otherwise the cases below could fail for another reason than theirs."""
    assert raw(private, padded()) == genuine(private)
    assert len(padded()) == 256


FORGED: dict[str, Callable[[RSAPrivateKey], bytes]] = {
    "SIGN-02 nothing": lambda key: b"",
    "SIGN-02 blanks": lambda key: b"   ",
    "SIGN-04 extended": lambda key: text(genuine(key) + b"\x00"),
    "SIGN-04 a leading zero byte": lambda key: text(b"\x00" + genuine(key)),
    "C30 255 bytes": lambda key: text(genuine(key)[1:]),
    "C30 cut": lambda key: text(genuine(key)[:-1]),
    "C30 all zero": lambda key: text(bytes(256)),
    "C30 all ones": lambda key: text(b"\xff" * 256),
    "C30 s + n": lambda key: text(
        (int.from_bytes(genuine(key), "big") + key.public_key().public_numbers().n).to_bytes(257, "big")
    ),
    "SIGN-09 lines of 76": lambda key: base64.encodebytes(genuine(key)),
    "SIGN-09 CRLF at the end": lambda key: text(genuine(key)) + b"\r\n",
    "SIGN-09 a tab inside": lambda key: text(genuine(key))[:50] + b"\t" + text(genuine(key))[50:],
    "a blank before": lambda key: b" " + text(genuine(key)),
    "SIGN-11 C29 unused bits altered": lambda key: last_bits_altered(text(genuine(key))),
    "C29 ! inside": lambda key: text(genuine(key))[:50] + b"!" + text(genuine(key))[50:],
    "C29 AAAA behind the padding": lambda key: text(genuine(key)) + b"AAAA",
    "without padding": lambda key: text(genuine(key)).rstrip(b"="),
    "padded once more": lambda key: text(genuine(key)) + b"=",
    "SIGN-12 R2 percent-encoded twice": lambda key: text(genuine(key)).replace(b"=", b"%3D"),
    "SIGN-12 hex": lambda key: genuine(key).hex().encode(),
    "SIGN-12 PEM wrapped": lambda key: b"-----BEGIN SIGNATURE-----" + text(genuine(key)),
    "encoded twice": lambda key: text(text(genuine(key))),
    "SIGN-14 of another message": lambda key: text(key.sign(SIGNED + b"0", PKCS1v15(), SHA256())),
    "SIGN-26 C31 PSS": lambda key: text(key.sign(SIGNED, PSS(MGF1(SHA256()), PSS.MAX_LENGTH), SHA256())),
    "C04 another hash: SHA-1": lambda key: text(key.sign(SIGNED, PKCS1v15(), SHA1())),  # noqa: S303 - must be refused
    "another hash: SHA-512": lambda key: text(key.sign(SIGNED, PKCS1v15(), SHA512())),
    "another hash: MD5": lambda key: text(key.sign(SIGNED, PKCS1v15(), MD5())),  # noqa: S303 - must be refused
    "C31 the digest's NULL is missing": lambda key: text(raw(key, padded(_SHA256_INFO_WITHOUT_NULL))),
    "C31 block type 2": lambda key: text(raw(key, padded(block_type=2))),
    "C31 a wrong padding byte": lambda key: text(raw(key, padded(filler=b"\xfe"))),
    "C31 garbage behind the digest": lambda key: text(raw(key, padded(tail=b"\x00" * 20))),
    "no padding at all": lambda key: text(raw(key, (_SHA256_INFO + hashlib.sha256(SIGNED).digest()).rjust(256, b"\0"))),
    "a word": lambda key: b"true",
    "C03 md5 with the public key as text": lambda key: (
        hashlib.md5(  # noqa: S324 - a forgery
            SIGNED + key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        )
        .hexdigest()
        .encode()
    ),
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED)
def test_what_is_not_exactly_the_genuine_signature_is_none(
    forge: Callable[[RSAPrivateKey], bytes], private: RSAPrivateKey
) -> None:
    assert verify(SIGNED, forge(private), "RSA2", [RsaKey.of(private.public_key())]) is None


def test_no_bit_of_a_signature_may_differ(private: RSAPrivateKey) -> None:
    """SIGN-06, each of 2048 positions."""
    keys = [RsaKey.of(private.public_key())]
    signature = int.from_bytes(genuine(private), "big")

    passed = [
        bit
        for bit in range(2048)
        if verify(SIGNED, text((signature ^ (1 << bit)).to_bytes(256, "big")), "RSA2", keys) is not None
    ]

    assert passed == []


def test_no_signature_passes_under_another_key(private: RSAPrivateKey, other_private: RSAPrivateKey) -> None:
    """SIGN-29, SIGN-32: the merchant's own key, another merchant's."""
    assert verify(SIGNED, sign(SIGNED, "RSA2", other_private), "RSA2", [RsaKey.of(private.public_key())]) is None


def test_no_signature_passes_without_a_key(private: RSAPrivateKey) -> None:
    assert verify(SIGNED, sign(SIGNED, "RSA2", private), "RSA2", []) is None


def test_a_forgery_against_a_small_exponent_is_none(private: RSAPrivateKey) -> None:
    """
    SIGN-27, C31: with e = 3, a cube whose upper bytes look like padding and digest can be found without any private key, and a
    verifier that does not look at the rest takes it. Such a key is refused by the settings; here it is forced on the verifier.
    """
    key = RsaKey.of(RSAPublicNumbers(3, private.public_key().public_numbers().n).public_key())
    head = b"\x00\x01\xff\xff\xff\xff\xff\xff\xff\xff\x00" + _SHA256_INFO + hashlib.sha256(SIGNED).digest()
    wanted = int.from_bytes(head.ljust(256, b"\xff"), "big")
    low, high = 0, 1 << 683
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if middle**3 <= wanted else (low, middle)
    assert (low**3).to_bytes(256, "big").startswith(head), "it is a forgery"

    assert verify(SIGNED, text(low.to_bytes(256, "big")), "RSA2", [key]) is None


NOT_MD5 = {
    "SIGN-21 upper case": lambda sign: sign.upper(),
    "SIGN-21 31 digits": lambda sign: sign[:-1],
    "SIGN-21 33 digits": lambda sign: sign + b"0",
    "SIGN-21 a magic hash": lambda sign: b"0e123456789012345678901234567890",
    "SIGN-21 an integer": lambda sign: b"0",
    "SIGN-21 a word": lambda sign: b"true",
    "a line end": lambda sign: sign + b"\n",
    "blanks around": lambda sign: b" " + sign + b" ",
    "SIGN-22 the key before the text": lambda sign: sign_with_prefix(),
    "nothing": lambda sign: b"",
    "base64 of the digest": lambda sign: base64.b64encode(bytes.fromhex(sign.decode())),
    "full-width digits": lambda sign: "０".encode() * 32,
}


def sign_with_prefix() -> bytes:
    return hashlib.md5(b"760bdzec6y9goq7ctyx96ezkz78287de" + SIGNED).hexdigest().encode()  # noqa: S324 - a forgery


@pytest.mark.parametrize("forge", NOT_MD5.values(), ids=NOT_MD5)
def test_an_md5_signature_is_32_lower_case_hex_digits_of_text_and_key(
    forge: Callable[[bytes], bytes], md5_key: Md5Key
) -> None:
    assert verify(SIGNED, forge(sign(SIGNED, "MD5", md5_key)), "MD5", [md5_key]) is None


def test_md5_signatures_are_compared_in_constant_time(md5_key: Md5Key, monkeypatch: pytest.MonkeyPatch) -> None:
    """C33: a timing test would be noise; that the comparison is the library's is certain."""
    compared: list[bytes] = []

    def compare(left: bytes, right: bytes) -> bool:
        compared.append(right)
        return False

    monkeypatch.setattr(hmac, "compare_digest", compare)

    assert verify(SIGNED, sign(SIGNED, "MD5", md5_key), "MD5", [md5_key]) is None
    assert compared == [sign(SIGNED, "MD5", md5_key)]


def test_a_key_is_tried_for_its_own_sign_types_alone(private: RSAPrivateKey, md5_key: Md5Key) -> None:
    """C03, C04: no algorithm can be had from a key of another."""
    rsa = RsaKey.of(private.public_key())

    assert verify(SIGNED, sign(SIGNED, "MD5", md5_key), "RSA2", [md5_key, rsa]) is None
    assert verify(SIGNED, sign(SIGNED, "RSA2", private), "MD5", [md5_key, rsa]) is None
    assert verify(SIGNED, sign(SIGNED, "RSA", private), "RSA2", [rsa]) is None
    assert verify(SIGNED, sign(SIGNED, "RSA2", private), "RSA", [rsa]) is None
    assert verify(SIGNED, sign(SIGNED, "RSA", private), "RSA", [replace(rsa, bits=1024)]) is None


class _Library:
    """Stands where the library's key stands, and does something else than it promises."""

    def __init__(self, outcome: object) -> None:
        self._outcome = outcome

    def verify(self, *_: object) -> object:
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome


def odd_key(key: RsaKey, outcome: object) -> RsaKey:
    return replace(key, public=cast(RSAPublicKey, _Library(outcome)))


@pytest.mark.parametrize("outcome", [-1, 0, 1, True, False, "valid"])
def test_only_a_clean_return_of_the_library_is_valid(outcome: object, private: RSAPrivateKey) -> None:
    """C02."""
    key = odd_key(RsaKey.of(private.public_key()), outcome)

    assert verify(SIGNED, text(genuine(private)), "RSA2", [key]) is None


@pytest.mark.parametrize("fault", [TypeError(), ValueError(), RuntimeError(), MemoryError()])
def test_an_unexpected_exception_of_the_library_is_not_an_answer(fault: Exception, private: RSAPrivateKey) -> None:
    """SIGN-34: it passes through, so that the sender gets another chance, and no other key makes good for it."""
    good = RsaKey.of(private.public_key())

    with pytest.raises(type(fault)):
        verify(SIGNED, text(genuine(private)), "RSA2", [odd_key(good, fault), good])
