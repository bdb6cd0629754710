"""(e) How fast a view is built again from its log, and (f) what Redis holds of each order and lane."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import msgspec
from redis.asyncio import Redis

from consumers.fanout import LANES
from consumers.orders import ORDERS
from consumers.view import View
from notifier.kafka.producer import Producer
from notifier.kafka.reader import Reader
from notifier.record import Record
from notifier.views import RedisViews

from . import histories
from .child import Rebuilt
from .installation import Installation
from .process import result_of

APPENDED_AT_ONCE = 20_000
EVER_MS = 1 << 53
"""Beyond the age of any record: all of them are quiet."""


class _Log(NamedTuple):
    """One partition of a log; its name in the figures, and how many keys it has."""

    name: str
    job: str
    partition: int
    records: list[Record]


async def measure_rebuild(place: Installation, *, orders: int) -> dict[str, float]:
    """Each view in a process of its own, from nothing; between them, what Redis holds more than before."""
    figures: dict[str, float] = {}
    async with Redis.from_url(place.settings.redis.url) as redis:
        for log in (
            _Log("order", "orders", 0, histories.order_events(place, orders)),
            _Log("lane", "fanout", 0, histories.deliveries(orders)),
            _Log("waiting_lane", "fanout", 1, histories.waiting_deliveries(orders)),
        ):
            await _append(place, log)
            empty = await _held_bytes(redis)
            said = await asyncio.to_thread(result_of, "view", str(place.settings_file), log.job, str(log.partition))
            rebuilt = msgspec.json.decode(said, type=Rebuilt)
            live = await _held_bytes(redis)
            figures[f"rebuild_{log.name}s_per_s"] = len(log.records) / rebuilt.seconds
            figures[f"rebuild_{log.name}s_cpu_us"] = rebuilt.cpu_s / len(log.records) * 1e6
            figures[f"redis_bytes_{log.name}"] = (live - empty) / orders
            if log.name != "waiting_lane":  # what waits never rests
                await _let_rest(place, log)
                figures[f"redis_bytes_quiet_{log.name}"] = (await _held_bytes(redis) - empty) / orders
    return figures


async def _append(place: Installation, log: _Log) -> None:
    topic = _topic(place, log)
    async with Producer(place.access, service="benchmark", timeout_s=60.0) as producer:
        for first in range(0, len(log.records), APPENDED_AT_ONCE):
            await producer.append(topic, log.partition, log.records[first : first + APPENDED_AT_ONCE])


async def _let_rest(place: Installation, log: _Log) -> None:
    """As if a week had gone by."""
    topic = _topic(place, log)
    reader, store = (
        Reader(place.access),
        RedisViews(place.settings.redis.url, key_prefix=place.settings.redis.key_prefix),
    )
    try:
        async with Producer(place.access, service="benchmark", timeout_s=60.0) as producer:
            merging = ORDERS if log.job == "orders" else LANES
            view = View(topic, log.partition, merging, store=store, reader=reader, appender=producer)
            while await store.rested_upto(topic, log.partition) < len(log.records):
                await view.rest(EVER_MS)
    finally:
        await reader.close()
        await store.close()


def _topic(place: Installation, log: _Log) -> str:
    return place.topics.orders if log.job == "orders" else place.topics.deliveries


async def _held_bytes(redis: Redis) -> int:
    """What Redis' data take, without its connections' buffers."""
    return int((await redis.info("memory"))["used_memory_dataset"])
