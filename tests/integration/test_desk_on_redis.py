"""`GET /v1/orders/{channel}/{order}` on what the orders job has left in Redis and Kafka."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest
from redis import Redis

from notifier import config
from notifier.config import Address, Settings
from notifier.internal.desk import desk_of
from notifier.internal.health import Health, answer_health
from notifier.processes.listening import address_of, listening
from tests.integration.shop import Shop, paid
from tests.owners import notification


class Reporter:
    """Not asked here."""

    async def health(self) -> Health:
        """Ready."""
        return Health(is_ready=True, dependencies={})

    async def metrics(self) -> str:
        """None."""
        return ""


def ask(settings: Settings, *orders: str) -> list[tuple[int, Any]]:
    """What the desk answers about these orders."""

    async def asking() -> list[tuple[int, Any]]:
        with listening(Address("127.0.0.1", 0), "test") as sock:
            url = f"http://{address_of(sock)}/v1/orders/"
            async with (
                asyncio.timeout(30),
                desk_of(settings) as desk,
                answer_health(sock, Reporter(), desk.routes),
                aiohttp.ClientSession() as session,
            ):
                answers = []
                for order in orders:
                    async with session.get(url + order) as answer:
                        answers.append((answer.status, json.loads(await answer.read())))
                return answers

    return asyncio.run(asking())


def test_an_order_is_told_from_redis_and_an_unknown_one_is_unknown(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.fold(notification("T1", "WAIT_BUYER_PAY"), paid("T1"))

    (known, order), (unknown, problem) = ask(shop.settings, "shop-hkd/T1", "shop-hkd/T9")
    monkeypatch.setenv("NOTIFIER__KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1")
    without_kafka = config.load(shop.folder / "notifier.toml", config.environment())
    (still, again), (nobody, _) = ask(without_kafka, "shop-hkd/T1", "shop-hkd/T9")

    assert (known, order["status"], order["version"], order["paid"]) == (200, "paid", 2, 12800)
    assert (unknown, problem["status"]) == (404, 404)
    assert (still, again) == (200, order), "what Redis has needs no Kafka"
    assert nobody == 503, "what it does not have may lie in Kafka"


def test_after_a_flush_an_order_is_told_from_the_log(shop: Shop) -> None:
    shop.fold(paid("T1"))
    redis = Redis.from_url(shop.settings.redis.url)
    redis.delete(*redis.scan_iter(match=f"{shop.settings.redis.key_prefix}:*"))
    redis.close()

    ((status, order),) = ask(shop.settings, "shop-hkd/T1")

    assert (status, order["status"]) == (200, "paid")


def test_without_redis_it_says_so(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.fold(paid("T1"))
    monkeypatch.setenv("NOTIFIER__REDIS__URL", "redis://127.0.0.1:1/0")

    ((status, problem),) = ask(config.load(shop.folder / "notifier.toml", config.environment()), "shop-hkd/T1")

    assert (status, problem["title"]) == (503, "Service Unavailable")
    assert "Redis" in problem["detail"]
