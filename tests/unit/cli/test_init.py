"""`notifier init`: what it writes works at once, explains every setting, and replaces nothing."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import BaseModel

from notifier import config
from notifier.cli import init
from notifier.config import (
    ChannelSettings,
    Consumers,
    Delivery,
    Ingress,
    Kafka,
    Log,
    Orders,
    Redis,
    Settings,
    Telemetry,
)
from notifier.local import Addresses
from notifier.settings.endpoints import EndpointSettings

Notifier = Callable[..., int]
WRITTEN = ("notifier.toml", "keys/shop-hkd-test.pem", "keys/shop-hkd-test.private.pem")


def test_what_it_writes_are_settings_that_work(settings: Settings) -> None:
    (channel,) = settings.channels
    (endpoint,) = settings.endpoints

    assert channel.name == "shop-hkd"
    assert channel.sign_types == ("RSA2",)
    assert endpoint.name == "shop-oms"
    assert endpoint.url == "http://127.0.0.1:9000/"
    assert [str(network) for network in settings.delivery.allow_networks] == ["127.0.0.0/8"]
    assert settings.log.format == "console", "whoever begins, reads"


def test_without_local_services_the_addresses_are_the_defaults(settings: Settings) -> None:
    assert settings.kafka.bootstrap_servers == Kafka().bootstrap_servers
    assert settings.redis.url == Redis().url


def test_with_local_services_the_addresses_are_theirs(
    notifier: Notifier, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(init, "addresses_of", lambda _: Addresses("127.0.0.1:4711", "redis://127.0.0.1:4712/0"))

    assert notifier("init", "shop") == 0

    settings = config.load(tmp_path / "shop" / "notifier.toml", {})
    assert settings.kafka.bootstrap_servers == "127.0.0.1:4711"
    assert settings.redis.url == "redis://127.0.0.1:4712/0"


def test_only_the_public_key_is_for_everybody(shop: Path) -> None:
    modes = {name: (shop / name).stat().st_mode & 0o777 for name in WRITTEN}

    assert modes["keys/shop-hkd-test.private.pem"] == 0o600
    assert modes["notifier.toml"] == 0o600  # it holds a token and a secret
    assert modes["keys/shop-hkd-test.pem"] & 0o444 == 0o444


def test_no_two_installations_share_a_secret() -> None:
    texts = [init.settings_text(init.default_addresses()) for _ in range(2)]

    one, other = (tomllib.loads(text) for text in texts)
    assert one["channels"][0]["token"] != other["channels"][0]["token"]
    assert one["endpoints"][0]["secrets"] != other["endpoints"][0]["secrets"]


@pytest.mark.parametrize("name", WRITTEN)
def test_it_overwrites_nothing(
    name: str, notifier: Notifier, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not even a link that leads nowhere; and then nothing else is written either."""
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).symlink_to("nowhere")

    assert notifier("init") == 1

    assert f"nothing was written: {name} is there already" in capsys.readouterr().err
    assert [one for one in WRITTEN if (tmp_path / one).exists()] == []


def test_a_folder_that_cannot_be_written_is_told(
    notifier: Notifier, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Here something else stands where the folder would be; nothing is left half done."""
    (tmp_path / "keys").write_text("a file")

    assert notifier("init") == 1

    said = capsys.readouterr().err
    assert "cannot be written" in said
    assert "notifier init DIR" in said
    assert not (tmp_path / "notifier.toml").exists()


def test_the_next_steps_are_those_of_the_walk(notifier: Notifier, capsys: pytest.CaptureFixture[str]) -> None:
    assert notifier("init", "shop") == 0

    said = capsys.readouterr().out
    steps = ("cd shop", "local up", "topics --apply", "run", "listen", "simulate pay shop-hkd T1 128.00", "tail")
    assert [step for step in steps if step not in said] == []
    assert "export $(notifier local up)" in said, "the file has the default addresses; these go above it"


def test_where_local_services_are_in_the_file_nothing_has_to_be_exported(
    notifier: Notifier, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(init, "addresses_of", lambda _: Addresses("127.0.0.1:4711", "redis://127.0.0.1:4712/0"))

    assert notifier("init") == 0

    said = capsys.readouterr().out
    assert "export" not in said
    assert "notifier local status" in said


TABLES: dict[str, type[BaseModel]] = {
    "kafka": Kafka,
    "redis": Redis,
    "ingress": Ingress,
    "consumers": Consumers,
    "orders": Orders,
    "delivery": Delivery,
    "log": Log,
    "telemetry": Telemetry,
    "channels": ChannelSettings,
    "endpoints": EndpointSettings,
}


@pytest.mark.parametrize("table", TABLES)
def test_every_setting_is_there_with_a_word(table: str) -> None:
    """Uncommented or commented, each setting of a table stands in its part of the file."""
    text = init.settings_text(init.default_addresses())
    part = re.split(r"^\[+([a-z]+)\]+.*$", text, flags=re.MULTILINE)
    named = re.findall(r"^(?:# )?([a-z0-9_]+) = ", part[part.index(table) + 1], flags=re.MULTILINE)

    assert set(named) == set(TABLES[table].model_fields)


@pytest.mark.parametrize("table", [name for name in TABLES if name not in ("channels", "endpoints")])
def test_a_default_in_a_comment_is_the_default(table: str) -> None:
    text = init.settings_text(init.default_addresses())
    part = re.split(r"^\[+([a-z]+)\]+.*$", text, flags=re.MULTILINE)
    commented = "\n".join(re.findall(r"^# ([a-z0-9_]+ = .*)$", part[part.index(table) + 1], flags=re.MULTILINE))
    model = TABLES[table]

    differing = {}
    for name, value in tomllib.loads(commented).items():
        default = model.model_fields[name].default
        if default is not None and value != default:
            differing[name] = (value, default)

    assert differing == {}


@pytest.mark.parametrize(
    "addresses",
    [init.default_addresses(), Addresses("kafka-0:9092", "redis://10.1.2.3:6379/0")],
    ids=["the default", "another length"],
)
def test_what_is_said_beside_the_settings_stands_below_one_another(addresses: Addresses) -> None:
    """A file that one reads from top to bottom; with fresh secrets and ports its words were pushed aside by a letter or two."""
    text = init.settings_text(addresses)

    places = {line: line.find(" # ") + 1 for line in text.splitlines() if not line.startswith("#") and " # " in line}
    assert {line: at for line, at in places.items() if at != 48} == {}
