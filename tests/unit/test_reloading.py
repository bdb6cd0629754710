"""Reloading: what may change while a process runs, and that it changes whole or not at all (contract, section 3)."""

from __future__ import annotations

import asyncio
import io
import json
import os
import pty
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from notifier import logs
from notifier.config import Settings, load, reader
from notifier.processes import hangup
from notifier.processes.reloading import Reloading
from notifier.settings.change import NEEDS_RESTART, RELOADED, TABLES, can_be_reloaded, compare

TOKEN, OTHER_TOKEN = "token-of-the-shop-1234567", "token-of-another-12345678"
SECRET, OTHER_SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_" + "C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
MD5_KEY = "0123456789abcdef0123456789abcdef"
CHANNEL = f"""
[[channels]]
name = "shop-hkd"
token = "{TOKEN}"
protocol = "mapi"
partner_id = "2088000000000001"
currency = "HKD"
sign_types = ["RSA2"]
keys = ["first.pem"]
"""
ENDPOINT = f"""
[[endpoints]]
name = "shop-oms"
url = "https://oms.example.com/hooks"
channels = ["*"]
secrets = ["{SECRET}"]
"""


def _pem() -> bytes:
    key = rsa.generate_private_key(65537, 2048)
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


PEMS = (_pem(), _pem())


@dataclass
class Place:
    """A settings file, and what a process does with it."""

    file: Path
    used: list[Settings] = field(default_factory=list)

    def write(self, text: str) -> None:
        """Put another file in its place."""
        self.file.write_text(text)

    def load(self, text: str) -> Settings:
        """What this file says."""
        self.write(text)
        return load(self.file, {})

    def begun(self, text: str) -> Reloading:
        """A process that began with this file."""
        return Reloading(self.load(text), reader(self.file, {}))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    for name, pem in zip(("first.pem", "second.pem"), PEMS, strict=True):
        (tmp_path / name).write_bytes(pem)
    (tmp_path / "secret").write_text(SECRET)
    return Place(tmp_path / "notifier.toml")


@pytest.fixture
def lines() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    out = io.BytesIO()
    logs.configure(service="ingress", instance="one", out=out)
    yield lambda: [json.loads(line) for line in out.getvalue().splitlines()]
    logs.set_level("info")


# What may change


def test_each_setting_is_taken_over_or_needs_a_restart() -> None:
    """A new setting has to be decided: in this table, and where it is used."""
    models = {one.name: getattr(load(None, {}, needs_file=False), one.name) for one in fields(Settings)}
    lists = {"channels", "endpoints", "channel_settings", "endpoint_settings", "text"}

    assert set(models) - lists == set(TABLES)
    names = [f"{table}.{name}" for table in TABLES for name in type(models[table]).model_fields]
    decided = {
        name: [name in one or name.partition(".")[0] in one for one in (RELOADED, NEEDS_RESTART)] for name in names
    }
    assert [name for name, which in decided.items() if which.count(True) != 1] == []
    assert [name for name in RELOADED | NEEDS_RESTART if name not in {*names, *TABLES, *lists}] == []


def test_what_nobody_decided_needs_a_restart() -> None:
    assert not can_be_reloaded("ingress.something_new")
    assert not can_be_reloaded("telemetry.otlp_endpoint")


RESTARTS = [
    ('[kafka]\ntopic_prefix = "other"\n', "kafka.topic_prefix"),
    ("[kafka]\npartitions = 3\n", "kafka.partitions"),
    ('[redis]\nurl = "redis://127.0.0.1:1/0"\n', "redis.url"),
    ('[ingress]\npublic = "127.0.0.1:1"\n', "ingress.public"),
    ('[ingress]\ninternal = "127.0.0.1:1"\n', "ingress.internal"),
    ("[ingress]\nworkers = 2\n", "ingress.workers"),
    ('[consumers]\nlisten_orders = "127.0.0.1:1"\n', "consumers.listen_orders"),
    ('[log]\nformat = "console"\n', "log.format"),
]
CHANGES = [
    ("nothing", CHANNEL, (), (), ()),
    ("a limit", CHANNEL + "[delivery]\ntimeout_s = 1\n", ("delivery.timeout_s",), (), ()),
    ("a limit of the door", CHANNEL + "[ingress]\nbody_bytes_max = 2048\n", ("ingress.body_bytes_max",), (), ()),
    ("a key more", CHANNEL.replace('["first.pem"]', '["first.pem", "second.pem"]'), ("channels.shop-hkd.keys",), (), ()),
    ("another token", CHANNEL.replace(TOKEN, OTHER_TOKEN), ("channels.shop-hkd.token",), (), ()),
    ("another name", CHANNEL.replace("shop-hkd", "shop-b"), (), ("channels.shop-b",), ("channels.shop-hkd",)),
    ("an endpoint", CHANNEL + ENDPOINT, (), ("endpoints.shop-oms",), ()),
    (
        "several",
        CHANNEL.replace('"HKD"', '"USD"') + "[log]\nlevel = 'debug'\n",
        ("channels.shop-hkd.currency", "log.level"),
        (),
        (),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("_why", "text", "changed", "added", "removed"), CHANGES)
def test_what_differs_is_told_by_name(
    place: Place, _why: str, text: str, changed: tuple[str, ...], added: tuple[str, ...], removed: tuple[str, ...]
) -> None:
    change = compare(place.load(CHANNEL), place.load(text))

    assert (change.changed, change.added, change.removed) == (changed, added, removed)
    assert change.needs_restart == ()


ENDPOINTS = [
    ("the URL", ("https://oms.example.com/hooks", "https://oms.example.com/other"), "url"),
    ("a secret", (SECRET, OTHER_SECRET), "secrets"),
    ("whom it hears of", ('channels = ["*"]', 'channels = ["shop-hkd"]'), "channels"),
    ("what it hears", ("secrets", "events = ['order.paid']\nsecrets"), "events"),
    ("how long it may take", ("secrets", "timeout_s = 1\nsecrets"), "timeout_s"),
    ("how much at once", ("secrets", "concurrency = 1\nsecrets"), "concurrency"),
    ("what else it is sent", ("secrets", "headers = {authorization = 'x'}\nsecrets"), "headers"),
]


@pytest.mark.parametrize(("_why", "replaced", "setting"), ENDPOINTS)
def test_what_differs_of_an_endpoint(place: Place, _why: str, replaced: tuple[str, str], setting: str) -> None:
    change = compare(place.load(CHANNEL + ENDPOINT), place.load(CHANNEL + ENDPOINT.replace(*replaced)))

    assert (change.changed, change.needs_restart) == ((f"endpoints.shop-oms.{setting}",), ())


@pytest.mark.parametrize(("file", "content", "name"), [
    ("first.pem", PEMS[1], "channels.shop-hkd.keys"),
    ("secret", OTHER_SECRET.encode(), "endpoints.shop-oms.secrets"),
])  # fmt: skip
def test_a_file_that_was_replaced_under_its_name_is_a_change(
    place: Place, file: str, content: bytes, name: str
) -> None:
    text = CHANNEL + ENDPOINT.replace(f'secrets = ["{SECRET}"]', 'secret_files = ["secret"]')
    before = place.load(text)

    (place.file.parent / file).write_bytes(content)

    assert compare(before, place.load(text)).changed == (name,)


# Whole, or not at all


async def test_what_is_new_is_put_in_place_at_once_and_told(
    place: Place, lines: Callable[[], list[dict[str, Any]]]
) -> None:
    reloading = place.begun(CHANNEL)
    place.write(CHANNEL.replace("first.pem", "second.pem") + ENDPOINT + "[delivery]\ntimeout_s = 1\n")

    await reloading.reload(place.used.append)

    (settings,) = place.used
    assert reloading.settings is settings
    assert settings.delivery.timeout_s == 1
    (line,) = lines()
    assert (line["event"], line["level"], line["count"]) == ("settings.reloaded", "info", 3)
    assert (line["changed"], line["added"]) == (
        ["channels.shop-hkd.keys", "delivery.timeout_s"],
        ["endpoints.shop-oms"],
    )
    assert [secret for secret in (TOKEN, SECRET, "oms.example.com") if secret in json.dumps(line)] == []


@pytest.mark.parametrize(("text", "name"), RESTARTS)
async def test_what_needs_a_restart_is_refused_with_all_that_came_with_it(
    place: Place, lines: Callable[[], list[dict[str, Any]]], text: str, name: str
) -> None:
    reloading = place.begun(CHANNEL)
    before = reloading.settings
    place.write(CHANNEL.replace("first.pem", "second.pem") + text)

    await reloading.reload(place.used.append)

    assert (place.used, reloading.settings) == ([], before)
    (line,) = lines()
    assert (line["event"], line["level"]) == ("settings.refused", "error")
    assert (line["reason"], line["what"]) == ("needs_restart", [name])


OWN_KAFKA = '[kafka]\nbootstrap_servers = "kafka.example.com:9092"\n'
BROKEN = [
    ("no TOML", "[[channels", "faults"),
    ("half written", OWN_KAFKA + CHANNEL[:-4], "faults"),
    ("half written, up to a line's end", OWN_KAFKA + CHANNEL.partition("partner_id")[0], "faults"),
    ("a fault beside what is right", OWN_KAFKA + "partition = 1\n" + CHANNEL, "faults"),
    ("a key that is not there", OWN_KAFKA + CHANNEL.replace("first.pem", "third.pem"), "faults"),
    ("cut off behind its head", "[log]\n", "no_channels"),
    ("empty, as an editor leaves it for a moment", "", "no_channels"),
]


@pytest.mark.parametrize(("_why", "text", "reason"), BROKEN)
async def test_with_a_fault_everything_stays_as_it_was(
    place: Place, lines: Callable[[], list[dict[str, Any]]], _why: str, text: str, reason: str
) -> None:
    reloading = place.begun(OWN_KAFKA + CHANNEL)
    before = reloading.settings
    place.write(text)

    await reloading.reload(place.used.append)

    assert (place.used, reloading.settings) == ([], before)
    (line,) = lines()
    assert (line["event"], line["reason"]) == ("settings.refused", reason)
    assert [one for one in line["what"] if " " not in one] == [], "each is a sentence for a person"
    assert line["count"] == len(line["what"]) > 0

    place.write(OWN_KAFKA + CHANNEL + ENDPOINT)
    await reloading.reload(place.used.append)
    assert len(place.used) == 1, "mended, it is taken over"


async def test_a_file_that_is_gone_is_not_a_file_without_channels(
    place: Place, lines: Callable[[], list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that could begin without a file would take its defaults."""
    monkeypatch.chdir(place.file.parent)
    place.write(ENDPOINT)
    reloading = Reloading(load(None, {}, needs_file=False), reader(None, {}))
    place.file.unlink()

    await reloading.reload(place.used.append)

    assert place.used == []
    assert [(line["event"], line["reason"]) for line in lines()] == [("settings.refused", "faults")]


async def test_a_key_that_goes_between_check_and_reading_is_refused(
    place: Place, lines: Callable[[], list[dict[str, Any]]]
) -> None:
    settings = place.load(CHANNEL)

    def vanishing() -> Settings:
        raise ValueError(f"what a file said: {SECRET}")

    await Reloading(settings, vanishing).reload(place.used.append)

    (line,) = lines()
    assert (place.used, line["event"], line["reason"]) == ([], "settings.refused", "changed_meanwhile")
    assert SECRET not in json.dumps(line)


async def test_it_is_done_as_often_as_it_is_asked(place: Place) -> None:
    """Asked while it is at it, it reads once more: what it reads may be of before."""
    reloading = place.begun(CHANNEL)
    done = asyncio.Event()

    def use(settings: Settings) -> None:
        place.used.append(settings)
        if len(place.used) == 1:
            place.write(CHANNEL + ENDPOINT)
            reloading.ask()
        else:
            done.set()

    async with asyncio.timeout(10), reloading.at_work(use):
        reloading.ask()
        await done.wait()

    assert [len(settings.endpoints) for settings in place.used] == [0, 1]


# The signal


@pytest.fixture
def hup() -> Iterator[None]:
    before = signal.getsignal(signal.SIGHUP)
    hangup.expect()
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hup")
async def test_a_signal_that_comes_before_anybody_follows_is_obeyed() -> None:
    """It would end the process; or be lost, and with it the news that the settings, read just before, have changed."""
    heard: asyncio.Queue[str] = asyncio.Queue()
    os.kill(os.getpid(), signal.SIGHUP)

    hangup.follow(lambda: heard.put_nowait("reload"), heard.put_nowait)

    async with asyncio.timeout(10):
        assert await heard.get() == "reload"
        os.kill(os.getpid(), signal.SIGHUP)
        assert await heard.get() == "reload"
    asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)


def test_a_terminal_that_was_closed_is_told_from_one_that_is_there() -> None:
    """The same signal means either; who runs in a window that is closed shall end."""
    ours, its = pty.openpty()

    assert not hangup.is_terminal_gone((its,))
    os.close(ours)
    assert hangup.is_terminal_gone((its,))
    os.close(its)
    assert not hangup.is_terminal_gone(()), "who never had one has lost none"
