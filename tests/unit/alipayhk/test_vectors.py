"""Published messages with AlipayHK's genuine signatures (`tests/golden/vectors.json`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypedDict, cast

import pytest

from notifier.alipayhk.form import canonical, parse
from notifier.alipayhk.keys import Md5Key, RsaKey, load_public_key
from notifier.alipayhk.signature import verify


class Vectors(TypedDict):
    """The file's shape."""

    keys: dict[str, str]
    md5_request: list[dict[str, str]]
    rsa_sha1_sdk_return: list[dict[str, str]]
    rsa_sha256_single_trade_query: list[dict[str, str]]


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    path = Path(__file__).parents[2] / "golden" / "vectors.json"
    return cast(Vectors, json.loads(path.read_text("utf-8")))


def shared_key(vectors: Vectors) -> RsaKey:
    text = vectors["keys"]["mapi_rsa1024_public_b64_spki"].encode()
    return load_public_key(text, allow_legacy_key=True, sign_types=("RSA",))


def sandbox_key(vectors: Vectors) -> RsaKey:
    text = vectors["keys"]["mapi_sandbox_rsa2048_public_b64_spki_partner_2088621926786355"].encode()
    return load_public_key(text, allow_legacy_key=False, sign_types=("RSA2",))


def test_the_published_md5_signature_is_genuine(vectors: Vectors) -> None:
    key = Md5Key.parse(vectors["keys"]["sandbox_md5_key"])
    (vector,) = vectors["md5_request"]

    assert verify(vector["message"].encode(), vector["sign"].encode(), "MD5", [key]) == key.fingerprint
    assert canonical(parse(vector["message"].encode())) == vector["message"].encode()


def test_the_published_sha1_signature_is_genuine_under_the_shared_key(vectors: Vectors) -> None:
    key = shared_key(vectors)
    (vector,) = vectors["rsa_sha1_sdk_return"]

    assert verify(vector["signed"].encode(), vector["sign"].encode(), "RSA", [key]) == key.fingerprint
    assert verify(vector["signed"].encode() + b" ", vector["sign"].encode(), "RSA", [key]) is None


def test_the_published_sha256_signature_is_genuine(vectors: Vectors) -> None:
    key = sandbox_key(vectors)
    (vector,) = vectors["rsa_sha256_single_trade_query"]

    assert verify(vector["message"].encode(), vector["sign"].encode(), "RSA2", [key]) == key.fingerprint
    assert canonical(parse(vector["message"].encode())) == vector["message"].encode()


def test_no_published_signature_passes_as_another_type_or_under_another_key(vectors: Vectors) -> None:
    """The ring may hold both: each message has one key and one type."""
    shared, sandbox = shared_key(vectors), sandbox_key(vectors)
    (sha1,), (sha256,) = vectors["rsa_sha1_sdk_return"], vectors["rsa_sha256_single_trade_query"]

    assert verify(sha1["signed"].encode(), sha1["sign"].encode(), "RSA2", [shared, sandbox]) is None
    assert verify(sha1["signed"].encode(), sha1["sign"].encode(), "RSA", [sandbox]) is None
    assert verify(sha256["message"].encode(), sha256["sign"].encode(), "RSA", [shared, sandbox]) is None
    assert verify(sha256["message"].encode(), sha256["sign"].encode(), "RSA2", [shared]) is None


def test_the_published_sample_of_another_merchant_is_not_genuine_under_the_sandbox_key(vectors: Vectors) -> None:
    """AlipayHK's page shows a message whose key it keeps: a format, not a proof (alipayhk.md, 2.9)."""
    body = (
        b"notify_id=5b89a773c60af059d96b1693dd3b3d6nc1&notify_type=trade_status_sync&sign=b34d89788d9012f77f5b74ac232145f5"
        b"&trade_no=2018110922001332950500389138&total_fee=0.01&out_trade_no=test20181109153145"
        b"&notify_time=2018-11-09+15%3A36%3A17&currency=USD&trade_status=TRADE_FINISHED&sign_type=MD5"
    )
    fields = parse(body)

    assert verify(canonical(fields), fields[b"sign"], "MD5", [Md5Key.parse(vectors["keys"]["sandbox_md5_key"])]) is None
