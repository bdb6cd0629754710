"""The newest records of a whole topic, and where its partitions begin and end: a look from outside, in few requests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from notifier.errors import Unavailable
from notifier.kafka.access import Access
from notifier.kafka.ending import ended, started
from notifier.kafka.reader import stored
from notifier.record import Stored

Bounds = Mapping[tuple[str, int], tuple[int, int]]
"""The start and the end of partitions, by topic and partition."""


class Newest:
    """Looks at logs. It is in no group, and commits nothing."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer

    @classmethod
    @asynccontextmanager
    async def at_work(cls, access: Access) -> AsyncIterator[Newest]:
        """
        Connected while the block runs.

        Raises:
            Unavailable: no broker answers.
        """
        consumer = AIOKafkaConsumer(
            **access.options,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=50,
        )
        try:
            await started(consumer.start(), consumer.stop)
            yield cls(consumer)
        except KafkaError as error:
            raise Unavailable("kafka", type(error).__name__) from error
        finally:
            await ended(consumer.stop())

    async def bounds(self, topics: Mapping[str, int]) -> Bounds:
        """Where each partition of these topics (each with its number of partitions) begins and ends."""
        tps = [TopicPartition(topic, number) for topic, count in topics.items() for number in range(count)]
        starts = await self._consumer.beginning_offsets(tps)
        ends = await self._consumer.end_offsets(tps)
        return {(tp.topic, tp.partition): (starts[tp], ends[tp]) for tp in tps}

    async def records(self, topic: str, bounds: Bounds, *, each_max: int) -> list[Stored]:
        """The last records of each partition of a topic, at most `each_max` of each, in no order."""
        ends = {
            TopicPartition(*place): (max(start, end - each_max), end)
            for place, (start, end) in bounds.items()
            if place[0] == topic and start < end
        }
        if not ends:
            return []
        self._consumer.assign(list(ends))
        for tp, (begin, _) in ends.items():
            self._consumer.seek(tp, begin)
        found: list[Stored] = []
        unread = set(ends)
        while unread:
            fetched = await self._consumer.getmany(*unread, timeout_ms=200)
            found += [stored(message) for messages in fetched.values() for message in messages]
            unread = {tp for tp in unread if await self._consumer.position(tp) < ends[tp][1]}
        return found
