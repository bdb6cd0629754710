"""(g) What a fold costs right after FLUSHALL, when its view has to be built first, against one with its view at hand."""

from __future__ import annotations

from collections import defaultdict

from redis.asyncio import Redis

from notifier.kafka.producer import Producer
from notifier.record import Record
from notifier.topics import partition_of
from tests.waiting import until

from .bodies import history
from .evidence import inbox_record
from .installation import Installation
from .process import measured

FOLDED_WITHIN_S = 120.0


async def measure_warm(place: Installation, *, orders: int) -> dict[str, float]:
    """
    Three backlogs of the same size, each folded by a process that finds it when it starts: the first only makes a history; the
    second finds its view in Redis, the third an empty Redis. CPU of the process from the end of its imports to the last commit.
    """
    history_s = await _fold(place, orders, first=0)
    warm_s = await _fold(place, orders, first=1)
    await _flush(place)
    flushed_s = await _fold(place, orders, first=2)
    return {
        "fold_first_cpu_s": history_s,
        "fold_warm_cpu_s": warm_s,
        "fold_flushed_cpu_s": flushed_s,
        "fold_flushed_ratio": flushed_s / warm_s,
    }


async def _fold(place: Installation, orders: int, *, first: int) -> float:
    """CPU seconds for one backlog of four notifications of each of so many orders, none of them told of before."""
    inbox, partitions = place.topics.inbox, place.partitions
    by_partition: defaultdict[int, list[Record]] = defaultdict(list)
    for order, status, after_s in history(orders, seed=first):
        record = inbox_record(place, f"{'ABC'[first]}{order}", status, after_s=after_s)
        by_partition[partition_of(record.key, partitions)].append(record)
    async with Producer(place.access, service="benchmark", timeout_s=60.0) as producer:
        for partition, records in by_partition.items():
            await producer.append(inbox, partition, records)
    count = await place.broker.length(inbox, partitions)

    async def has_ended() -> bool:
        return await place.broker.committed(place.topics.group("orders"), inbox, partitions) == count

    with measured(place.folder, "orders", str(place.settings_file)) as job:
        before = job.cpu_s()
        await until(has_ended, FOLDED_WITHIN_S)
        return job.cpu_s() - before


async def _flush(place: Installation) -> None:
    """FLUSHALL, for this installation."""
    async with Redis.from_url(place.settings.redis.url) as redis:
        names = [name async for name in redis.scan_iter(match=f"{place.settings.redis.key_prefix}:*")]
        await redis.unlink(*names)
