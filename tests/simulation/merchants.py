"""Merchants' systems: they check what they get, remember it, and fail as they like."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import msgspec

from consumers.client import Answer, Fault
from notifier import webhooks
from notifier.settings.endpoints import Endpoint
from notifier.webhooks import Secret
from tests.simulation.network import SeededNetwork, succeed

SECRET = Secret.parse("whsec_" + "A" * 32)


def endpoints() -> tuple[Endpoint, ...]:
    """One that wants everything, one that wants little, one that wants one channel."""
    return (
        _endpoint("oms", channels=("*",), events=("order.*",)),
        _endpoint("erp", channels=("*",), events=("order.paid", "order.flagged")),
        _endpoint("two", channels=("shop-two",), events=("order.*",)),
    )


def _endpoint(name: str, *, channels: tuple[str, ...], events: tuple[str, ...]) -> Endpoint:
    return Endpoint(
        name=name,
        url=f"https://merchant.example/{name}",
        channels=channels,
        events=events,
        secrets=(SECRET,),
        timeout_s=5.0,
        concurrency=4,
        headers={},
        ca_file=None,
    )


class Told(NamedTuple):
    """One POST, as the merchant saw it."""

    endpoint: str
    webhook_id: str
    body: bytes
    channel: str
    order: str
    version: int
    is_accepted: bool


class _Data(msgspec.Struct):
    channel: str
    order: str
    version: int


class _Body(msgspec.Struct):
    id: str
    version: int
    data: _Data


_decode = msgspec.json.Decoder(_Body).decode


class Merchants:
    """All endpoints, in place of the client (`consumers.fanout.Caller`)."""

    def __init__(self, rng: random.Random, network: SeededNetwork, say: Callable[[str], None]) -> None:
        self._random = rng
        self._network = network
        self._say = say
        self.told: list[Told] = []
        self.failing: set[str] = set()
        """Endpoints that accept nothing for now."""
        self.gone: set[str] = set()
        """Endpoints that answer 410 for now."""

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, *, timeout_s: float, tls: ssl.SSLContext | None = None
    ) -> Answer:
        """Take one webhook; like the client, whatever happens is in the answer."""
        began = asyncio.get_running_loop().time()
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._network.later(self._network.latency_s(), partial(self._take, url, dict(headers), body, answer))
        try:
            async with asyncio.timeout(timeout_s):
                return await answer
        except TimeoutError:
            return Answer(None, Fault.TIMEOUT, (asyncio.get_running_loop().time() - began) * 1000)

    def _take(self, url: str, headers: Mapping[str, str], body: bytes, answer: asyncio.Future[Answer]) -> None:
        endpoint, said = url.rsplit("/", 1)[1], _decode(body)
        webhooks.verify([SECRET], headers, body, now=int(headers["webhook-timestamp"]))
        assert (headers["webhook-id"], said.version) == (said.id, said.data.version)
        lot = 1.0 if self._network.is_calm else self._random.random()
        is_accepted = lot >= 0.2 and endpoint not in self.failing | self.gone
        self.told.append(Told(endpoint, said.id, body, said.data.channel, said.data.order, said.version, is_accepted))
        self._say(f"{endpoint} {'takes' if is_accepted else 'refuses'} {said.data.order} v{said.version}")
        if is_accepted and lot < 0.25:
            return  # taken, but the answer gets lost
        if lot < 0.05:
            return  # it hangs
        wish = "7" if 0.05 <= lot < 0.08 else None
        refusal = 410 if endpoint in self.gone else 503
        given = Answer(204 if is_accepted else refusal, None, 1.0, None if is_accepted else wish)
        self._network.later(self._network.latency_s(), partial(succeed, answer, given))
