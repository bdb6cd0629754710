"""Settings: every fault at once, each with its place and its remedy, and never a secret."""

from __future__ import annotations

import base64
import errno
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from notifier.config import Address, Settings, SettingsFault, load
from notifier.watching import tracing

TOKEN = "Zq3vT7nB1xKc9LmW5rYp2A"
SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()
MD5_KEY = "q7w8e9r4t5y6u1i2o3p0a5s6d7f8g9h1"


def _key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


ALIPAY, OURS = _key(), _key()
SECOND, THIRD, FOURTH = _key(), _key(), _key()


def _public(key: rsa.RSAPrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _private(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder with keys in it, and settings that are right until a test changes them."""

    path: Path

    def write(self, text: str) -> Path:
        path = self.path / "notifier.toml"
        path.write_text(text, encoding="utf-8")
        return path

    def load(self, text: str, env: Mapping[str, str] | None = None) -> Settings:
        return load(self.write(text), env or {})

    def faults(self, text: str, env: Mapping[str, str] | None = None) -> list[str]:
        with pytest.raises(SettingsFault) as caught:
            self.load(text, env)
        return [str(fault).replace(f"{self.path}/", "") for fault in caught.value.faults]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """With `keys/…`, `token`, `secret`, `md5` in it."""
    files = {
        "alipayhk.pem": _public(ALIPAY),
        "second.pem": _public(SECOND),
        "third.pem": _public(THIRD),
        "fourth.pem": _public(FOURTH),
        "ours.pem": _public(OURS),
        "ours.private.pem": _private(OURS),
        "weak.pem": _public(_key(1024)),
    }
    (tmp_path / "keys").mkdir()
    for name, content in files.items():
        (tmp_path / "keys" / name).write_bytes(content)
    (tmp_path / "token").write_text(TOKEN + "\n", encoding="ascii")
    (tmp_path / "secret").write_text(SECRET + "\n", encoding="ascii")
    (tmp_path / "md5").write_text(MD5_KEY + "\n", encoding="ascii")
    return Folder(tmp_path)


def channel(**changes: object) -> str:
    """A `[[channels]]` table; a change to None takes the line out."""
    return _table(
        "channels",
        {
            "name": "shop-hkd",
            "token": TOKEN,
            "protocol": "mapi",
            "partner_id": "2088000000000001",
            "currency": "HKD",
            "sign_types": ["RSA2"],
            "keys": ["keys/alipayhk.pem"],
        },
        changes,
    )


def endpoint(**changes: object) -> str:
    """An `[[endpoints]]` table."""
    return _table(
        "endpoints",
        {
            "name": "shop-oms",
            "url": "https://oms.example.com/hooks",
            "channels": ["shop-hkd"],
            "secrets": [SECRET],
        },
        changes,
    )


def _table(kind: str, settings: Mapping[str, object], changes: Mapping[str, object]) -> str:
    lines = [f"{name} = {_toml(value)}" for name, value in {**settings, **changes}.items() if value is not None]
    return "\n".join([f"[[{kind}]]", *lines, ""])


def _toml(value: object) -> str:
    match value:
        case list():
            return f"[{', '.join(map(_toml, value))}]"
        case dict():
            return "{" + ", ".join(f"{json.dumps(name)} = {_toml(item)}" for name, item in value.items()) + "}"
        case datetime():
            return value.isoformat()
        case _:
            return json.dumps(value, ensure_ascii=False)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://cache.example:6380/1", "cache.example:6380"),
        ("rediss://:a-password@cache.example", "cache.example:6379"),
        ("redis://[::1]:7000/0", "[::1]:7000"),
    ],
)
def test_where_redis_is_is_said_without_its_password(folder: Folder, url: str, address: str) -> None:
    """It stands in log lines."""
    assert folder.load(f"[redis]\nurl = '{url}'\n").redis.address == address


def test_an_empty_file_is_the_laptop(folder: Folder) -> None:
    """Every default of contract section 3."""
    settings = folder.load("")

    assert settings.kafka.bootstrap_servers == "127.0.0.1:9092"
    assert (settings.kafka.topic_prefix, settings.kafka.partitions, settings.kafka.replication_factor) == (
        "alipayhk",
        24,
        1,
    )
    assert (settings.redis.url, settings.redis.key_prefix) == ("redis://127.0.0.1:6379/0", "alipayhk")
    assert (settings.ingress.public, settings.ingress.internal) == (
        Address("127.0.0.1", 8080),
        Address("127.0.0.1", 8081),
    )
    assert (settings.ingress.workers, settings.ingress.body_bytes_max, settings.ingress.append_timeout_s) == (
        1,
        65536,
        2.5,
    )
    assert settings.consumers.session_timeout_s == 10.0
    assert (settings.orders.quiet_s, settings.orders.kept_s) == (604_800, 34_560_000)
    assert (settings.delivery.timeout_s, settings.delivery.give_up_after_s) == (10.0, 259_200.0)
    assert (settings.delivery.first_retry_s, settings.delivery.retry_s_max) == (5.0, 3600.0)
    assert (settings.delivery.concurrency_per_endpoint, settings.delivery.concurrency) == (8, 500)
    assert (settings.delivery.suspend_after_s, settings.delivery.allow_networks) == (300.0, ())
    assert (settings.log.format, settings.log.level) == ("json", "info")
    assert settings.telemetry.otlp_endpoint is None
    assert list(settings.channels) == []
    assert settings.endpoints == ()


def test_a_channel_and_an_endpoint_come_ready(folder: Folder) -> None:
    """What the contract's example says."""
    settings = folder.load(channel(seller_id="2088000000000002") + endpoint(timeout_s=3.0))

    (one,) = settings.channels
    assert (one.name, one.token, one.sign_types, one.verify_notify_id) == ("shop-hkd", TOKEN, ("RSA2",), False)
    assert (one.policy.currency, one.policy.partner_id, one.policy.orders) == ("HKD", "2088000000000001", "open")
    assert one.policy.seller_id == "2088000000000002"
    assert settings.channels.by_token(TOKEN) is one
    (shop,) = settings.endpoints
    assert (shop.name, shop.channels) == ("shop-oms", ("shop-hkd",))
    assert (shop.timeout_s, shop.concurrency) == (3.0, 8)
    assert [secret.key for secret in shop.secrets] == [b"s" * 32]


def test_secrets_may_lie_in_files_beside_the_settings(folder: Folder) -> None:
    """Relative paths begin at the folder of the file, wherever the command was started."""
    settings = folder.load(
        channel(token=None, token_file="token", sign_types=["RSA2", "MD5"], md5_key_file="md5")
        + endpoint(secrets=None, secret_files=["secret"])
    )

    assert settings.channels.by_token(TOKEN) is not None
    assert [secret.key for secret in settings.endpoints[0].secrets] == [b"s" * 32]


def test_a_key_has_its_time(folder: Folder) -> None:
    """TOML dates and RFC 3339 alike; a key that has expired is no fault (the channel answers 503 `no_key`)."""
    text = channel(keys=[{"file": "keys/alipayhk.pem", "version": "1", "not_after": "2020-01-01T08:00:00+08:00"}])
    settings = folder.load(text.replace('"2020-01-01T08:00:00+08:00"', "2020-01-01"))

    (one,) = settings.channels
    assert len(one.active_keys(datetime(2019, 12, 31, 23, 59, tzinfo=UTC))) == 1
    assert len(one.active_keys(datetime(2020, 1, 1, 0, 1, tzinfo=UTC))) == 0
    assert len(next(iter(folder.load(text).channels)).active_keys(datetime(2019, 12, 31, tzinfo=UTC))) == 1


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"allow_legacy_key": True, "gateway_url": "https://mapi.alipay.com/gateway.do"}, True),
        ({"allow_legacy_key": True, "verify_notify_id": False}, False),
        ({"verify_notify_id": True, "gateway_url": "http://127.0.0.1:9/gateway.do"}, True),
        ({"verify_notify_id": True, "gateway_url": "http://[::1]:9/gateway.do"}, True),
        ({}, False),
    ],
)
def test_the_shared_key_switches_asking_on_unless_told_not_to(
    folder: Folder, settings: dict[str, object], expected: bool
) -> None:
    """AlipayHK's 1024-bit key signs for all of its merchants (C32)."""
    assert next(iter(folder.load(channel(**settings)).channels)).verify_notify_id is expected


def test_the_environment_is_above_the_file(folder: Folder) -> None:
    """Every value can come from it: of a table, of a channel by its name, or a whole list."""
    settings = folder.load(
        "[kafka]\npartitions = 3\nreplication_factor = 3\n" + channel() + endpoint(),
        {
            "NOTIFIER__KAFKA__PARTITIONS": "6",
            "NOTIFIER__INGRESS__PUBLIC": "[::]:80",
            "NOTIFIER__DELIVERY__ALLOW_NETWORKS": '["127.0.0.0/8"]',
            "NOTIFIER__CHANNELS__SHOP_HKD__CURRENCY": "JPY",
            "NOTIFIER__ENDPOINTS__SHOP_OMS__URL": "https://127.0.0.1/",
            "NOTIFIER__ENDPOINTS__SHOP_OMS__EVENTS": '["order.*"]',
            "NOTIFIER_CONFIG": "another.toml",
            "HOME": "/",
        },
    )

    assert (settings.kafka.partitions, settings.kafka.replication_factor) == (6, 3)
    assert settings.ingress.public == Address("::", 80)
    assert next(iter(settings.channels)).policy.currency == "JPY"
    assert settings.endpoints[0].url == "https://127.0.0.1/"
    assert settings.endpoints[0].events == ("order.*",)


def test_the_environment_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that need no file run without one; the ones that do say what to do."""
    monkeypatch.chdir(tmp_path)
    shop = {
        "name": "a",
        "token": TOKEN,
        "protocol": "mapi",
        "partner_id": "1",
        "currency": "HKD",
        "sign_types": ["RSA2"],
        "keys": [str(tmp_path / "alipayhk.pem")],
    }
    (tmp_path / "alipayhk.pem").write_bytes(_public(ALIPAY))

    settings = load(None, {"NOTIFIER__CHANNELS": json.dumps([shop])}, needs_file=False)

    assert [one.name for one in settings.channels] == ["a"]
    with pytest.raises(
        SettingsFault,
        match=r"notifier\.toml: there is no such file\. `notifier init` writes a first one, with new secrets",
    ):
        load(None, {})
    with pytest.raises(SettingsFault, match=r"other\.toml: there is no such file"):
        load(None, {"NOTIFIER_CONFIG": "other.toml"}, needs_file=False)


def test_the_file_that_was_named_is_read(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--config`, else `NOTIFIER_CONFIG`, else notifier.toml here."""
    folder.write("[kafka]\npartitions = 1")
    (folder.path / "env.toml").write_text("[kafka]\npartitions = 2", encoding="utf-8")
    (folder.path / "flag.toml").write_text("[kafka]\npartitions = 3", encoding="utf-8")
    monkeypatch.chdir(folder.path)
    env = {"NOTIFIER_CONFIG": str(folder.path / "env.toml")}

    assert load(None, {}).kafka.partitions == 1
    assert load(None, env).kafka.partitions == 2
    assert load(Path("flag.toml"), env).kafka.partitions == 3


def test_a_folder_in_the_place_of_the_file_is_told_with_what_may_be_meant(folder: Folder) -> None:
    with pytest.raises(SettingsFault) as refused:
        load(folder.path, {})

    assert str(refused.value).endswith(f"{folder.path}: is a folder. Name the file in it: {folder.path}/notifier.toml.")


SHOP, OMS = 'channels[0] "shop-hkd"', 'endpoints[0] "shop-oms"'

FAULTS = [
    # the file
    (
        "[kafka]\npartitions = 1 2\n",
        "",
        (
            "is not TOML: Expected newline or end of document after a statement (at line 2, column 16). "
            "Texts need quotes at both ends, on one line."
        ),
    ),
    (
        '[kafka]\nbootstrap_servers = "127.0.0.1:90',
        "",
        "is not TOML: Unterminated string (at end of document). Is it half written? Look at its last lines.",
    ),
    # names
    (
        "[kafka]\nbootstrap_server = 'x'\n",
        "[kafka] bootstrap_server",
        "is not a setting. Did you mean bootstrap_servers?",
    ),
    ("[kafak]\n", "[kafak]", "is not a setting. Did you mean kafka?"),
    (
        "[telemetry]\notlp_endpoint = 'x'\n",
        "[telemetry] otlp_endpoint",
        "must be http://HOST:PORT or https://HOST:PORT of a collector that takes OTLP over HTTP.",
    ),
    (
        "include = ['a']\n",
        "[include]",
        "comes with a later version; this one reads a single file. Put its channels and endpoints there.",
    ),
    (
        channel(api_token_hashes=["sha256:0"]),
        SHOP + " → api_token_hashes",
        "comes with a later version; this one has no such setting. Take the line out.",
    ),
    (
        channel(external_path="/n"),
        SHOP + " → external_path",
        "comes with a later version; this one has no such setting. Take the line out.",
    ),
    (
        channel(keys=[{"file": "keys/alipayhk.pem", "verson": "1"}]),
        SHOP + " → keys[0] → verson",
        "is not a setting. Did you mean version?",
    ),
    # kinds of values
    ("[kafka]\npartitions = 0\n", "[kafka] partitions", "must be at least 1."),
    ("[kafka]\npartitions = true\n", "[kafka] partitions", "must be a number."),
    ("[kafka]\npartitions = 1.5\n", "[kafka] partitions", "must be a whole number."),
    ("kafka = 3\n", "[kafka]", "must be a table."),
    ("channels = 3\n", "channels", "must be a list."),
    ("[delivery]\ntimeout_s = 0.04\n", "[delivery] timeout_s", "must be at least 0.05."),
    ("[delivery]\ntimeout_s = inf\n", "[delivery] timeout_s", "must be a finite number."),
    (
        "[delivery]\nallow_networks = ['127.0.0.1/8']\n",
        "[delivery] allow_networks[0]",
        "must be a network such as 10.1.0.0/16, with no bits set beyond its prefix.",
    ),
    ("[log]\nlevel = 'loud'\n", "[log] level", "must be 'debug', 'info', 'warning' or 'error'."),
    ("[ingress]\npublic = '8080'\n", "[ingress] public", "must be HOST:PORT, such as 127.0.0.1:8080."),
    (
        "[ingress]\ninternal = '127.0.0.1:8080'\n",
        "[ingress]",
        "public and internal are the same address; the internal one must never be public.",
    ),
    # the cluster
    (
        "[kafka]\nbootstrap_servers = 'kafka'\n",
        "[kafka] bootstrap_servers",
        "must be HOST:PORT, or several with commas between.",
    ),
    (
        "[kafka]\nsecurity_protocol = 'SASL_SSL'\nsasl_username = 'u'\n",
        "[kafka]",
        "security_protocol SASL_SSL needs sasl_mechanism and sasl_password_file.",
    ),
    ("[kafka]\nsasl_username = 'u'\n", "[kafka]", "sasl_username need security_protocol SASL_SSL or SASL_PLAINTEXT."),
    ("[redis]\nca_file = 'token'\n", "[redis] ca_file", "names a file that holds no PEM certificates."),
    ("[kafka]\nca_file = 'token'\n", "[kafka]", "ca_file need security_protocol SSL or SASL_SSL."),
    ("[kafka]\nsecurity_protocol = 'SSL'\ncert_file = 'token'\n", "[kafka]", "cert_file and key_file belong together."),
    (
        "[redis]\nurl = 'redis+cluster://h:1'\n",
        "[redis] url",
        "redis+cluster is not built yet; must be redis://HOST:PORT/DB, or rediss:// for TLS.",
    ),
    ("[redis]\nurl = 'localhost:6379'\n", "[redis] url", "must be redis://HOST:PORT/DB, or rediss:// for TLS."),
    # channels
    (channel(protocol="ams"), SHOP + " → protocol", "ams is not built yet; mapi is."),
    (channel(name="Shop HKD"), 'channels[0] "Shop HKD" → name', "must be 1 to 40 characters of a-z, 0-9 and -."),
    (channel(token="short"), SHOP + " → token", "must be 22 to 128 URL-safe characters (A-Z a-z 0-9 . _ ~ -)."),
    (channel(token=None), SHOP, "needs either token or token_file."),
    (channel(token_file="token"), SHOP, "needs either token or token_file."),
    (channel(currency="hkd"), SHOP + " → currency", "must be an ISO 4217 code such as HKD."),
    (channel(partner_id=None), SHOP + " → partner_id", "is missing."),
    (channel(sign_types=["DSA"]), SHOP + " → sign_types[0]", "must be 'RSA', 'RSA2' or 'MD5'."),
    (channel(sign_types=["MD5"], md5_key_file="md5"), SHOP, "keys are only for sign_types RSA and RSA2."),
    (channel(sign_types=["RSA2", "MD5"]), SHOP, "md5_key_file is needed for sign_types MD5."),
    (channel(md5_key_file="md5"), SHOP, "md5_key_file is only for sign_types MD5."),
    (channel(keys=[]), SHOP, "keys are needed for sign_types RSA and RSA2."),
    (
        channel(keys=[f"keys/{name}.pem" for name in ("alipayhk", "second", "third", "fourth")]),
        SHOP,
        "has more than 3 keys active at one time; not_after ends an old one.",
    ),
    (channel(keys=["keys/alipayhk.pem", "keys/alipayhk.pem"]), SHOP + " → keys[1]", "is the same key as keys[0]."),
    (
        channel(keys=["keys/none.pem"]),
        SHOP + " → keys[0] → file",
        "names a file that cannot be read (no such file or directory); a relative path begins at the settings file's folder.",
    ),
    (
        channel(keys=["keys/ours.pem"], merchant_key_file="keys/ours.private.pem"),
        SHOP + " → keys[0]",
        "is the merchant's own public key; AlipayHK's is wanted, shown beside it.",
    ),
    (
        channel(sign_types=["RSA", "RSA2"], keys=["keys/weak.pem"], allow_legacy_key=True, verify_notify_id=False),
        SHOP + " → sign_types",
        "names RSA2, and no key is strong enough for it.",
    ),
    (
        channel(merchant_key_file="keys/ours.pem"),
        SHOP + " → merchant_key_file",
        "names a file that holds no private key in PEM without a password.",
    ),
    (
        channel(
            keys=[
                {"file": "keys/alipayhk.pem", "not_before": "2027-01-01T00:00:00Z", "not_after": "2026-01-01T00:00:00Z"}
            ]
        ),
        SHOP + " → keys[0]",
        "not_before must be earlier than not_after.",
    ),
    (
        channel(keys=[{"file": "keys/alipayhk.pem", "not_after": "2027-01-01T00:00:00"}]),
        SHOP + " → keys[0] → not_after",
        "must be a time with its offset, such as 2027-01-31T00:00:00Z.",
    ),
    (
        channel(verify_notify_id=True),
        SHOP,
        "verify_notify_id needs gateway_url, where AlipayHK is asked.",
    ),
    (
        channel(allow_legacy_key=True),
        SHOP,
        "allow_legacy_key, which switches verify_notify_id on, needs gateway_url, where AlipayHK is asked.",
    ),
    (
        channel(gateway_url="http://mapi.alipay.com/"),
        SHOP + " → gateway_url",
        "must begin with https:// (http:// only with a loopback address such as 127.0.0.1).",
    ),
    (
        channel() + channel(token=TOKEN[::-1]),
        'channels[1] "shop-hkd" → name',
        "is also the name of channels[0]. Give it another.",
    ),
    (channel() + channel(name="b"), 'channels[1] "b" → token', "is also the token of channels[0]. Make a new one."),
    # endpoints
    (
        channel() + endpoint(channels=["shop-hk"]),
        OMS + " → channels[0]",
        "is not the name of a channel. Did you mean shop-hkd?",
    ),
    (
        channel() + endpoint(channels=["*", "shop-hkd"]),
        OMS + " → channels",
        'names others beside "*". ["*"] is all channels.',
    ),
    (channel() + endpoint(channels=[]), OMS + " → channels", "must have at least 1 in it."),
    (
        channel() + endpoint(events=["paid"]),
        OMS + " → events",
        "each must be the name of an event, such as order.paid, or a pattern such as order.*.",
    ),
    (
        channel() + endpoint(secrets=["whsec_c2hvcnQ="]),
        OMS + " → secrets",
        "a webhook secret holds 24 to 64 bytes, not 5.",
    ),
    (channel() + endpoint(secrets=None), OMS, "needs 1 to 3 secrets, in secrets or secret_files; it has 0."),
    (channel() + endpoint(secret_files=["secret"]), OMS, "has one secret twice."),
    (
        channel() + endpoint(headers={"Webhook-Id": "x"}),
        OMS + " → headers",
        "must not set webhook-id: the webhook or the connection sets it.",
    ),
    (
        channel() + endpoint(headers={"host": "x"}),
        OMS + " → headers",
        "must not set host: the webhook or the connection sets it.",
    ),
    (
        channel() + endpoint(headers={"a": "x\r\nb: c"}),
        OMS + " → headers",
        "holds one that HTTP does not allow; values are printable ASCII on one line.",
    ),
    (channel() + endpoint(ca_file="token"), OMS + " → ca_file", "names a file that holds no PEM certificates."),
    (channel() + endpoint(start="then"), OMS + " → start", "must be 'now' or 'earliest'."),
    (
        channel() + endpoint() + endpoint(),
        'endpoints[1] "shop-oms" → name',
        "is also the name of endpoints[0]. Give it another.",
    ),
]


@pytest.mark.parametrize(("text", "place", "words"), FAULTS)
def test_a_fault_is_told_with_its_place_and_its_remedy(folder: Folder, text: str, place: str, words: str) -> None:
    """Whoever reads it knows which line to change, and to what."""
    assert folder.faults(text) == [f"notifier.toml, {place}: {words}" if place else f"notifier.toml: {words}"]


@pytest.mark.parametrize(
    ("settings", "setting", "words"),
    [
        ({"keys": ["keys/weak.pem"]}, "keys[0]", "has only 1024 bits"),
        ({"keys": ["keys/weak.pem"], "sign_types": ["RSA"]}, "keys[0]", "allow_legacy_key = true"),
        ({"keys": ["keys/ours.private.pem"]}, "keys[0]", "private key"),
        ({"keys": ["token"]}, "keys[0]", "public key"),
        ({"sign_types": ["MD5"], "keys": [], "md5_key_file": "token"}, "md5_key_file", "32 letters and digits"),
        ({"sign_types": ["MD5"], "keys": [], "md5_key_file": "empty"}, "md5_key_file", "is empty"),
    ],
)
def test_a_key_that_will_not_do_keeps_the_process_from_starting(
    folder: Folder, settings: dict[str, object], setting: str, words: str
) -> None:
    """C01, C32: a weak, a wrong and a missing key, each with what to do."""
    (folder.path / "empty").touch()

    (fault,) = folder.faults(channel(**settings))

    assert fault.startswith(f"notifier.toml, {SHOP} → {setting}: ")
    assert words in fault


@pytest.mark.parametrize(
    "url",
    [
        "http://oms.example.com/",
        "ftp://oms.example.com/",
        "https://user:password@oms.example.com/",
        "https://oms.example.com/#part",
        "https://oms.example.com:0/",
        "https://oms.example.com:99999/",
        "https:///hooks",
        "https://oms.example.com\\@127.0.0.1/",
        "https://oms.example.com/\t",
        "merchant.example.org",
        "https://[::1",
        "https://127.0.0.1/",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f.0.0.1/",
        "https://017700000001/",
        "https://１２７.0.0.1/",
        "https://127.0.0.1./",
        "https://0.0.0.0/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[fe80::1%25eth0]/",
        "https://10.0.0.1/",
        "https://172.16.0.1/",
        "https://192.168.1.1/",
        "https://[fc00::1]/",
        "https://100.64.0.1/",
        "https://198.18.0.1/",
        "https://192.0.0.1/",
        "https://240.0.0.1/",
        "https://224.0.0.1/",
        "https://[ff02::1]/",
        "https://[fec0::1]/",
        "https://169.254.169.254/",
        "https://0/",
        "https://①②⑦.1/",
        "https://[::]/",
        "https://255.255.255.255/",
        "https://203.0.113.1/",
        "https://[2001:db8::1]/",
        "https://[::127.0.0.1]/",
        "https://[::ffff:0:127.0.0.1]/",
        "https://[64:ff9b:1::1]/",
        "https://[2002:7f00:1::]/",
        "https://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/",
        "https://[100::1]/",
    ],
)
def test_a_url_that_the_policy_forbids_is_a_fault(folder: Folder, url: str) -> None:
    """OUT-01, OUT-02, OUT-04: a literal address in any spelling; the URL itself is not repeated, its path may be a secret."""
    (fault,) = folder.faults(channel() + endpoint(url=url))

    assert fault.startswith('notifier.toml, endpoints[0] "shop-oms" → url: ')
    assert url not in fault


@pytest.mark.parametrize(
    "host",
    [
        pytest.param("a..b.com", id="an empty label"),
        pytest.param(".a.com", id="an empty label before all"),
        pytest.param(".", id="nothing but a dot"),
        pytest.param("a" * 64 + ".com", id="a label of 64"),
        pytest.param("é" * 60 + ".com", id="a label of more than 63 once it is ASCII"),
        pytest.param("a。。b.com", id="an empty label between full-width dots"),
        pytest.param(".".join(["a" * 49] * 5) + ".comm", id="254 in all"),
    ],
)
def test_a_host_that_no_resolver_could_be_asked_for_is_a_fault(folder: Folder, host: str) -> None:
    """Found at the start, not at the first delivery; the same for a gateway, which is asked before anything is believed."""
    words = (
        "must name a host that DNS could know: labels of 1 to 63 characters with dots between them, at most 253 in all."
    )

    (of_endpoint,) = folder.faults(channel() + endpoint(url=f"https://{host}/"))
    (of_gateway,) = folder.faults(channel(gateway_url=f"https://{host}/"))

    assert of_endpoint == f'notifier.toml, endpoints[0] "shop-oms" → url: {words}'
    assert of_gateway == f'notifier.toml, channels[0] "shop-hkd" → gateway_url: {words}'


@pytest.mark.parametrize("host", ["a.com.", "a" * 63 + ".com", ".".join(["a" * 49] * 5) + ".com", "bücher.example"])
def test_a_host_of_the_greatest_length_is_no_fault(folder: Folder, host: str) -> None:
    url = f"https://{host}/"

    assert folder.load(channel() + endpoint(url=url)).endpoints[0].url == url


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9000/",
        "http://127.1/",
        "https://[::ffff:127.0.0.1]/",
        "http://localhost:1/",
        "https://１２７.0.0.1/",
    ],
)
def test_what_the_operator_allows_is_no_fault(folder: Folder, url: str) -> None:
    """A laptop calls itself; a name is judged when connecting."""
    allowed = '[delivery]\nallow_networks = ["127.0.0.0/8"]\n'

    assert folder.load(allowed + channel() + endpoint(url=url, allow_http=True)).endpoints[0].url == url


ENVIRONMENT_FAULTS = [
    ("NOTIFIER__KAFKA__PARTITION", "1", "is not a setting. Did you mean partitions?"),
    ("NOTIFIER__KAFKA__PARTITIONS", "many", "must be a whole number."),
    ("NOTIFIER__KAFAK__PARTITIONS", "1", "is not a setting. Did you mean kafka?"),
    ("NOTIFIER__KAFKA", "{}", "is not a setting. Its form is NOTIFIER__TABLE__SETTING."),
    ("NOTIFIER__CHANNELS", "shop", 'is not JSON. It is a whole list: [{"name": …}, …].'),
    ("NOTIFIER__CHANNELS__SHOP_HK__TOKEN", TOKEN, "there is no channel of this name. Did you mean shop-hkd?"),
    ("NOTIFIER__CHANNELS__SHOP_HKD__TOKEN", "x", "must be 22 to 128 URL-safe characters (A-Z a-z 0-9 . _ ~ -)."),
    ("NOTIFIER__CHANNELS__SHOP_HKD__TOKENS", "x", "is not a setting. Did you mean token?"),
    (
        "NOTIFIER__CHANNELS__SHOP_HKD__KEYS",
        "a.pem",
        'must be a list or table; in the environment it is written as JSON, such as ["a", "b"].',
    ),
]


@pytest.mark.parametrize(("variable", "value", "words"), ENVIRONMENT_FAULTS)
def test_a_fault_in_the_environment_names_the_variable(folder: Folder, variable: str, value: str, words: str) -> None:
    """Nobody would look for it in the file."""
    assert folder.faults(channel(), {variable: value}) == [f"{variable}: {words}"]


def test_all_faults_are_in_one_message(folder: Folder) -> None:
    """A fault in one place hides none in another: unknown names, values, keys, addresses, and what does not fit together."""
    text = (
        "[kafka]\npartitions = 0\nbogus = 1\n[log]\nlevel = 'loud'\n"
        + channel(token="short")
        + channel(name="shop-b", token="b" * 22, keys=["keys/weak.pem", "keys/ours.private.pem"])
        + channel(name="shop-c", token="b" * 22)
        + endpoint(channels=["shop-x"], timeout_s=0)
        + endpoint(name="b", channels=["shop-c"], url="http://10.0.0.1/")
    )

    faults = folder.faults(text, {"NOTIFIER__BOGUS__X": "1"})

    assert [fault.split(": ")[0] for fault in faults] == [
        "NOTIFIER__BOGUS__X",
        "notifier.toml, [kafka] partitions",
        "notifier.toml, [kafka] bogus",
        "notifier.toml, [log] level",
        'notifier.toml, channels[0] "shop-hkd" → token',
        'notifier.toml, channels[1] "shop-b" → keys[0]',
        'notifier.toml, channels[1] "shop-b" → keys[1]',
        'notifier.toml, channels[2] "shop-c" → token',
        'notifier.toml, endpoints[0] "shop-oms" → timeout_s',
        'notifier.toml, endpoints[1] "b" → url',
    ]


def test_the_message_counts_its_faults(folder: Folder) -> None:
    """What a terminal shows."""
    path = folder.write("[kafka]\npartitions = 0\npartition = 1\n")

    with pytest.raises(SettingsFault) as caught:
        load(path, {})

    first, *rest = str(caught.value).splitlines()
    assert first == "2 faults in the settings:"
    assert all(line.startswith(f"  {path}, [kafka] ") for line in rest)


def test_no_message_and_no_repr_holds_a_secret(folder: Folder) -> None:
    """Also one that was put into the wrong place, or of which half is wrong (S12)."""
    hidden = "CANARYcanaryCANARYcanary"
    wrong = (
        f"[redis]\nurl = 'http://:{hidden}@h:1/0'\n[kafka]\nsecurity_protocol = 'SASL_SSL'\nsasl_mechanism = 'PLAIN'\n"
        f"sasl_username = 'u'\nsasl_password_file = '{hidden}'\n"
        + channel(token=f"{hidden} ", md5_key_file=hidden, keys=[hidden, f"-----BEGIN PRIVATE KEY-----\n{hidden}"])
        + channel(name="b", token_file=hidden, token=None, gateway_url=f"http://{hidden}@h/")
        + endpoint(secrets=[hidden], headers={"authorization": f"{hidden}\n"}, url=f"http://h/{hidden}")
        + endpoint(
            name="b", secrets=[f"whsec_{hidden}"], secret_files=[hidden], channels=["b"], url=f"https://{hidden}@h/"
        )
    )
    right = (
        f"[redis]\nurl = 'redis://:{hidden}@h:1/0'\n"
        + channel(token=hidden)
        + endpoint(url=f"https://h/{hidden}", headers={"authorization": hidden})
    )

    told = "\n".join(
        folder.faults(wrong, {"NOTIFIER__CHANNELS__B__TOKEN": f"{hidden}!", "NOTIFIER__ENDPOINTS": f"[{hidden}"})
    )
    settings = folder.load(right)

    assert hidden not in told
    assert hidden not in repr(settings)
    assert SECRET not in repr(settings)


def test_settings_cannot_be_changed(folder: Folder) -> None:
    """What was checked is what is used."""
    settings = folder.load("")

    for name in ("kafka", "ingress"):
        with pytest.raises(AttributeError):
            setattr(settings, name, None)
    with pytest.raises(ValueError, match="frozen"):
        settings.kafka.partitions = 1


def test_what_an_endpoint_wants(folder: Folder) -> None:
    """Without `events` all but order.noted; `order.flagged` is also told of flags that came with another event."""
    text = (
        channel() + endpoint() + endpoint(name="b", events=["order.flagged"]) + endpoint(name="c", events=["order.*"])
    )
    usual, flags, everything = folder.load(text).endpoints

    assert usual.wants("shop-hkd", "order.paid")
    assert not usual.wants("shop-hkd", "order.noted")
    assert not usual.wants("another", "order.paid")
    assert flags.wants("shop-hkd", "order.flagged")
    assert flags.wants("shop-hkd", "order.paid", ("paid_twice",))
    assert not flags.wants("shop-hkd", "order.paid")
    assert everything.wants("shop-hkd", "order.noted")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            PermissionError(errno.EACCES, "Permission denied"),
            "may not be read by this user. Whoever runs this program has",
        ),
        (OSError(errno.EIO, "Input/output error"), "cannot be read (input/output error)."),
    ],
    ids=["another's file", "a disk that fails"],
)
def test_a_file_that_cannot_be_read_is_a_fault(
    error: OSError, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One message with the reason, never a traceback."""

    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(Path, "open", refuse)  # whoever runs the tests as root may read everything

    with pytest.raises(SettingsFault) as refused:
        load(tmp_path / "n.toml", {})

    assert f"n.toml: {said}" in str(refused.value)


def test_a_file_that_is_not_utf_8_is_told_with_its_line(tmp_path: Path) -> None:
    """An editor of another age wrote it."""
    path = tmp_path / "notifier.toml"
    path.write_bytes("# one\n# zwei: ü\n".encode("latin-1"))

    with pytest.raises(SettingsFault, match="line 2 is not UTF-8"):
        load(path, {})


@pytest.mark.parametrize(
    "endpoint",
    ["127.0.0.1:4318", "grpc://collector:4317", "http://", "http://u:p@collector:4318", "http://c:0", "http://c/?a=b"],
)
def test_a_collector_that_cannot_be_sent_to_is_a_fault(folder: Folder, endpoint: str) -> None:
    (fault,) = folder.faults(f'[telemetry]\notlp_endpoint = "{endpoint}"')

    assert "must be http://HOST:PORT or https://HOST:PORT of a collector" in fault


def test_traces_without_what_sends_them_are_a_fault(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said before anything starts, with what to do."""
    monkeypatch.setattr(tracing, "is_installed", lambda: False)

    (fault,) = folder.faults('[telemetry]\notlp_endpoint = "http://127.0.0.1:4318"')

    assert "pip install 'alipayhk-notifier[telemetry]'" in fault


def test_whether_traces_can_be_sent_is_asked_of_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """With none of OpenTelemetry, not even the folder that its packages share."""
    monkeypatch.setattr(tracing, "find_spec", _no_such_module)

    assert not tracing.is_installed()


def _no_such_module(name: str) -> None:
    raise ModuleNotFoundError(name)
