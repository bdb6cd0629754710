"""Files that others may read or write who should not."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from notifier import config
from notifier.checks.files import Named, files_of, judge_file, judge_files

SECRET, PUBLIC = Named(Path("s"), "a secret", is_secret=True), Named(Path("k.pem"), "a key", is_secret=False)


@pytest.mark.parametrize(
    ("file", "mode", "words"),
    [
        pytest.param(SECRET, 0o600, [], id="its owner's alone"),
        pytest.param(SECRET, 0o640, [], id="its group may read it: so services get their secrets"),
        pytest.param(SECRET, 0o644, ["may be read by every user"], id="a secret for all"),
        pytest.param(SECRET, 0o666, ["may be written by every user", "may be read by every user"], id="wide open"),
        pytest.param(PUBLIC, 0o644, [], id="a public key is public"),
        pytest.param(PUBLIC, 0o646, ["may be written by every user"], id="who writes it decides who is believed"),
    ],
)
def test_who_may_read_a_secret_and_write_anything_is_told(file: Named, mode: int, words: list[str]) -> None:
    found = list(judge_file(file, mode))

    assert [one.state for one in found] == ["warning"] * len(words)
    assert all(word in one.message for one, word in zip(found, words, strict=True))


def test_all_files_of_the_settings_are_looked_at(tmp_path: Path) -> None:
    """Whatever a setting names, by its place; and the file of the settings itself, where secrets stand in it."""
    for name in ("token", "md5", "secret", "password", "vector", "authority", "certificate", "key"):
        (tmp_path / name).write_text(f"{name}-of-more-than-22-characters")
    (tmp_path / "md5").write_text("760bdzec6y9goq7ctyx96ezkz78287de")
    (tmp_path / "secret").write_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    (tmp_path / "md5.vector").write_text("a=b")
    (tmp_path / "shops.pem").write_bytes(_authority())
    file = tmp_path / "notifier.toml"
    file.write_text(
        """
        [kafka]
        security_protocol = "SASL_SSL"
        ca_file = "authority"
        cert_file = "certificate"
        key_file = "key"
        sasl_mechanism = "PLAIN"
        sasl_username = "notifier"
        sasl_password_file = "password"
        [[channels]]
        name = "shop"
        token_file = "token"
        protocol = "mapi"
        partner_id = "2088000000000001"
        currency = "HKD"
        sign_types = ["MD5"]
        md5_key_file = "md5"
        [[endpoints]]
        name = "oms"
        url = "https://oms.example.com/"
        channels = ["shop"]
        secret_files = ["secret"]
        ca_file = "shops.pem"
        """
    )
    for path in tmp_path.iterdir():
        path.chmod(0o604)
    settings = config.load(file, {})

    files = list(files_of(settings, file))
    told = {one.name for one in judge_files(files)}

    assert {named.path.name for named in files if not named.is_secret} == {
        "notifier.toml",
        "authority",
        "certificate",
        "shops.pem",
    }
    assert told == {f"files.{name}" for name in ("password", "key", "token", "md5", "md5.vector", "secret")}


def _authority() -> bytes:
    """A certificate, for what is read of it: that it is one."""
    name, key = x509.Name([]), Ed25519PrivateKey.generate()
    at = datetime(2026, 1, 1, tzinfo=UTC)
    built = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), at, at)
    return built.sign(key, None).public_bytes(Encoding.PEM)
