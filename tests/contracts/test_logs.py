"""What logs must do: the fake and Kafka alike."""

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest

from notifier.errors import Unavailable
from notifier.kafka.access import Access
from notifier.kafka.producer import Producer
from notifier.kafka.reader import Reader
from notifier.ports import Appender, LogReader
from notifier.record import Record, Stored
from tests.fakes import FakeLogs
from tests.topics import create_topics

P = 1


class Logs(NamedTuple):
    topic: str
    appender: Appender
    reader: LogReader


@pytest.fixture(params=["fake", "kafka"])
async def logs(request: pytest.FixtureRequest) -> AsyncIterator[Logs]:
    prefix: str = request.getfixturevalue("topic_prefix")
    if request.param == "fake":
        fake = FakeLogs()
        yield Logs(f"{prefix}.orders.v1", fake, fake)
        return
    bootstrap_servers: str = request.getfixturevalue("bootstrap_servers")
    await create_topics(bootstrap_servers, prefix, partitions=2)
    access = Access({"bootstrap_servers": bootstrap_servers})
    reader = Reader(access, chunk_records_max=3)
    async with Producer(access, service="orders", timeout_s=10) as producer:
        yield Logs(f"{prefix}.orders.v1", producer, reader)
    await reader.close()


def record(key: str, value: str) -> Record:
    return Record(key.encode(), value.encode(), (("ce_orderversion", b"1"), ("traceparent", b"")))


async def read(logs: Logs, start: int, upto: int) -> list[Stored]:
    found: list[Stored] = []
    position = start
    async for chunk in logs.reader.read(logs.topic, P, start, upto):
        assert chunk.next_offset > position
        position = chunk.next_offset
        found += chunk.records
    assert position >= upto
    return found


async def test_an_empty_log_begins_and_ends_at_nothing(logs: Logs) -> None:
    assert await logs.reader.bounds(logs.topic, P) == (0, 0)
    assert await read(logs, 0, 0) == []


async def test_what_was_appended_is_read_back_byte_for_byte_in_its_order(logs: Logs) -> None:
    records = [record(f"shop/T{number}", f"value {number}") for number in range(10)]

    offsets = await logs.appender.append(logs.topic, P, records)

    assert offsets == list(range(10))
    assert await logs.reader.bounds(logs.topic, P) == (0, 10)
    found = await read(logs, 0, 10)
    assert [stored.record for stored in found] == records
    assert [stored.offset for stored in found] == offsets


async def test_offsets_run_on_from_one_append_to_the_next(logs: Logs) -> None:
    first = await logs.appender.append(logs.topic, P, [record("a", "1"), record("b", "1")])
    second = await logs.appender.append(logs.topic, P, [record("a", "2")])

    assert first + second == [0, 1, 2]


async def test_a_read_begins_where_it_is_told(logs: Logs) -> None:
    await logs.appender.append(logs.topic, P, [record("a", str(number)) for number in range(8)])

    found = await read(logs, 5, 8)

    assert [stored.offset for stored in found] == [5, 6, 7]


async def test_more_than_a_batch_holds_is_appended_in_order(logs: Logs) -> None:
    """Beyond the client's batch size several batches go out one after the other."""
    records = [record(f"shop/T{number}", "x" * 50_000) for number in range(20)]

    offsets = await logs.appender.append(logs.topic, P, records)

    assert offsets == list(range(20))
    assert [stored.record.key for stored in await read(logs, 0, 20)] == [one.key for one in records]


async def test_one_record_is_found_by_its_offset(logs: Logs) -> None:
    await logs.appender.append(logs.topic, P, [record("a", "1"), record("b", "2")])

    found = await logs.reader.one(logs.topic, P, 1)

    assert found is not None
    assert (found.offset, found.record) == (1, record("b", "2"))
    assert await logs.reader.one(logs.topic, P, 2) is None


async def test_some_records_are_found_by_their_offsets_near_and_far(logs: Logs) -> None:
    """What waited for days lies all over the log; what is deleted is not there, and nobody waits for it."""
    await logs.appender.append(logs.topic, P, [record(f"k{number}", str(number)) for number in range(200)])

    found = await logs.reader.some(logs.topic, P, [3, 1, 150, 199, 200, 7_000])

    assert {offset: stored.record for offset, stored in found.items()} == {
        number: record(f"k{number}", str(number)) for number in (1, 3, 150, 199)
    }
    assert await logs.reader.some(logs.topic, P, []) == {}


async def test_one_record_after_another_is_read_by_one_client(bootstrap_servers: str, topic_prefix: str) -> None:
    """Each used to start a client of its own and throw it away: that is what a pointer and a retry's body are read by."""
    topics = await create_topics(bootstrap_servers, topic_prefix, partitions=1)
    access = Access({"bootstrap_servers": bootstrap_servers})
    reader = Reader(access)
    async with Producer(access, service="orders", timeout_s=10) as producer:
        await producer.append(topics.orders, 0, [record("a", "1"), record("b", "2")])

    clients = set()
    for offset in (0, 1, 0, 1):
        assert await reader.one(topics.orders, 0, offset) is not None
        clients |= {id(client) for idle in reader._idle.values() for client in idle}

    assert len(clients) == 1
    await reader.close()


async def test_partitions_are_apart(logs: Logs) -> None:
    await logs.appender.append(logs.topic, 0, [record("a", "1")])

    assert await logs.reader.bounds(logs.topic, P) == (0, 0)


async def test_what_was_appended_after_a_time_is_found(logs: Logs) -> None:
    await logs.appender.append(logs.topic, P, [record("a", "1")])

    assert await logs.reader.offset_at(logs.topic, P, 0) == 0
    assert await logs.reader.offset_at(logs.topic, P, 2**42) == 1


async def test_a_kafka_that_is_not_there_is_unavailable_in_the_append_s_own_time() -> None:
    """Kafka's client would look for a broker for much longer; nothing of it is left behind (warnings are errors)."""
    access = Access({"bootstrap_servers": "127.0.0.1:9"})  # nothing listens on the port for discarding
    loop = asyncio.get_running_loop()
    async with Producer(access, service="orders", timeout_s=0.3) as producer:
        began = loop.time()
        with pytest.raises(Unavailable):
            await producer.append("t.orders.v1", P, [record("a", "1")])
        assert loop.time() - began < 5.0

    reader = Reader(access)
    with pytest.raises(Unavailable):
        await reader.bounds("t.orders.v1", P)
    await reader.close()
