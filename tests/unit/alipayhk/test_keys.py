"""Which keys will do, and that those which will not are refused with what to do."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.rsa import (
    RSAPrivateKey,
    RSAPublicKey,
    RSAPublicNumbers,
    generate_private_key,
)
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from notifier.alipayhk.keys import Md5Key, RsaKey, load_public_key


def spki(public: RSAPublicKey) -> bytes:
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def load(data: bytes, *, allow_legacy_key: bool = False, sign_types: tuple[str, ...] = ("RSA2",)) -> RsaKey:
    return load_public_key(data, allow_legacy_key=allow_legacy_key, sign_types=sign_types)


FORMS: dict[str, Callable[[RSAPublicKey], bytes]] = {
    "PEM": lambda key: key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    "PEM with a byte order mark": lambda key: (
        b"\xef\xbb\xbf" + key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    ),
    "PEM, PKCS#1": lambda key: key.public_bytes(Encoding.PEM, PublicFormat.PKCS1),
    "DER": spki,
    "bare base64, as the portal shows it": lambda key: base64.b64encode(spki(key)),
    "bare base64 with a line end": lambda key: base64.b64encode(spki(key)) + b"\r\n",
    "bare base64 in lines": lambda key: base64.encodebytes(spki(key)),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_one_key_has_one_fingerprint_in_every_form(
    form: Callable[[RSAPublicKey], bytes], private: RSAPrivateKey
) -> None:
    public = private.public_key()

    key = load(form(public))

    assert key.fingerprint == hashlib.sha256(spki(public)).hexdigest()[:16] == RsaKey.of(public).fingerprint
    assert key.signature_bytes == 256


REFUSED: dict[str, tuple[Callable[[RSAPrivateKey], bytes], str]] = {
    "nothing": (lambda key: b"", "no public key"),
    "words": (lambda key: b"your public key here", "no public key"),
    "base64 of something else": (lambda key: base64.b64encode(b"something else"), "no public key"),
    "base64 that was cut": (lambda key: base64.b64encode(spki(key.public_key()))[:-9], "no public key"),
    "PEM that was cut": (
        lambda key: key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)[:200],
        "no public key",
    ),
    "a private key, PKCS#8": (
        lambda key: key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        "private key",
    ),
    "a private key, PKCS#1": (
        lambda key: key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()),
        "private key",
    ),
    "a private key in bare base64, as AlipayHK's key tool writes it": (
        lambda key: base64.b64encode(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())),
        "private key",
    ),
    "a private key that is encrypted": (
        lambda key: key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, BestAvailableEncryption(b"word")),
        "private key",
    ),
    "a certificate": (lambda key: b"-----BEGIN CERTIFICATE-----\nMII=\n-----END CERTIFICATE-----", "certificate"),
    "an elliptic curve": (
        lambda key: (
            ec.generate_private_key(ec.SECP256R1())
            .public_key()
            .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        ),
        "not an RSA key",
    ),
    "C32 SIGN-27 e = 3": (
        lambda key: spki(RSAPublicNumbers(3, key.public_key().public_numbers().n).public_key()),
        "exponent 3",
    ),
    "e = 17": (
        lambda key: spki(RSAPublicNumbers(17, key.public_key().public_numbers().n).public_key()),
        "exponent 17",
    ),
    "an even modulus": (
        lambda key: spki(RSAPublicNumbers(65537, key.public_key().public_numbers().n - 1).public_key()),
        "can be forged",
    ),
}


@pytest.mark.parametrize(("make", "says"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_key_of_alipayhk_is_refused_and_not_repeated(
    make: Callable[[RSAPrivateKey], bytes], says: str, private: RSAPrivateKey
) -> None:
    data = make(private)

    with pytest.raises(ValueError, match=says) as fault:
        load(data)

    assert not data or data.strip()[-40:].decode("latin-1") not in str(fault.value)
    assert fault.value.__suppress_context__ or fault.value.__context__ is None, "no library's message hangs on it"


@pytest.mark.parametrize("exponent", [0x10009, 0x1000B, 0x1000D], ids=["a tab", "a vertical tab", "a carriage return"])
def test_der_that_ends_with_a_byte_like_a_blank_is_read_whole(exponent: int, private: RSAPrivateKey) -> None:
    """It was stripped like text: one private key in forty lost its last byte so, and was no longer told to be private."""
    public = RSAPublicNumbers(exponent, private.public_key().public_numbers().n).public_key()
    assert spki(public)[-1:].isspace()

    assert load(spki(public)) == load(base64.b64encode(spki(public))) == RsaKey.of(public)


def test_an_even_exponent_is_refused(private: RSAPrivateKey) -> None:
    """The library refuses to make one, so it is put into the DER of a good one: 65537 becomes 65538."""
    der = spki(private.public_key())
    assert der.endswith(b"\x02\x03\x01\x00\x01")

    with pytest.raises(ValueError, match="public key"):
        load(der[:-1] + b"\x02")


@pytest.fixture(scope="module")
def short() -> bytes:
    return spki(generate_private_key(65537, 1024).public_key())  # noqa: S505 - as AlipayHK's shared one


def test_a_short_key_never_serves_rsa2(short: bytes) -> None:
    """C32."""
    with pytest.raises(ValueError, match="RSA2 needs"):
        load(short, allow_legacy_key=True, sign_types=("RSA2",))

    both = load(short, allow_legacy_key=True, sign_types=("RSA", "RSA2"))
    assert both.serves("RSA")
    assert not both.serves("RSA2")
    assert not both.serves("MD5")


def test_a_short_key_serves_rsa_only_where_the_settings_say_so(short: bytes) -> None:
    """C32."""
    with pytest.raises(ValueError, match="allow_legacy_key = true"):
        load(short, sign_types=("RSA",))

    assert load(short, allow_legacy_key=True, sign_types=("RSA",)).bits == 1024


def test_a_key_shorter_than_any_of_alipayhk_is_refused_whatever_the_settings_say(private: RSAPrivateKey) -> None:
    shorter = RSAPublicNumbers(65537, private.public_key().public_numbers().n >> 1048 | 1).public_key()

    with pytest.raises(ValueError, match="only 1000 bits"):
        load(spki(shorter), allow_legacy_key=True, sign_types=("RSA",))


def test_a_key_between_short_and_good_is_refused_like_a_short_one() -> None:
    almost = spki(generate_private_key(65537, 2040).public_key())  # noqa: S505 - must be refused

    with pytest.raises(ValueError, match="2040 bits"):
        load(almost)


WEAK_MD5 = {
    "C01 empty": "",
    "C01 test": "test",
    "C01 8 characters": "a1B2c3D4",
    "cut by one": "760bdzec6y9goq7ctyx96ezkz78287d",
    "one too many": "760bdzec6y9goq7ctyx96ezkz78287dee",
    "a line end": "760bdzec6y9goq7ctyx96ezkz78287de\n",
    "full-width digits": "７" * 32,
    "not a letter or digit": "760bdzec6y9goq7ctyx96ezkz78287d-",
    "32 times the same": "a" * 32,
    "a pattern": "abcd" * 8,
}


@pytest.mark.parametrize("text", WEAK_MD5.values(), ids=WEAK_MD5)
def test_an_md5_key_that_can_be_guessed_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="MD5 key") as fault:
        Md5Key.parse(text)

    assert len(text) < 5 or text not in str(fault.value)


def test_a_secret_is_not_shown(md5_key: Md5Key, private: RSAPrivateKey) -> None:
    assert "760bdzec" not in repr(md5_key)
    assert md5_key.fingerprint in repr(md5_key)
    assert "RSAPublicKey" not in repr(RsaKey.of(private.public_key()))


def test_an_md5_fingerprint_is_no_hash_of_the_key_alone(md5_key: Md5Key) -> None:
    """What is written into records can't be looked up in a table of hashes of keys."""
    assert md5_key.fingerprint != hashlib.sha256(md5_key.secret).hexdigest()[:16]
    assert len(md5_key.fingerprint) == 16
    assert md5_key.serves("MD5")
    assert not md5_key.serves("RSA")
