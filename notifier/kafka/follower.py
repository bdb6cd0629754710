"""Following a topic as any subscriber can: from its beginning, then on, in no group."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from notifier.errors import Unavailable
from notifier.kafka.access import Access
from notifier.kafka.ending import started
from notifier.kafka.reader import stored
from notifier.record import Stored

RECORDS_MAX = 1_000
LOOK_EVERY_MS = 200
RETRY_S = 0.5


class Followed(NamedTuple):
    """A record, and the partition it lies in."""

    partition: int
    stored: Stored


async def follow(
    access: Access, topic: str, partitions: int, starts: Mapping[int, int] | None = None
) -> AsyncGenerator[list[Followed], None]:
    """
    All records of a topic, or those from an offset on in each partition, for ever: some at a time, at least every
    `LOOK_EVERY_MS` (then there may be none).

    Within a partition they come in its order; of several, each group of them in the order in which they were appended.

    Raises:
        Unavailable: no broker answers at the start, or it refuses for good. Later outages are waited out.
    """
    nexts = dict(starts or {})
    consumer = await _consumer_of(access)
    try:
        while True:
            _begin(consumer, [TopicPartition(topic, partition) for partition in range(partitions)], nexts)
            try:
                while True:
                    # never cancelled by a timeout of ours: that would break the fetcher for good
                    fetched = await consumer.getmany(timeout_ms=LOOK_EVERY_MS, max_records=RECORDS_MAX)
                    records = [Followed(tp.partition, stored(one)) for tp, found in fetched.items() for one in found]
                    for partition, one in records:
                        nexts[partition] = one.offset + 1
                    yield sorted(records, key=lambda one: (one.stored.appended_at_ms, one.partition, one.stored.offset))
            except KafkaError as error:
                if type(error) is not KafkaError:  # it was refused; waiting does not help
                    raise Unavailable("kafka", type(error).__name__) from error
            # aiokafka's word for a fetcher that has ended by a fault of its own, as when several brokers go at once: begun anew
            await consumer.stop()
            consumer = await _patiently(access)
    finally:
        await consumer.stop()


async def _consumer_of(access: Access) -> AIOKafkaConsumer:
    consumer = AIOKafkaConsumer(
        **access.options,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        check_crcs=True,
        fetch_max_wait_ms=50,
        isolation_level="read_uncommitted",
    )
    try:
        await started(consumer.start(), consumer.stop)
    except KafkaError as error:
        raise Unavailable("kafka", type(error).__name__) from error
    return consumer


async def _patiently(access: Access) -> AIOKafkaConsumer:
    while True:
        await asyncio.sleep(RETRY_S)
        with suppress(Unavailable):
            return await _consumer_of(access)


def _begin(consumer: AIOKafkaConsumer, tps: Sequence[TopicPartition], nexts: Mapping[int, int]) -> None:
    """Nothing is known of what stands in none of `nexts`: all of it is wanted."""
    consumer.assign(tps)
    for tp in tps:
        if tp.partition in nexts:
            consumer.seek(tp, nexts[tp.partition])
