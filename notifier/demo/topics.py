"""The demo's topics: made, followed while it runs, and read whole at its end."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from notifier.config import Settings
from notifier.demo.history import Entry
from notifier.kafka.access import Access
from notifier.kafka.admin import Admin
from notifier.kafka.follower import follow
from notifier.kafka.reader import Reader
from notifier.topics import Topics, partition_of, plans


async def make_topics(settings: Settings) -> None:
    """
    Create what the settings need; they are new, so none is there.

    Raises:
        Unavailable, CannotCreateError: Kafka does not.
    """
    kafka = settings.kafka
    wanted = plans(
        Topics(kafka.topic_prefix),
        partitions=kafka.partitions,
        replication_factor=kafka.replication_factor,
        kept_s=settings.orders.kept_s,
        body_bytes_max=settings.ingress.body_bytes_max,
    )
    async with Admin.at_work(_access(settings)) as admin:
        await admin.create(wanted)


async def follow_orders(settings: Settings, take: Callable[[Sequence[Entry]], None]) -> None:
    """Give `take` what lies in the orders topic, and what comes to lie there, until cancelled."""
    topic = Topics(settings.kafka.topic_prefix).orders
    async for records in follow(_access(settings), topic, settings.kafka.partitions):
        take([Entry(*record) for record in records])


async def read_whole(settings: Settings, topic: str) -> tuple[Entry, ...]:
    """
    All records of a topic, partition after partition.

    Raises:
        Unavailable: Kafka does not answer.
    """
    reader = Reader(_access(settings))
    entries: list[Entry] = []
    try:
        for partition in range(settings.kafka.partitions):
            start, end = await reader.bounds(topic, partition)
            if start == end:
                continue
            async for chunk in reader.read(topic, partition, start, end):
                entries += [Entry(partition, stored) for stored in chunk.records]
    finally:
        await reader.close()
    return tuple(entries)


def number_in_each_partition(settings: Settings, channel: str) -> list[str]:
    """Order numbers of this channel, one for each partition: whose key leads where is Kafka's default, see `partition_of`."""
    partitions = settings.kafka.partitions
    found: dict[int, str] = {}
    number = 0
    while len(found) < partitions:
        number += 1
        order = f"LAST{number:04}"
        found.setdefault(partition_of(f"{channel}/{order}".encode(), partitions), order)
    return list(found.values())


def _access(settings: Settings) -> Access:
    return Access.to(settings.kafka, "notifier-demo")
