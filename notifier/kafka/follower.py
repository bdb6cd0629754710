"""Following a topic as any subscriber can: from its beginning, then on, in no group."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from notifier.errors import Unavailable
from notifier.kafka.access import Access
from notifier.kafka.reader import stored
from notifier.record import Stored

RECORDS_MAX = 1_000
LOOK_EVERY_MS = 200


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
        Unavailable: no broker answers at the start. Later outages are waited out.
    """
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
        try:
            await consumer.start()
        except KafkaError as error:
            raise Unavailable("kafka", type(error).__name__) from error
        tps = [TopicPartition(topic, partition) for partition in range(partitions)]
        consumer.assign(tps)
        if starts is None:
            await consumer.seek_to_beginning(*tps)
        else:
            for tp in tps:
                consumer.seek(tp, starts[tp.partition])
        while True:
            # never cancelled by a timeout of ours: that would break the fetcher for good
            fetched = await consumer.getmany(timeout_ms=LOOK_EVERY_MS, max_records=RECORDS_MAX)
            records = [Followed(tp.partition, stored(one)) for tp, found in fetched.items() for one in found]
            yield sorted(records, key=lambda one: (one.stored.appended_at_ms, one.partition, one.stored.offset))
    finally:
        await consumer.stop()
