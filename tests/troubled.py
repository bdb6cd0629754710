"""A consumer job in trouble: evidence goes in, events must come out, whatever happens to Kafka or Redis in between."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from consumers.app import Job, partition_loop
from notifier import events
from notifier.app import Stop
from notifier.config import Settings
from notifier.kafka.access import Access
from notifier.kafka.producer import Producer
from notifier.kafka.reader import Reader
from notifier.outage import Outages
from notifier.topics import Topics
from tests.owners import notification

PARTITIONS = 2
WITHIN_S = 25.0
_LOOK_EVERY_S = 0.01
STATUSES = ("WAIT_BUYER_PAY", "TRADE_SUCCESS", "TRADE_FINISHED")
TYPES = ("order.pending", "order.paid", "order.finalized")
"""What one evidence of each status makes of an order, in that order."""

Lines = list[dict[str, Any]]


@dataclass
class Merchant:
    """Accepts what it is told, once its gate is open."""

    told: list[tuple[str, int, str]] = field(default_factory=list)
    """Order, version and webhook id of each POST that was accepted."""
    asked: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def take(self, request: web.Request) -> web.Response:
        """Answer a webhook."""
        told = json.loads(await request.read())
        self.asked += 1
        await self.gate.wait()
        self.told.append((told["data"]["order"], told["version"], request.headers["webhook-id"]))
        return web.Response(status=204)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        """Listen while the block runs; the port."""
        application = web.Application()
        application.router.add_post("/", self.take)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield runner.addresses[0][1]
        finally:
            self.gate.set()
            await runner.cleanup()


@dataclass
class Troubled:
    """One installation with its topics, and what its test looks at."""

    settings: Settings
    written: io.BytesIO
    merchant: Merchant

    @property
    def topics(self) -> Topics:
        """Its topics."""
        return Topics(self.settings.kafka.topic_prefix)

    @property
    def access(self) -> Access:
        """How to reach its Kafka."""
        return Access({"bootstrap_servers": self.settings.kafka.bootstrap_servers})

    def show(self) -> None:
        """What was said, on stdout, where pytest finds it beside a failure."""
        sys.stdout.write(f"----- what the jobs said\n{self.written.getvalue().decode()}")

    async def put(self, *orders: str) -> None:
        """Append three pieces of evidence of each of these orders to the inbox."""
        async with Producer(self.access, service="test", timeout_s=WITHIN_S) as producer:
            for number, order in enumerate(orders):
                evidence = [notification(order, status) for status in STATUSES]
                await producer.append(self.topics.inbox, number % PARTITIONS, evidence)

    @asynccontextmanager
    async def job(self, name: Job) -> AsyncIterator[None]:
        """One job works while the block runs, as a process runs it; then it drains, commits and leaves."""
        stop = Stop()
        async with (
            partition_loop(name, self.settings, Outages()) as loop,
            asyncio.timeout(2.5 * WITHIN_S),
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(loop.run(stop))
            try:
                yield
            finally:
                stop.say("the end of the test")

    async def events(self) -> dict[str, list[tuple[str, str]]]:
        """Type and id of each event in the orders log, in its order, by orders."""
        found: dict[str, list[tuple[str, str]]] = {}
        reader = Reader(self.access)
        for partition in range(PARTITIONS):
            _, end = await reader.bounds(self.topics.orders, partition)
            async for chunk in reader.read(self.topics.orders, partition, 0, end):
                for stored in chunk.records:
                    telling = events.telling_of(stored.record)
                    found.setdefault(telling.order, []).append((telling.type, telling.event_id))
        await reader.close()
        return found

    async def until_folded(self, *orders: str) -> None:
        """Return when all evidence of these orders is in the orders log."""
        async with asyncio.timeout(WITHIN_S):
            while True:
                found = await self.events()
                if all(TYPES[-1] in [kind for kind, _ in found.get(order, [])] for order in orders):
                    return
                await asyncio.sleep(_LOOK_EVERY_S)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Return when something holds."""
        async with asyncio.timeout(WITHIN_S):
            while not holds():  # noqa: ASYNC110 - of what is looked at nothing tells that it has changed
                await asyncio.sleep(_LOOK_EVERY_S)

    async def until_said(self, event: str, times: int = 1) -> None:
        """Return when a line was written so often."""
        await self.until(lambda: len(self.said(event)) >= times)

    def said(self, *events: str) -> Lines:
        """The log's lines of these events."""
        return [line for line in map(json.loads, self.written.getvalue().splitlines()) if line["event"] in events]

    async def until_committed(self, job: Job) -> None:
        """Return when a job has committed all of its input."""
        async with asyncio.timeout(WITHIN_S):
            while await self.uncommitted(job):  # noqa: ASYNC110 - the broker tells nobody
                await asyncio.sleep(_LOOK_EVERY_S)

    async def uncommitted(self, job: Job) -> int:
        """How many records of its input a job has not committed."""
        topic = self.topics.inbox if job == "orders" else self.topics.orders
        reader = Reader(self.access)
        admin = AIOKafkaAdminClient(bootstrap_servers=self.settings.kafka.bootstrap_servers)
        await admin.start()
        partitions = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
        found = await admin.list_consumer_group_offsets(self.topics.group(job), partitions=partitions)
        left = 0
        for tp in partitions:
            _, end = await reader.bounds(*tp)
            left += end - max(found[tp].offset, 0)
        await admin.close()
        await reader.close()
        return left
