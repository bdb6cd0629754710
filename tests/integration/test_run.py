"""The walk that the README describes: everything from `init` to Ctrl-C, each command its own process, nothing of ours faked."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from notifier import config
from notifier.cli import main
from notifier.local import Services
from notifier.local.ports import free_ports
from tests.program import WITHIN_S, Program, is_line

WEBHOOK_WITHIN_S = 20.0
"""Where nothing else is to be done, a tenth of a second; far below the minute after which a look would find one that was left."""
SERVICES = ("ingress", "orders", "fanout")


@dataclass
class Shop:
    """A folder, and the environment in which commands are called there."""

    folder: Path
    environment: dict[str, str]
    merchant_port: int

    async def call(self, *words: str) -> tuple[int, str, str]:
        """`notifier …` to its end: exit status, stdout, stderr."""
        process = await self.start(*words)
        async with asyncio.timeout(WITHIN_S):
            out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()

    @asynccontextmanager
    async def running(self, *words: str) -> AsyncIterator[Program]:
        """`notifier …` in a terminal of its own, while the block runs."""
        async with Program.of(await self.start(*words)) as program:
            yield program

    async def start(self, *words: str) -> Process:
        """`notifier …`, begun."""
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "notifier", *words),
            cwd=self.folder,
            env=self.environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
        )


@pytest.fixture
def shop(
    services: Services, topic_prefix: str, key_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Shop:
    """The folder after `notifier init` and `notifier topics --apply`, on ports of this test."""
    public, internal, orders, fanout, merchant = free_ports(5)
    for name in list(config.environment()):
        if name.startswith("NOTIFIER_"):
            monkeypatch.delenv(name)
    for name, value in {
        "KAFKA__BOOTSTRAP_SERVERS": services.addresses.bootstrap_servers,
        "KAFKA__TOPIC_PREFIX": topic_prefix,
        "KAFKA__PARTITIONS": "3",
        "REDIS__URL": services.addresses.redis_url,
        "REDIS__KEY_PREFIX": key_prefix,
        "INGRESS__PUBLIC": f"127.0.0.1:{public}",
        "INGRESS__INTERNAL": f"127.0.0.1:{internal}",
        "INGRESS__APPEND_TIMEOUT_S": "20",  # a busy machine is no outage
        "CONSUMERS__LISTEN_ORDERS": f"127.0.0.1:{orders}",
        "CONSUMERS__LISTEN_FANOUT": f"127.0.0.1:{fanout}",
        "ENDPOINTS__SHOP_OMS__URL": f"http://127.0.0.1:{merchant}/",
        "LOG__FORMAT": "json",  # what `init` writes is for people
    }.items():
        monkeypatch.setenv(f"NOTIFIER__{name}", value)
    monkeypatch.chdir(tmp_path)
    assert main(["init"]) == 0
    assert main(["topics", "--apply"]) == 0
    return Shop(tmp_path, dict(config.environment()), merchant)


async def test_the_walk(shop: Shop) -> None:
    """From a payment to its webhook, with a resend that changes nothing, a forgery that is refused, and an end without loss."""
    async with (
        shop.running("run") as run,
        shop.running("listen", "--port", str(shop.merchant_port), "--json") as merchant,
    ):
        await merchant.has_complained("verifying as shop-oms")
        await run.all_at_work()

        status, said, _ = await shop.call("simulate", "pay", "shop-hkd", "T1", "128.00")
        webhook = await merchant.until(is_line(order="T1"), within_s=WEBHOOK_WITHIN_S)

        assert (status, "200 success in" in said) == (0, True)
        assert webhook["verified"]
        assert (webhook["type"], webhook["version"], webhook["status"]) == ("order.paid", 1, "paid")
        assert (webhook["amount"], webhook["currency"]) == (12800, "HKD")

        status, said, _ = await shop.call("simulate", "pay", "shop-hkd", "T1", "128.00", "--repeat", "3")
        for _ in range(3):
            await run.until(is_line(event="evidence.repeated", order="T1"))

        assert (status, said.count("200 success in"), said.count("resent")) == (0, 3, 2)

        status, said, _ = await shop.call("simulate", "forge", "shop-hkd", "T2", "128.00", "--kind", "amount")
        why = await run.until(is_line(event="notification.rejected"))

        assert (status, "401 fail in" in said) == (0, True)
        assert (why["channel"], why["reason"]) == ("shop-hkd", "signature")

        status, _, _ = await shop.call("simulate", "pay", "shop-hkd", "T1", "128.00", "--status", "TRADE_FINISHED")
        finalized = await merchant.until(is_line(order="T1"))

        assert (status, finalized["type"], finalized["version"]) == (0, "order.finalized", 2)

        async with shop.running("tail", "--json") as tail:
            events = [await tail.until(lambda _: True) for _ in range(2)]
            assert await tail.ends(signal.SIGINT) == 0

        assert [(one["event"]["type"], one["event"]["id"]) for one in events] == [
            ("order.paid", webhook["event_id"]),
            ("order.finalized", finalized["event_id"]),
        ]

        assert await run.ends(signal.SIGINT) == 0
        assert await merchant.ends(signal.SIGINT) == 0

    assert [line for line in merchant.said if line["order"] != "T1"] == []
    assert len(merchant.said) == 2
    assert_ended_in_order(run.said)
    assert_nothing_secret_is_told(shop.folder, run.said)


def assert_ended_in_order(said: Sequence[dict[str, Any]]) -> None:
    """The ingress first, the consumers once nothing more can come, the supervisor last."""
    stopped = [line["service"] for line in said if line["event"] == "service.stopped"]
    assert stopped[0] == "ingress"
    assert sorted(stopped[1:3]) == ["fanout", "orders"]
    assert stopped[3:] == ["run"]
    assert [line for line in said if line["event"] in ("child.exited", "child.killed")] == []


def assert_nothing_secret_is_told(folder: Path, said: Sequence[dict[str, Any]]) -> None:
    """No token and no secret is in a log line (S12)."""
    settings = config.load(folder / "notifier.toml", {})
    lines = json.dumps(said)
    assert [channel.name for channel in settings.channels if channel.token in lines] == []
    assert "whsec_" not in lines


async def test_a_consumer_that_is_killed_is_started_again_and_goes_on(shop: Shop) -> None:
    """What was accepted while it was away reaches the merchant."""
    shop.environment["NOTIFIER__CONSUMERS__SESSION_TIMEOUT_S"] = "1"
    async with (
        shop.running("run") as run,
        shop.running("listen", "--port", str(shop.merchant_port), "--json") as merchant,
    ):
        await merchant.has_complained("verifying as shop-oms")
        await run.all_at_work()

        os.kill(run.pid_of("orders"), signal.SIGKILL)
        exited = await run.until(is_line(event="child.exited"))
        status, _, _ = await shop.call("simulate", "pay", "shop-hkd", "T1", "128.00")
        webhook = await merchant.until(is_line(order="T1"))

        assert (exited["child"], exited["status"]) == ("orders", -signal.SIGKILL)
        assert (status, webhook["verified"]) == (0, True)
        assert await run.ends(signal.SIGTERM) == 0


async def test_it_starts_before_its_topics_and_goes_on_when_they_come(shop: Shop) -> None:
    """Each service says once what is missing."""
    shop.environment["NOTIFIER__KAFKA__TOPIC_PREFIX"] += "-later"
    shop.environment["NOTIFIER__INGRESS__APPEND_TIMEOUT_S"] = "1"

    async with shop.running("run") as run:
        complaints = await run.until_each(*[("kafka.unavailable", service) for service in SERVICES])
        status, _, _ = await shop.call("simulate", "pay", "shop-hkd", "T1", "128.00")
        assert (await shop.call("topics", "--apply"))[0] == 0
        await run.until_each(
            *[("kafka.recovered", service) for service in SERVICES],
            ("partitions.assigned", "orders"),
            ("partitions.assigned", "fanout"),
        )

        assert status == 1
        assert all("there is no topic" in line["reason"] for line in complaints)
        assert await run.ends(signal.SIGTERM) == 0

    said_once = [line["service"] for line in run.said if line["event"] == "kafka.unavailable"]
    assert sorted(said_once) == sorted(SERVICES)


async def test_without_kafka_and_redis_it_starts_and_ends_in_order(shop: Shop) -> None:
    shop.environment |= {
        "NOTIFIER__KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "NOTIFIER__REDIS__URL": "redis://127.0.0.1:1/0",
    }

    async with shop.running("run") as run:
        await run.until_each(*[("kafka.unavailable", service) for service in SERVICES])

        assert await run.ends(signal.SIGTERM) == 0

    assert_ended_in_order(run.said)


async def test_nothing_outlives_a_supervisor_that_is_killed(shop: Shop) -> None:
    """The services end in order by themselves: their stderr closes, and the ports are free for the next start."""
    async with shop.running("run") as run:
        await run.all_at_work()

        assert await run.ends(signal.SIGKILL) == -signal.SIGKILL

    async with shop.running("run") as again:
        await again.all_at_work()
        assert await again.ends(signal.SIGTERM) == 0


async def test_a_consumer_that_is_told_to_end_while_it_joins_its_group_ends(shop: Shop) -> None:
    """It is given its partitions on the way out; work that it began on them now, nobody would end."""
    # longer than the next one takes to start
    shop.environment["NOTIFIER__CONSUMERS__SESSION_TIMEOUT_S"] = "30"
    async with shop.running("consume", "orders") as killed:
        await killed.until(is_line(event="partitions.assigned"))

    # Kafka holds the next one's request to join until the killed one's session is over.
    async with shop.running("consume", "orders") as joining:
        await joining.until(is_line(event="service.started"))
        assert await joining.ends(signal.SIGTERM) == 0

    assert [line for line in joining.said if line["event"] == "partitions.revoked"] == []


async def test_in_a_console_each_line_has_its_service(shop: Shop) -> None:
    shop.environment["NOTIFIER__LOG__FORMAT"] = "console"
    process = await shop.start("run")
    assert process.stdout is not None
    said: list[str] = []
    async with asyncio.timeout(WITHIN_S):
        while sum("service.started" in line for line in said) <= len(SERVICES):
            said.append((await process.stdout.readline()).decode())
        process.send_signal(signal.SIGTERM)
        out, _ = await process.communicate()

    assert process.returncode == 0
    names = {line.split()[0] for line in [*said, *out.decode().splitlines()]}
    assert names == {"run", *SERVICES}
