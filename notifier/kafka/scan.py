"""Reading a topic through once, from its beginning to its end as it is now: for commands that look something up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from notifier.errors import Unavailable
from notifier.kafka.access import Access
from notifier.kafka.admin import Admin
from notifier.kafka.ending import ended
from notifier.kafka.follower import Followed
from notifier.kafka.reader import STALL_S, stored, unattached

RECORDS_MAX = 5_000

Progress = Callable[[int, int], None]
"""Told how many offsets of how many are read."""


class Scanner:
    """Reads partitions through, in no group; it commits nothing and changes nothing."""

    def __init__(self, consumer: AIOKafkaConsumer, admin: Admin) -> None:
        self._consumer = consumer
        self._admin = admin

    @classmethod
    @asynccontextmanager
    async def at_work(cls, access: Access) -> AsyncIterator[Scanner]:
        """
        Connected while the block runs.

        Raises:
            Unavailable: no broker answers.
        """
        async with Admin.at_work(access) as admin:
            try:
                consumer = await unattached(access)
            except KafkaError as error:
                raise Unavailable("kafka", type(error).__name__) from error
            try:
                yield cls(consumer, admin)
            finally:
                await ended(consumer.stop())

    async def partitions_of(self, topic: str) -> int | None:
        """
        How many partitions a topic has; None where there is no such topic.

        Raises:
            Unavailable: no answer.
        """
        return await self._admin.partitions_of(topic)

    async def committed(self, group: str, topic: str, partition: int) -> int:
        """
        The offset up to which a group has done its work on a partition; 0 where it never committed.

        Raises:
            Unavailable: no answer.
        """
        found = await self._admin.group(group, {topic: partition + 1})
        return found.commits.get((topic, partition), 0)

    async def members(self, group: str) -> int:
        """
        How many processes are at work in a group, as far as Kafka knows: who was killed counts until its session is over.

        Raises:
            Unavailable: no answer.
        """
        return (await self._admin.group(group, {})).members

    async def scan(
        self, topic: str, partitions: Sequence[int], progress: Progress | None = None, *, begin: int = 0
    ) -> AsyncGenerator[list[Followed], None]:
        """
        All records of these partitions up to their ends at this moment, some at a time. Each partition's come in its order.

        Args:
            begin: an offset; what lies before it is left out.

        Raises:
            Unavailable: Kafka does not answer, or brings nothing for `STALL_S`.
        """
        try:
            starts, ends = await self._bounds(topic, partitions)
            starts = {tp: min(max(start, begin), ends[tp]) for tp, start in starts.items()}
            left = {tp for tp in ends if starts[tp] < ends[tp]}
            total, read = sum(ends.values()) - sum(starts.values()), 0
            at = dict(starts)
            if left:
                self._consumer.assign(sorted(left))
                for tp in left:
                    self._consumer.seek(tp, starts[tp])
            loop = asyncio.get_running_loop()
            moved_at = loop.time()
            while left:
                # never cancelled by a timeout of ours: that would break the fetcher for good
                fetched = await self._consumer.getmany(*left, timeout_ms=200, max_records=RECORDS_MAX)
                # offsets have holes after compaction, so the end is reached by the position, not by a record's offset
                for tp in list(left):
                    at[tp] = await self._consumer.position(tp)
                    if at[tp] >= ends[tp]:
                        left.discard(tp)
                        self._consumer.pause(tp)
                before, read = read, sum(min(at[tp], ends[tp]) - starts[tp] for tp in ends)
                if read > before:
                    moved_at = loop.time()
                elif loop.time() - moved_at > STALL_S:
                    raise Unavailable("kafka", f"nothing to read from {topic}")
                if progress is not None:
                    progress(read, total)
                yield [
                    Followed(tp.partition, stored(one))
                    for tp, found in fetched.items()
                    for one in found
                    if one.offset < ends[tp]
                ]
        except KafkaError as error:
            raise Unavailable("kafka", type(error).__name__) from error

    async def _bounds(
        self, topic: str, partitions: Sequence[int]
    ) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
        tps = [TopicPartition(topic, partition) for partition in partitions]
        starts, ends = await asyncio.gather(self._consumer.beginning_offsets(tps), self._consumer.end_offsets(tps))
        return starts, ends
