"""(c) What a delivery costs the fan-out process, against a bare aiohttp client that POSTs the same body to the same sink."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from statistics import median

import msgspec

from notifier import webhooks
from notifier.alipayhk import mapi
from notifier.events import telling_of, to_record
from notifier.evidence import from_record
from notifier.kafka.producer import Producer
from notifier.order import Changed, decide
from notifier.record import Record
from notifier.topics import partition_of
from tests.waiting import until

from .child import Posts
from .evidence import inbox_record
from .installation import Installation
from .process import Measured, measured, result_of
from .sink import Sink, listening

TOLD_WITHIN_S = 60.0


async def measure_delivery(place: Installation, *, events: int, rounds: int, at_once: int) -> dict[str, float]:
    """CPU per delivery of the two, in turn; medians over the rounds. A delivery counts once it is recorded."""
    sink = Sink()
    async with listening(sink, place.sink_port):
        with measured(place.folder, "fanout", str(place.settings_file)) as ours:
            await _tell(place, ours, sink, first=0, count=events)  # warm-up
            ours_us, bare_us = [], []
            for number in range(1, rounds + 1):
                ours_us.append(await _tell(place, ours, sink, first=number * events, count=events))
                bare_us.append(await _post(place, events, at_once))
    return {
        "delivery_cpu_us": median(ours_us),
        "delivery_bare_cpu_us": median(bare_us),
        "delivery_ratio": median(ours_us) / median(bare_us),
    }


async def _tell(place: Installation, job: Measured, sink: Sink, *, first: int, count: int) -> float:
    """CPU microseconds a delivery, from the events' append to the record of the last delivery."""
    by_partition: defaultdict[int, list[Record]] = defaultdict(list)
    for number in range(first, first + count):
        event = _event(place, f"T{number:08d}")
        by_partition[partition_of(event.key, place.partitions)].append(event)
    before, told = job.cpu_s(), sink.count
    async with Producer(place.access, service="benchmark", timeout_s=30.0) as producer:
        for partition, records in by_partition.items():
            await producer.append(place.topics.orders, partition, records)
    await sink.reach(told + count, TOLD_WITHIN_S)

    async def is_recorded() -> bool:
        return await place.broker.length(place.topics.deliveries, place.partitions) >= first + count

    await until(is_recorded, TOLD_WITHIN_S)
    return (job.cpu_s() - before) / count * 1e6


def _event(place: Installation, order: str) -> Record:
    """The event of an order that was paid, as the orders job makes it."""
    evidence = from_record(inbox_record(place, order, "TRADE_SUCCESS", after_s=21))
    change = decide(None, mapi.statement_of(evidence), evidence)
    assert isinstance(change, Changed)
    return to_record(change, evidence, order, inbox_offset=0)


async def _post(place: Installation, count: int, at_once: int) -> float:
    (endpoint,) = place.settings.endpoints
    telling = telling_of(_event(place, "T00000000"))
    posts = Posts(
        url=endpoint.url,
        headers=webhooks.headers(endpoint.secrets, telling.event_id, 1_795_000_000, telling.body),
        body=telling.body.decode(),
        count=count,
        warm_up=max(count // 4, at_once),
        at_once=at_once,
    )
    said = await asyncio.to_thread(result_of, "bare-client", msgspec.json.encode(posts).decode())
    return float(said) * 1e6
