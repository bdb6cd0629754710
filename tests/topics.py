"""Topics for tests: as an installation has them, with few partitions."""

from __future__ import annotations

from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from notifier.topics import Topics, plans


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
    finally:
        await admin.close()
    return topics
