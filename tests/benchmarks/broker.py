"""What a benchmark asks of the broker itself: topics, where logs end, what a group has committed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import GroupCoordinatorNotAvailableError

from notifier.kafka.access import Access
from notifier.topics import TopicPlan


class Broker:
    """The broker, seen from outside of what is measured."""

    def __init__(self, admin: AIOKafkaAdminClient, consumer: AIOKafkaConsumer) -> None:
        self._admin = admin
        self._consumer = consumer

    async def create(self, plans: Iterable[TopicPlan]) -> None:
        """Make topics, and return once their partitions answer."""
        plans = list(plans)
        await self._admin.create_topics(
            [
                NewTopic(plan.name, plan.partitions, plan.replication_factor, topic_configs=plan.settings)
                for plan in plans
            ]
        )
        for plan in plans:
            await self.length(plan.name, plan.partitions)

    async def length(self, topic: str, partitions: int) -> int:
        """How many records a topic holds that nothing was deleted from."""
        tps = [TopicPartition(topic, partition) for partition in range(partitions)]
        return sum((await self._consumer.end_offsets(tps)).values())

    async def committed(self, group: str, topic: str, partitions: int) -> int:
        """How many records of a topic a group has committed."""
        tps = [TopicPartition(topic, partition) for partition in range(partitions)]
        try:
            answer = await self._admin.list_consumer_group_offsets(group, partitions=tps)
        except GroupCoordinatorNotAvailableError:
            return 0  # a broker of this minute, that no group has asked for one yet
        return sum(max(found.offset, 0) for found in answer.values())


@asynccontextmanager
async def connected(access: Access) -> AsyncIterator[Broker]:
    """The broker, for a block."""
    admin = AIOKafkaAdminClient(**access.options)
    consumer = AIOKafkaConsumer(**access.options, enable_auto_commit=False)
    await admin.start()
    try:
        await consumer.start()
        try:
            yield Broker(admin, consumer)
        finally:
            await consumer.stop()
    finally:
        await admin.close()
