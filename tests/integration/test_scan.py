"""Reading a topic through once: all of it as it was when the reading began, and then an end."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition

from notifier.config import Kafka
from notifier.errors import Unavailable
from notifier.kafka.access import Access
from notifier.kafka.producer import Producer
from notifier.kafka.scan import Scanner
from notifier.record import Record
from notifier.topics import Topics
from tests.topics import create_topics

PARTITIONS = 4


@pytest.fixture
async def topics(bootstrap_servers: str, topic_prefix: str) -> Topics:
    return await create_topics(bootstrap_servers, topic_prefix, partitions=PARTITIONS)


def access(bootstrap_servers: str) -> Access:
    return Access.to(Kafka(bootstrap_servers=bootstrap_servers), "test")


def numbered(first: int, count: int) -> list[Record]:
    return [Record(b"k", str(number).encode()) for number in range(first, first + count)]


async def test_all_that_lay_there_is_read_and_nothing_that_came_meanwhile(
    bootstrap_servers: str, topics: Topics
) -> None:
    """Two partitions with records, one with none, one that is not asked for; then some partitions again."""
    read: list[tuple[int, int]] = []
    told: list[tuple[int, int]] = []
    async with (
        asyncio.timeout(30),
        Producer(access(bootstrap_servers), service="test", timeout_s=10.0) as producer,
        Scanner.at_work(access(bootstrap_servers)) as scanner,
    ):
        await producer.append(topics.orders, 0, numbered(0, 6_000))
        await producer.append(topics.orders, 1, numbered(0, 3))
        await producer.append(topics.orders, 3, numbered(0, 1))

        async for some in scanner.scan(topics.orders, [0, 1, 2], lambda *far: told.append(far)):
            if len(told) == 1:
                await producer.append(topics.orders, 1, numbered(3, 1))
            read += [(one.partition, int(one.stored.record.value)) for one in some]
        again = [one async for some in scanner.scan(topics.orders, [1, 3]) for one in some]

    assert sorted(read) == [*((0, number) for number in range(6_000)), *((1, number) for number in range(3))]
    assert [number for partition, number in read if partition == 0] == list(range(6_000))
    assert told == sorted(told)
    assert told[-1] == (6_003, 6_003)
    assert sorted((one.partition, int(one.stored.record.value)) for one in again) == [
        *((1, number) for number in range(4)),
        (3, 0),
    ]


async def test_what_was_deleted_from_its_beginning_is_not_waited_for(bootstrap_servers: str, topics: Topics) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    async with (
        asyncio.timeout(30),
        Producer(access(bootstrap_servers), service="test", timeout_s=10.0) as producer,
        Scanner.at_work(access(bootstrap_servers)) as scanner,
    ):
        await producer.append(topics.inbox, 0, numbered(0, 5))
        await producer.append(topics.inbox, 1, numbered(0, 5))
        await admin.delete_records(
            {TopicPartition(topics.inbox, 0): RecordsToDelete(3), TopicPartition(topics.inbox, 1): RecordsToDelete(5)}
        )

        found = [one async for some in scanner.scan(topics.inbox, [0, 1]) for one in some]

    await admin.close()
    assert [(one.partition, one.stored.offset) for one in found] == [(0, 3), (0, 4)]


async def test_nothing_at_all_ends_at_once(bootstrap_servers: str, topics: Topics) -> None:
    async with asyncio.timeout(30), Scanner.at_work(access(bootstrap_servers)) as scanner:
        assert [some async for some in scanner.scan(topics.orders, range(PARTITIONS))] == []
        assert await scanner.partitions_of(topics.orders) == PARTITIONS
        assert await scanner.partitions_of(f"{topics.orders}.not") is None
        assert await scanner.committed(topics.group("orders"), topics.inbox, 0) == 0


async def test_a_kafka_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        async with Scanner.at_work(access("127.0.0.1:1")):
            raise AssertionError
