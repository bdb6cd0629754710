"""The order desk over HTTP: every answer that it gives (contract, section 5)."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import cast

import aiohttp
import pytest
from yarl import URL

from notifier import logs
from notifier.config import Address
from notifier.errors import Unavailable
from notifier.internal import desk
from notifier.internal.desk import Desk
from notifier.internal.health import Health, answer_health
from notifier.internal.lookup import VIEW_BEHIND, Lookup
from notifier.processes.listening import address_of, listening
from notifier.record import Record
from tests.golden import make

Find = Callable[[str, str], Awaitable[Record | None]]


class Reporter:
    """Not asked here."""

    async def health(self) -> Health:
        """Ready."""
        return Health(is_ready=True, dependencies={})

    async def metrics(self) -> str:
        """None."""
        return ""


class Found:
    """A lookup that finds what it is told to."""

    def __init__(self, find: Find) -> None:
        self.find = find


@asynccontextmanager
async def asking(find: Find) -> AsyncIterator[Callable[..., Awaitable[tuple[int, str, dict[str, object]]]]]:
    """Asks the internal listener for a path; gives status, type and JSON."""
    with listening(Address("127.0.0.1", 0), "test") as sock:
        url = f"http://{address_of(sock)}"
        async with (
            answer_health(sock, Reporter(), Desk(cast(Lookup, Found(find))).routes),
            aiohttp.ClientSession() as session,
        ):

            async def ask(path: str, method: str = "GET") -> tuple[int, str, dict[str, object]]:
                async with session.request(method, URL(url + path, encoded=True)) as answer:
                    return answer.status, answer.content_type, json.loads(await answer.read())

            yield ask


async def test_an_order_is_shown_as_subscribers_see_it() -> None:
    async def find(channel: str, order: str) -> Record | None:
        assert (channel, order) == ("shop-hkd", "T20260001")
        return make.orders()

    async with asking(find) as ask:
        status, kind, said = await ask("/v1/orders/shop-hkd/T20260001")

    assert (status, kind) == (200, "application/json")
    assert said == json.loads(make.orders().value)["order"]


@pytest.mark.parametrize(
    ("path", "order", "why"),
    [
        ("T1", "T1", "plain"),
        ("A%2FB", "A/B", "an escaped slash is part of the number"),
        ("A/B", "A/B", "one as it is, too: no path lies below an order"),
        ("100%25", "100%", "a percent sign"),
        ("%2525", "%25", "decoded once"),
        ("a+b", "a+b", "no form: a plus is a plus"),
    ],
)
async def test_any_order_number_can_be_asked_for(path: str, order: str, why: str) -> None:
    asked: list[str] = []

    async def find(_: str, order: str) -> Record | None:
        asked.append(order)
        return None

    async with asking(find) as ask:
        status, _, _ = await ask(f"/v1/orders/shop-hkd/{path}")

    assert status == 404
    assert asked == [order], why


ERRORS = [
    (Unavailable("redis", "ConnectionError"), 503, "Redis does not answer"),
    (Unavailable("redis", VIEW_BEHIND), 503, "being built again"),
    (Unavailable("kafka", "KafkaConnectionError"), 503, "Kafka"),
    (ZeroDivisionError("buyer@example.com"), 500, "request.failed"),
]


@pytest.mark.parametrize(("error", "status", "words"), ERRORS)
async def test_every_error_is_a_problem_document(error: Exception, status: int, words: str) -> None:
    """RFC 9457, and nothing of the program's insides."""
    written = io.BytesIO()
    logs.configure(service="ingress", instance="test", out=written)

    async def find(_channel: str, _order: str) -> Record | None:
        raise error

    async with asking(find) as ask:
        got, kind, said = await ask("/v1/orders/shop-hkd/T1")

    assert (got, kind, said["status"]) == (status, "application/problem+json", status)
    assert set(said) == {"type", "title", "status", "detail"}
    assert words in str(said["detail"])
    assert "buyer@example.com" not in json.dumps(said) + written.getvalue().decode()
    assert (b'"request.failed"' in written.getvalue()) == (status == 500)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/orders/shop-hkd/T9", 404),
        ("GET", "/v1/orders/shop-hkd", 404),
        ("GET", "/v1/orders/", 404),
        ("DELETE", "/v1/orders/shop-hkd/T1", 405),
        ("GET", "/v2", 404),
    ],
)
async def test_what_is_not_there_is_a_problem_document(method: str, path: str, status: int) -> None:
    async def find(_channel: str, _order: str) -> Record | None:
        return None

    async with asking(find) as ask:
        got, kind, said = await ask(path, method)

    assert (got, kind, said["status"]) == (status, "application/problem+json", status)


async def test_nobody_waits_longer_than_a_few_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "ANSWER_S_MAX", 0.05)

    async def find(_channel: str, _order: str) -> Record | None:
        await asyncio.Event().wait()
        return None

    async with asking(find) as ask, asyncio.timeout(10):
        status, kind, said = await ask("/v1/orders/shop-hkd/T1")

    assert (status, kind) == (503, "application/problem+json")
    assert "in time" in str(said["detail"])
