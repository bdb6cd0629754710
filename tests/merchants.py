"""Merchants in memory: endpoints that answer as a test tells them, and the fan-out job that calls them."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from consumers.client import Answer
from consumers.fanout import FanoutJob
from consumers.telling.callees import Callees
from consumers.telling.means import Means
from notifier import webhooks
from notifier.clock import Clock
from notifier.config import Delivery, Endpoint
from notifier.deliveries import endpoint_state
from notifier.outage import Outages
from notifier.webhooks import Secret
from tests.owners import NOON, TOPICS, P, World

SECRET = Secret.parse("whsec_" + "A" * 32)
ACCEPTED = Answer(204, None, 1.0)
FAILED = Answer(500, None, 1.0)
WAIT_S = 5.0
"""A bound on waiting for what the real loop does by the clock; nothing takes a tenth of it."""


@dataclass
class Told:
    """One POST, as the merchant saw it."""

    endpoint: str
    webhook_id: str
    body: bytes
    order: str
    version: int
    traceparent: str | None


@dataclass
class Merchants:
    """All endpoints, in place of the client: each answers what it was told to, else 204."""

    told: list[Told] = field(default_factory=list)
    answers: defaultdict[str, deque[Answer]] = field(default_factory=lambda: defaultdict(deque))
    """By endpoint, or by endpoint/order."""
    gates: dict[str, asyncio.Event] = field(default_factory=dict)
    """By endpoint, or by endpoint/order: no answer before the gate opens."""
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    most_at_once: int = 0
    _at_once: int = 0

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, *, timeout_s: float, tls: Any = None
    ) -> Answer:
        """Take one webhook (`consumers.fanout.Caller`)."""
        endpoint, event = url.rsplit("/", 1)[1], json.loads(body)
        webhooks.verify([SECRET], headers, body, now=int(headers["webhook-timestamp"]))
        order, version = event["data"]["order"], event["version"]
        self.told.append(Told(endpoint, headers["webhook-id"], body, order, version, headers.get("traceparent")))
        self.heard.set()
        lane = f"{endpoint}/{event['data']['order']}"
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            for name in (endpoint, lane):
                if name in self.gates:
                    await self.gates[name].wait()
        finally:
            self._at_once -= 1
        answers = self.answers[lane] or self.answers[endpoint]
        return answers.popleft() if answers else ACCEPTED

    def versions(self, endpoint: str, order: str) -> list[int]:
        """The versions of an order in the order in which an endpoint was told."""
        return [one.version for one in self.told if (one.endpoint, one.order) == (endpoint, order)]

    async def until(self, holds: Callable[[], bool]) -> None:
        """Return when something holds of what was told."""
        async with asyncio.timeout(WAIT_S):
            while not holds():
                self.heard.clear()
                await self.heard.wait()


def endpoint(name: str, **more: Any) -> Endpoint:
    """An endpoint that wants everything."""
    defaults: dict[str, Any] = {
        "name": name,
        "url": f"https://merchant.example/{name}",
        "channels": ("*",),
        "events": ("order.*",),
        "secrets": (SECRET,),
        "timeout_s": 5.0,
        "concurrency": 8,
        "headers": {},
        "ca_file": None,
    }
    return Endpoint(**(defaults | more))


def meet(world: World, *names: str) -> None:
    """Let these endpoints have been met before, so that what lies in the deliveries log is of lanes alone."""
    known = {stored.record.key for stored in world.logs.records(TOPICS.deliveries, P)}
    for name in names:
        if name.encode() not in known:
            met = endpoint_state.first_met(name, start=0, at=NOON)
            world.logs.put(TOPICS.deliveries, P, endpoint_state.to_record(met))


def fanout_job(
    world: World,
    merchants: Merchants,
    *endpoints: Endpoint,
    clock: Clock | None = None,
    waiting_max: int = 1_000,
    **settings: Any,
) -> FanoutJob:
    """The fan-out job on these, telling an endpoint `oms` unless others are named; retries are drawn as late as may be."""
    quick = Delivery(first_retry_s=0.05, retry_s_max=0.1).model_copy(update=settings)
    means = Means(
        TOPICS,
        quick,
        merchants,
        world.views,
        world.logs,
        Outages(sleep=lambda _: asyncio.sleep(0)),
        clock or world.clock,
        lambda: 1.0,
        waiting_max,
    )
    callees = Callees(endpoints or (endpoint("oms"),), quick, means.random)
    return FanoutJob(means, callees, world.logs, world.quiet_s)
