"""Topics for tests: as an installation has them, with few partitions."""

from __future__ import annotations

import asyncio

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from notifier.topics import Topics, plans

THERE_WITHIN_S = 10.0


async def create_topics(
    bootstrap_servers: str, prefix: str, *, partitions: int, settings: dict[str, str] | None = None
) -> Topics:
    """Create all topics under a prefix; `settings` go above the planned ones."""
    topics = Topics(prefix)
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        await admin.create_topics(
            [
                NewTopic(
                    plan.name, plan.partitions, plan.replication_factor, topic_configs=plan.settings | (settings or {})
                )
                for plan in plans(
                    topics, partitions=partitions, replication_factor=1, kept_s=34_560_000, body_bytes_max=65_536
                )
            ]
        )
        async with asyncio.timeout(THERE_WITHIN_S):
            # that they will be there is answered before they are
            while not await _are_there(admin, topics):  # noqa: ASYNC110 - the broker tells nobody
                await asyncio.sleep(0.02)
            await _until_led(bootstrap_servers, topics, partitions)
    finally:
        await admin.close()
    return topics


async def _until_led(bootstrap_servers: str, topics: Topics, partitions: int) -> None:
    """Return when each partition's leader answers: it is named before it knows that it is one."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers)
    await consumer.start()
    try:
        named = [topics.inbox, topics.orders, topics.deliveries, topics.commands, topics.quarantine]
        await consumer.end_offsets([TopicPartition(topic, at) for topic in named for at in range(partitions)])
    finally:
        await consumer.stop()


async def _are_there(admin: AIOKafkaAdminClient, topics: Topics) -> bool:
    named = [topics.inbox, topics.orders, topics.deliveries, topics.commands, topics.quarantine]
    return all(not topic["error_code"] for topic in await admin.describe_topics(named))
