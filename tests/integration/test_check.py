"""`notifier check` on real Kafka and Redis, and on servers that accept and say nothing."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import cast
from urllib.parse import urlsplit

import pytest
from redis import Redis

from notifier import config
from notifier.alipayhk.compose import compose
from notifier.checks import inspection, services
from notifier.checks.finding import Finding, State, ok
from notifier.cli import main
from notifier.cli.keys import new_pair, private_path, read_private
from notifier.config import Settings
from notifier.evidence import to_record
from notifier.kafka.access import Access
from notifier.kafka.producer import Producer
from notifier.local.ports import free_ports
from notifier.topics import Topics

KEY = Path("keys/shop-hkd-test.pem")
FORM = "application/x-www-form-urlencoded"

Check = Callable[[], tuple[int, dict[str, dict[str, str | None]]]]
"""`notifier check --json`: its exit status, and what it found, by name."""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """A folder as `notifier init` leaves it, with free addresses, and no test key's private half beside the key."""
    monkeypatch.chdir(tmp_path)
    for name in list(config.environment()):
        if name.startswith("NOTIFIER_"):
            monkeypatch.delenv(name)
    assert main(["init"]) == 0
    public, internal, nobody = free_ports(3)
    monkeypatch.setenv("NOTIFIER__INGRESS__PUBLIC", f"127.0.0.1:{public}")
    monkeypatch.setenv("NOTIFIER__INGRESS__INTERNAL", f"127.0.0.1:{internal}")
    monkeypatch.setenv("NOTIFIER__ENDPOINTS__SHOP_OMS__URL", f"http://127.0.0.1:{nobody}/")
    private_path(KEY).rename("private.pem")
    capsys.readouterr()
    return tmp_path


@pytest.fixture
def there(
    shop: Path, bootstrap_servers: str, redis_url: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """The settings of that folder, with Kafka and Redis there."""
    monkeypatch.setenv("NOTIFIER__KAFKA__BOOTSTRAP_SERVERS", bootstrap_servers)
    monkeypatch.setenv("NOTIFIER__KAFKA__TOPIC_PREFIX", topic_prefix)
    monkeypatch.setenv("NOTIFIER__KAFKA__PARTITIONS", "3")
    monkeypatch.setenv("NOTIFIER__REDIS__URL", redis_url)
    return config.load(shop / "notifier.toml", config.environment())


@pytest.fixture
def check(capsys: pytest.CaptureFixture[str]) -> Check:
    def call() -> tuple[int, dict[str, dict[str, str | None]]]:
        capsys.readouterr()
        status = main(["check", "--json"])
        found = cast("list[dict[str, str | None]]", json.loads(capsys.readouterr().out))
        assert all(list(one) == ["name", "state", "message", "remedy"] for one in found)
        assert [one["name"] for one in found if (one["remedy"] is None) != (one["state"] == "ok")] == []
        return status, {str(one["name"]): one for one in found}

    return call


def state(found: dict[str, dict[str, str | None]], name: str) -> State:
    return cast(State, found[name]["state"])


def test_what_is_missing_is_a_fault_until_it_is_made(there: Settings, check: Check) -> None:
    inbox = f"topics.{Topics(there.kafka.topic_prefix).inbox}"

    before, missing = check()
    assert main(["topics", "--apply"]) == 0
    after, made = check()

    assert (before, state(missing, inbox)) == (1, "fault")
    assert (after, state(made, inbox)) == (0, "ok")
    assert {name for name, one in made.items() if one["state"] != "ok"} == {
        "channels.shop-hkd.vector",
        "endpoints.shop-oms",
    }, "nothing was received yet, and nobody listens for webhooks"
    assert "crash loses nothing, a disk that dies loses" in str(made["kafka.durability"]["message"])
    assert set(made) >= {
        "settings", "files", "clock.redis", "listeners.ingress.public", "channels.shop-hkd.keys[0]", "kafka.brokers",
        f"groups.{there.kafka.topic_prefix}.orders", f"groups.{there.kafka.topic_prefix}.fanout",
        "redis.policy", "redis.persistence", "redis.memory",
    }  # fmt: skip


def test_what_differs_is_a_line_each_and_on_a_terminal_stands_with_its_remedy(
    there: Settings, check: Check, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["topics", "--apply"]) == 0
    monkeypatch.setenv("NOTIFIER__KAFKA__PARTITIONS", "4")
    monkeypatch.setenv("COLUMNS", "80")

    status, found = check()
    assert main(["check"]) == 1
    said = capsys.readouterr().out

    assert status == 1
    assert state(found, f"topics.{Topics(there.kafka.topic_prefix).orders}.partitions") == "fault"
    assert said.count("→ A topic keeps its number, for keys would move: set") == 1, "what is said of five is said once"
    assert "looked at: 5 faults, 2 warnings." in said


async def notify(settings: Settings, signed_with: Path, received_at: datetime) -> None:
    """One genuine notification in the inbox."""
    (channel,) = settings.channels
    fields = {"out_trade_no": "T1", "trade_no": "2026112", "trade_status": "TRADE_SUCCESS", "total_fee": "128.00"}
    body = compose(fields | {"notify_type": "trade_status_sync"}, "RSA2", read_private(signed_with))
    record = to_record(channel.verify(body, FORM, received_at, None).evidence)
    access = Access.to(settings.kafka, "test")
    async with Producer(access, service="test", timeout_s=10.0) as producer:
        await producer.append(Topics(settings.kafka.topic_prefix).inbox, 1, [record])


def test_the_newest_notification_tells_whether_a_new_key_is_the_right_one(there: Settings, check: Check) -> None:
    assert main(["topics", "--apply"]) == 0
    asyncio.run(notify(there, Path("private.pem"), datetime.now(UTC)))  # noqa: TID251 - beside the broker's own clock

    _, with_its_key = check()
    KEY.write_bytes(new_pair()[1])
    _, with_another = check()

    assert state(with_its_key, "channels.shop-hkd.vector") == "ok"
    assert state(with_its_key, "clock.kafka") == "ok"
    assert state(with_its_key, f"groups.{there.kafka.topic_prefix}.orders") == "warning"
    assert "1 record waits" in str(with_its_key[f"groups.{there.kafka.topic_prefix}.orders"]["message"])
    assert state(with_another, "channels.shop-hkd.vector") == "warning"
    assert "not active any more" in str(with_another["channels.shop-hkd.vector"]["message"])


def test_a_broker_that_dates_records_before_they_were_received_has_another_clock(there: Settings, check: Check) -> None:
    assert main(["topics", "--apply"]) == 0
    ahead = datetime.now(UTC) + timedelta(seconds=60)  # noqa: TID251 - beside the broker's own clock
    asyncio.run(notify(there, Path("private.pem"), ahead))

    _, found = check()

    assert state(found, "clock.kafka") == "warning"


def test_a_message_beside_the_key_proves_it_before_anything_was_received(there: Settings, check: Check) -> None:
    assert main(["topics", "--apply"]) == 0
    body = compose({"notify_type": "trade_status_sync", "subject": "x"}, "RSA2", read_private(Path("private.pem")))
    vector = KEY.with_name("shop-hkd-test.vector")
    vector.write_bytes(body)
    vector.chmod(0o600)

    good, proven = check()
    vector.write_bytes(body.replace(b"subject=x", b"subject=y"))
    bad, disproven = check()

    assert (good, state(proven, "channels.shop-hkd.vector")) == (0, "ok")
    assert (bad, state(disproven, "channels.shop-hkd.vector")) == (1, "fault")


def test_the_merchants_own_key_in_the_place_of_alipayhks_is_named_as_such(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The settings refuse it already: that is one line for a person, one object for a program, and status 2 for both."""
    monkeypatch.setenv("NOTIFIER__CHANNELS__SHOP_HKD__MERCHANT_KEY_FILE", str(shop / "private.pem"))

    assert main(["check", "--json"]) == 2

    said = capsys.readouterr()
    (told,) = json.loads(said.out)
    assert (told["name"], told["state"]) == ("settings", "fault")
    assert "is the merchant's own public key; AlipayHK's is wanted" in told["message"]
    assert "is the merchant's own public key; AlipayHK's is wanted" in said.err


def test_an_address_that_another_program_has_is_told_with_whose_it_is(
    there: Settings, check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("NOTIFIER__INGRESS__INTERNAL", f"127.0.0.1:{taken.getsockname()[1]}")
        monkeypatch.setenv("NOTIFIER__CONSUMERS__LISTEN_ORDERS", "127.0.0.1:1")
        monkeypatch.setenv("NOTIFIER__CONSUMERS__LISTEN_FANOUT", "127.0.0.1:1")

        status, found = check()

    assert status == 1
    assert state(found, "listeners.ingress.public") == "ok"
    assert state(found, "listeners.ingress.internal") == "fault"
    assert "is taken by " in str(found["listeners.ingress.internal"]["message"])
    assert "is also consumers.listen_orders" in str(found["listeners.consumers.listen_fanout"]["message"])


def test_an_endpoint_that_leads_where_it_must_not_is_a_fault(
    there: Settings, check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name is no fault of the settings: only resolving it tells."""
    monkeypatch.setenv("NOTIFIER__ENDPOINTS__SHOP_OMS__URL", "https://localhost:1/")
    monkeypatch.setenv("NOTIFIER__DELIVERY__ALLOW_NETWORKS", "[]")

    _, found = check()

    assert state(found, "endpoints.shop-oms") == "fault"


def test_whatever_hangs_it_ends_and_says_what_hung(shop: Path, check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker, a Redis, an endpoint and name servers that say nothing, all at once; it does not even hold up the end."""
    monkeypatch.setattr(services, "ANSWER_S_MAX", 0.5)
    monkeypatch.setattr(inspection, "REACHED_S_MAX", 0.5)
    name_servers_answer = Event()
    real = socket.getaddrinfo

    def hangs(host: object, *rest: object, **more: object) -> object:
        if host == "hangs.example":
            name_servers_answer.wait(60)
        return real(host, *rest, **more)  # type: ignore[arg-type] # handed on as it came

    monkeypatch.setattr(socket, "getaddrinfo", hangs)
    with ExitStack() as stack:
        broker, other_broker, redis, merchant = (
            stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(4)
        )
        stack.callback(name_servers_answer.set)
        monkeypatch.setenv("NOTIFIER__KAFKA__BOOTSTRAP_SERVERS", f"127.0.0.1:{broker},127.0.0.1:{other_broker}")
        monkeypatch.setenv("NOTIFIER__REDIS__URL", f"redis://127.0.0.1:{redis}/0")
        monkeypatch.delenv("NOTIFIER__ENDPOINTS__SHOP_OMS__URL")
        monkeypatch.setenv(
            "NOTIFIER__ENDPOINTS",
            json.dumps(
                [
                    {"name": name, "url": url, "channels": ["*"], "secrets": ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]}
                    for name, url in (("silent", f"https://127.0.0.1:{merchant}/"), ("lost", "https://hangs.example/"))
                ]
            ),
        )

        began = time.monotonic()
        status, found = check()
        took_s = time.monotonic() - began

    assert status == 1
    assert {name: one["state"] for name, one in found.items() if one["state"] != "ok"} == {
        "kafka.answers": "fault",
        "redis.answers": "fault",
        "endpoints.silent": "warning",
        "endpoints.lost": "warning",
    }
    assert took_s < 30, "half of what the name servers take"


async def test_a_part_that_does_not_end_keeps_what_it_has_found() -> None:
    async def part() -> AsyncIterator[Finding]:
        yield ok("kafka.brokers", "three of them")
        await asyncio.Event().wait()

    async with asyncio.timeout(20):
        found = await inspection.collected("kafka", part(), within_s=0.05)

    assert [(one.name, one.state) for one in found] == [("kafka.brokers", "ok"), ("kafka", "fault")]


def test_nobody_there_is_told_with_where_it_was_looked_for(
    shop: Path, check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFIER__KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.setenv("NOTIFIER__REDIS__URL", "redis://user:not-to-be-told@127.0.0.1:1/0")

    status, found = check()

    assert status == 1
    assert "127.0.0.1:1: no connection was made" in str(found["kafka.answers"]["message"])
    assert "127.0.0.1:1: no connection was made" in str(found["redis.answers"]["message"])
    assert "not-to-be-told" not in json.dumps(found)


def test_before_init_it_is_told_what_writes_the_settings(
    shop: Path, check: Check, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A newcomer's first command: Kafka and Redis were told how to start, and of the settings it was said that all was well."""
    Path("notifier.toml").unlink()
    monkeypatch.delenv("NOTIFIER__ENDPOINTS__SHOP_OMS__URL")
    monkeypatch.setenv("NOTIFIER__REDIS__URL", "redis://127.0.0.1:1/0")

    _, found = check()
    main(["topics"])

    assert found["settings"]["state"] == "warning"
    assert "`notifier init`" in str(found["settings"]["remedy"])
    assert "`notifier init`" in capsys.readouterr().err


def test_a_redis_that_does_not_let_us_ask_is_told_so(
    there: Settings, check: Check, key_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = urlsplit(there.redis.url)
    with Redis.from_url(there.redis.url) as redis:
        redis.acl_setuser(key_prefix, enabled=True, passwords=["+pw"], categories=["+@all"], commands=["-info"])
        monkeypatch.setenv("NOTIFIER__REDIS__URL", f"redis://{key_prefix}:pw@{url.hostname}:{url.port}/0")
        try:
            _, found = check()
        finally:
            redis.acl_deluser(key_prefix)

    assert state(found, "redis.access") == "fault"
    assert "this user may not ask" in str(found["redis.access"]["message"])


def test_a_message_that_cannot_be_read_is_a_fault_and_no_end(there: Settings, check: Check) -> None:
    KEY.with_name("shop-hkd-test.vector").write_bytes(b"x" * 70_000)

    _, found = check()

    assert state(found, "channels.shop-hkd.vector") == "fault"
