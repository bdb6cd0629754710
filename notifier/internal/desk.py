"""The order desk: what the internal listener says of orders (contract, section 5). Never public."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aiohttp import web

from notifier import events
from notifier.config import Settings
from notifier.errors import Unavailable
from notifier.internal.lookup import VIEW_BEHIND, Lookup
from notifier.internal.problems import problem
from notifier.kafka.access import Access
from notifier.kafka.admin import Admin
from notifier.kafka.reader import Reader
from notifier.topics import Topics
from notifier.views import RedisViews

ANSWER_S_MAX = 5.0
"""Nobody waits longer for an order; mostly it is a millisecond."""
REDIS_S_MAX = 1.5
"""With what the lookup gives Kafka it stays within that: so it is known which of the two did not answer."""


class Desk:
    """Answers questions about orders."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup

    @property
    def routes(self) -> Sequence[web.RouteDef]:
        """What it answers."""
        return [web.get("/v1/orders/{channel}/{order:.+}", self.order)]

    async def order(self, request: web.Request) -> web.Response:
        """
        One order, as the contract's section 6 shows it.

        It is the state that the view has: milliseconds behind the log, or as far as the orders job is. `version` says which one.
        """
        channel, order = request.match_info["channel"], request.match_info["order"]
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                found = await self._lookup.find(channel, order)
        except Unavailable as error:
            return _later(_why(error))
        except TimeoutError:
            return _later("Neither Redis nor Kafka gave an answer in time.")
        if found is None:
            return problem(404, "Nothing usable was told about this order. What was set aside is in quarantine.")
        return web.Response(
            body=events.order_in(found), content_type="application/json", headers={"Cache-Control": "no-store"}
        )


def _why(error: Unavailable) -> str:
    if error.why == VIEW_BEHIND:
        return "The view of orders in Redis is being built again from Kafka and has not come to this order yet."
    if error.what == "redis":
        return "Redis does not answer; it holds the view of orders."
    return "Redis does not have this order whole, and Kafka, which may have it, does not answer."


def _later(detail: str) -> web.Response:
    return problem(503, f"{detail} Ask again.", {"Retry-After": "1"})


@asynccontextmanager
async def desk_of(settings: Settings) -> AsyncIterator[Desk]:
    """The desk as the settings say. It connects when it is asked, so it needs neither Redis nor Kafka to begin."""
    topic = Topics(settings.kafka.topic_prefix).orders
    access = Access.to(settings.kafka, f"notifier-desk-{os.getpid()}")
    url, prefix, ca_file = settings.redis.url, settings.redis.key_prefix, settings.redis.ca_file
    store = RedisViews(url, key_prefix=prefix, timeout_s=REDIS_S_MAX, ca_file=ca_file)
    reader = Reader(access)

    async def count() -> int:
        async with Admin.at_work(access) as admin:
            partitions = await admin.partitions_of(topic)
        if partitions is None:
            raise Unavailable("kafka", f"there is no topic {topic}")
        return partitions

    try:
        yield Desk(Lookup(topic, store, reader, partitions=settings.kafka.partitions, count=count))
    finally:
        await reader.close()
        await store.close()
