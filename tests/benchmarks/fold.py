"""(b) How many notifications one orders process folds in a second, with a backlog before it."""

from __future__ import annotations

import asyncio
from collections import defaultdict

from notifier.kafka.producer import Producer
from notifier.record import Record
from notifier.topics import partition_of
from tests.waiting import until

from .bodies import history
from .evidence import inbox_record
from .installation import Installation
from .process import measured

FOLDED_WITHIN_S = 60.0


async def measure_fold(place: Installation, *, orders: int) -> dict[str, float]:
    """From the first fold (the first event in the orders topic) to the last commit."""
    inbox, partitions = place.topics.inbox, place.partitions
    by_partition: defaultdict[int, list[Record]] = defaultdict(list)
    for order, status, after_s in history(orders, seed=1):
        record = inbox_record(place, order, status, after_s=after_s)
        by_partition[partition_of(record.key, partitions)].append(record)
    async with Producer(place.access, service="benchmark", timeout_s=30.0) as producer, asyncio.TaskGroup() as tasks:
        for partition, records in by_partition.items():
            tasks.create_task(producer.append(inbox, partition, records))
    count = sum(map(len, by_partition.values()))

    loop, broker, group = asyncio.get_running_loop(), place.broker, place.topics.group("orders")
    with measured(place.folder, "orders", str(place.settings_file)) as job:

        async def has_begun() -> bool:
            return await broker.length(place.topics.orders, partitions) > 0

        async def has_ended() -> bool:
            return await broker.committed(group, inbox, partitions) == count

        await until(has_begun, FOLDED_WITHIN_S)
        began, cpu_before = loop.time(), job.cpu_s()
        await until(has_ended, FOLDED_WITHIN_S)
        seconds, cpu_s = loop.time() - began, job.cpu_s() - cpu_before
    events = await broker.length(place.topics.orders, partitions)
    return {
        "fold_per_s": count / seconds,
        "fold_cpu_us": cpu_s / count * 1e6,
        "fold_records": count,
        "fold_events": events,
        "fold_seconds": seconds,
    }
