"""
The view protocol where Kafka and Redis are real: what takes weeks in an installation happens here in seconds.

Segments are tiny, compaction waits for nothing and its cleaner hardly rests; what is looked at is what lies in the topics and
in Redis.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.protocol.admin import DeleteGroupsRequest
from redis.asyncio import Redis

import consumers.orders
import consumers.view
from consumers.orders import OrdersJob
from consumers.partition import PartitionLoop
from consumers.view import RecreatedTopicError
from notifier import events
from notifier.app import Stop
from notifier.clock import SystemClock
from notifier.errors import Unavailable
from notifier.kafka.access import Access
from notifier.kafka.producer import Producer
from notifier.kafka.reader import Reader
from notifier.local import Services
from notifier.outage import Outages
from notifier.ports import DueChange, Kept, Pointer, ViewRead
from notifier.record import Record, Stored
from notifier.topics import Topics
from notifier.views import RedisViews
from tests.owners import notification
from tests.topics import create_topics

P = 0
WITHIN_S = 30.0
"""A bound on waiting for what happens; a cleaner that is not ours looks for work every 15 s."""
QUIET_FOR_LONG_S = 604_800
STATUSES = ("WAIT_BUYER_PAY", "TRADE_SUCCESS", "TRADE_FINISHED")

COMPACTED_AT_ONCE = {
    "segment.ms": "1",
    "min.compaction.lag.ms": "0",
    "min.cleanable.dirty.ratio": "0.001",
    "file.delete.delay.ms": "0",
}


def evidence_of(order: str, number: int) -> Record:
    """The first, second or third evidence of an order; each adds a fact."""
    return notification(order, STATUSES[number - 1])


def key_of(order: str) -> bytes:
    """An order's key in the orders log and in its view."""
    return f"shop-hkd/{order}".encode()


@dataclass
class Installation:
    """One installation, mostly with one partition, and what its tests do to it."""

    bootstrap_servers: str
    topics: Topics
    redis: Redis
    key_prefix: str
    views: RedisViews
    stack: AsyncExitStack
    reader: Reader = field(init=False)
    producer: Producer = field(init=False)
    admin: AIOKafkaAdminClient = field(init=False)

    async def connect(self) -> None:
        """Connections for the test itself; jobs have their own."""
        self.admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap_servers)
        await self.admin.start()
        self.stack.push_async_callback(self.admin.close)
        self.reader = Reader(self.access)
        self.stack.push_async_callback(self.reader.close)
        self.producer = await self.stack.enter_async_context(Producer(self.access, service="test", timeout_s=10))

    @property
    def access(self) -> Access:
        """How to reach Kafka."""
        return Access({"bootstrap_servers": self.bootstrap_servers})

    @asynccontextmanager
    async def orders_job(self, *, quiet_s: int = QUIET_FOR_LONG_S) -> AsyncIterator[None]:
        """The orders job, as a process runs it, while the block runs; then it drains, commits and leaves."""
        stop, topics = Stop(), self.topics
        reader = Reader(self.access)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(reader.close)
            producer = await stack.enter_async_context(Producer(self.access, service="orders", timeout_s=10))
            outages, clock = Outages(), SystemClock()
            loop = PartitionLoop(
                self.access,
                job="orders",
                group=topics.group("orders"),
                topics=[topics.inbox],
                session_timeout_s=6.0,
                work=OrdersJob(topics, self.views, reader, producer, outages, clock, quiet_s).work,
                check=self.views.check,
                outages=outages,
                clock=clock,
            )
            async with asyncio.TaskGroup() as tasks, asyncio.timeout(WITHIN_S):
                running = tasks.create_task(loop.run(stop))
                try:
                    yield
                finally:
                    stop.say("the test is over")
                    await asyncio.wait([running])

    async def receive(self, *records: Record) -> None:
        """Put evidence into the inbox."""
        await self.producer.append(self.topics.inbox, P, records)

    async def told(self, count: int) -> list[Stored]:
        """The orders log, once its end is at least at `count`."""
        found: list[Stored] = []
        async for chunk in self.reader.read(self.topics.orders, P, 0, count):
            found += chunk.records
        return found

    async def versions(self, order: str, count: int) -> list[int]:
        """An order's versions as they lie in the log, once its end is at least at `count`."""
        found = [stored.record for stored in await self.told(count) if stored.record.key == key_of(order)]
        return [events.version_of(record) for record in found]

    async def view(self, *orders: str) -> ViewRead:
        """What Redis holds."""
        return await self.views.read(self.topics.orders, P, [key_of(order) for order in orders])

    async def until_view(self, holds: Callable[[ViewRead], bool], *orders: str) -> ViewRead:
        """What Redis holds, once something holds of it."""
        async with asyncio.timeout(WITHIN_S):
            while not holds(read := await self.view(*orders)):
                pass
            return read

    async def keys(self) -> list[bytes]:
        """This installation's keys in Redis."""
        return [key async for key in self.redis.scan_iter(match=f"{self.key_prefix}:*")]

    async def flush(self) -> None:
        """FLUSHALL, for this installation."""
        if keys := await self.keys():
            await self.redis.unlink(*keys)

    async def copy_of_redis(self) -> dict[bytes, bytes]:
        """A backup."""
        return {key: packed for key in await self.keys() if (packed := await self.redis.dump(key)) is not None}

    async def restore(self, backup: dict[bytes, bytes]) -> None:
        """The backup in place of what is there."""
        await self.flush()
        for key, packed in backup.items():
            await self.redis.restore(key, 0, packed)

    async def make_anew(self, topic: str) -> None:
        """Delete a topic, and make it again under its name."""
        await self.admin.delete_topics([topic])
        async with asyncio.timeout(WITHIN_S):
            while topic in await self.admin.list_topics():
                pass
        await create_topics(self.bootstrap_servers, self.topics.prefix, partitions=1)
        async with asyncio.timeout(WITHIN_S):
            while topic not in await self.admin.list_topics():
                pass

    async def delete_group(self) -> None:
        """As Kafka does with a group that was idle for a week; aiokafka has no call of its own for it."""
        group = self.topics.group("orders")
        coordinator = await self.admin.find_coordinator(group)
        answer = await self.admin._send_request(DeleteGroupsRequest([group]), coordinator)
        assert answer.results == [(group, 0)]


Installed = Callable[..., Any]


@pytest.fixture
async def installed(
    bootstrap_servers: str, redis_url: str, topic_prefix: str, key_prefix: str
) -> AsyncIterator[Installed]:
    """Makes the installation, with other topic settings where a test needs them."""
    async with AsyncExitStack() as stack:

        async def installing(settings: dict[str, str] | None = None, *, partitions: int = 1) -> Installation:
            topics = await create_topics(bootstrap_servers, topic_prefix, partitions=partitions, settings=settings)
            redis = Redis.from_url(redis_url)
            stack.push_async_callback(redis.aclose)
            views = RedisViews(redis_url, key_prefix=key_prefix)
            stack.push_async_callback(views.close)
            one = Installation(bootstrap_servers, topics, redis, key_prefix, views, stack)
            await one.connect()
            return one

        yield installing


@pytest.fixture
def often_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    """The minute between two looks is short."""
    monkeypatch.setattr(consumers.orders, "LOOK_EVERY_S", 0.05)


@pytest.fixture
async def busy_cleaner(services: Services, bootstrap_servers: str) -> AsyncIterator[None]:
    """The cleaner looks for work all the time; a Kafka that is not ours is left as it is."""
    if services.kafka is None:
        yield
        return
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    await admin.alter_configs([ConfigResource(ConfigResourceType.BROKER, "1", {"log.cleaner.backoff.ms": "50"})])
    yield
    await admin.alter_configs([ConfigResource(ConfigResourceType.BROKER, "1", {})])
    await admin.close()


async def test_after_a_flush_the_view_is_caught_up_from_the_log(installed: Installed) -> None:
    """Known end (rule 4), and S10."""
    one = await installed()
    async with one.orders_job():
        await one.receive(evidence_of("A", 1), evidence_of("B", 1))
        await one.told(2)

        await one.flush()
        await one.receive(evidence_of("A", 2))

        assert await one.versions("A", 3) == [1, 2]
        view = await one.until_view(lambda read: read.position == 3, "A", "B")
        assert [entry.offset for entry in view.entries] == [2, 1]


async def test_while_one_view_is_built_again_other_partitions_go_on(installed: Installed) -> None:
    """Its partition has to wait for it, and no other has."""
    one = await installed(partitions=2)
    async with one.orders_job():
        await one.receive(evidence_of("A", 1))
        await one.told(1)
    await one.flush()
    is_building, held = asyncio.Event(), asyncio.Event()
    write = one.views.write

    async def written_when_let_go(topic: str, partition: int, **more: Any) -> bool:
        if partition == P:
            is_building.set()
            await held.wait()
        return bool(await write(topic, partition, **more))

    one.views.write = written_when_let_go

    async with one.orders_job():
        await one.receive(evidence_of("A", 2))
        await is_building.wait()
        await one.producer.append(one.topics.inbox, P + 1, [evidence_of("B", 1)])

        async for chunk in one.reader.read(one.topics.orders, P + 1, 0, 1):
            assert [stored.record.key for stored in chunk.records] == [key_of("B")]
        assert (await one.view("A")).position is None, "the view of the first is still being built"
        held.set()
        assert await one.versions("A", 2) == [1, 2]


async def test_an_old_copy_of_redis_is_caught_up_before_it_is_believed(installed: Installed) -> None:
    """The other half of S10: position and entries of a backup belong together, so it is not wrong, only short."""
    one = await installed()
    async with one.orders_job():
        await one.receive(evidence_of("A", 1))
        await one.until_view(lambda read: read.position == 1)
        backup = await one.copy_of_redis()
        await one.receive(evidence_of("A", 2))
        await one.until_view(lambda read: read.position == 2)

        await one.restore(backup)
        await one.receive(evidence_of("A", 3))

        assert await one.versions("A", 3) == [1, 2, 3]


async def test_a_late_record_is_repaired_before_compaction_and_the_view_comes_back_from_what_is_left(
    installed: Installed, often_looking: None, busy_cleaner: None
) -> None:
    """Repair and look (rules 6 and 7), with a cleaner that takes whatever it may: `[A1 A2 A1 A2]` ends as A2."""
    one = await installed(COMPACTED_AT_ONCE)
    async with one.orders_job():
        await one.receive(evidence_of("A", 1))
        (first,) = await one.told(1)
        await one.receive(evidence_of("A", 2))
        await one.told(2)
        await one.producer.append(one.topics.orders, P, [first.record])
        assert (await one.told(4))[-1].record != first.record
        await one.receive(evidence_of("B", 1))
        before = await one.until_view(lambda read: read.position == 5, "A", "B")
        async with asyncio.timeout(WITHIN_S):
            while [stored.offset for stored in await one.told(5)] != [3, 4]:
                pass

        await one.flush()
        rebuilt = await one.until_view(lambda read: read.position == 5, "A", "B")
        await one.receive(evidence_of("A", 3))

        assert rebuilt == before
        assert await one.versions("A", 6) == [2, 3]


async def test_a_quiet_order_comes_back_by_one_seek(installed: Installed, often_looking: None) -> None:
    """Leaving (rule 11): its body left Redis, its pointer stayed."""
    one = await installed()
    async with one.orders_job(quiet_s=0):
        await one.receive(evidence_of("A", 1), evidence_of("A", 2))
        await one.until_view(lambda read: read.entries == [Pointer(1, 2)], "A")

        await one.receive(evidence_of("A", 3))

        assert await one.versions("A", 3) == [1, 2, 3]


async def test_a_truncated_inbox_is_read_from_what_is_left_of_it(installed: Installed) -> None:
    """Retention took the evidence and Kafka forgot the group: the orders log still knows what was told."""
    one = await installed()
    async with one.orders_job():
        await one.receive(evidence_of("A", 1), evidence_of("A", 2), evidence_of("B", 1))
        await one.told(3)
    await one.delete_group()
    await one.admin.delete_records({TopicPartition(one.topics.inbox, P): RecordsToDelete(2)})
    await one.flush()

    async with one.orders_job():
        await one.receive(evidence_of("A", 3))

        assert await one.versions("A", 4) == [1, 2, 3]
        assert await one.versions("B", 4) == [1]


async def test_a_group_that_kafka_forgot_reads_from_the_earliest_and_repeats_nothing(installed: Installed) -> None:
    """Away too long (rule 9)."""
    one = await installed()
    async with one.orders_job():
        await one.receive(evidence_of("A", 1), evidence_of("A", 2))
        await one.told(2)
    await one.delete_group()

    async with one.orders_job():
        await one.receive(evidence_of("A", 3))

        assert await one.versions("A", 3) == [1, 2, 3]


@pytest.mark.parametrize(
    ("topic", "received", "why"),
    [
        ("orders", 0, "the view and the commit know a longer log"),
        ("inbox", 0, "Kafka forgot the commit with the topic; the newest order names evidence that is not there"),
        ("inbox", 3, "it has grown past the old end, and other evidence lies where the newest order points"),
    ],
)
async def test_a_topic_that_was_made_anew_is_refused_with_its_remedy(
    installed: Installed, monkeypatch: pytest.MonkeyPatch, topic: str, received: int, why: str
) -> None:
    monkeypatch.setattr(consumers.view, "ASK_AGAIN_EVERY_S", 0.01)
    one = await installed()
    async with one.orders_job():
        await one.receive(evidence_of("A", 1), evidence_of("A", 2))
        await one.until_view(lambda read: read.position == 2)
    await one.make_anew(getattr(one.topics, topic))
    if received:
        await one.receive(*(evidence_of("B", 1 + number) for number in range(received)))

    with pytest.raises(ExceptionGroup) as refused:
        async with one.orders_job():
            await asyncio.Event().wait()

    only = refused.value
    while isinstance(only, ExceptionGroup):
        (only,) = only.exceptions
    assert isinstance(only, RecreatedTopicError), why
    assert str(only).startswith(f"{getattr(one.topics, topic)} partition 0")
    assert "was deleted and made anew" in str(only)
    assert "Give the installation a new kafka.topic_prefix" in str(only)


@pytest.mark.parametrize(
    ("sizes", "landed", "why"),
    [
        ([250_000, 20_000], 0, "the broker has never heard of this producer and would take any batch of it"),
        ([20_000, 250_000, 20_000], 1, "the third batch has the wrong sequence number"),
    ],
)
async def test_what_lands_of_an_append_is_its_beginning(
    installed: Installed, sizes: list[int], landed: int, why: str
) -> None:
    """
    Prefix (rule 3): were A2 in the log without A1, no subscriber would ever hear of A1.

    Each record is a batch of its own, and the broker refuses the large one. The producer is replaced: the next append lands.
    """
    one = await installed({"max.message.bytes": "100000"})
    records = [Record(b"shop-hkd/A", bytes(size), ()) for size in sizes]

    with pytest.raises(Unavailable):
        await one.producer.append(one.topics.orders, P, records)

    assert await one.reader.bounds(one.topics.orders, P) == (0, landed), why
    assert await one.producer.append(one.topics.orders, P, records[-1:]) == [landed]


@pytest.mark.parametrize("rests", [False, True])
async def test_position_and_entries_are_read_at_one_moment(
    installed: Installed, monkeypatch: pytest.MonkeyPatch, rests: bool
) -> None:
    """Atomic read (rules 4 and 10): a flush behind any command of a read leaves no position without its entries."""
    one = await installed()
    topic, key = one.topics.orders, key_of("A")
    await one.views.write(topic, P, expected=None, position=1, entries={key: Kept(0, b"A1")}, due=[])
    await one.views.rest(topic, P, {key: Pointer(0, 1)} if rests else {}, upto=1)
    commands: list[Any] = []
    execute = one.views._redis.execute_command

    async def flushed_behind(*arguments: Any, **options: Any) -> Any:
        commands.append(arguments[0])
        answer = await execute(*arguments, **options)
        await one.flush()
        return answer

    monkeypatch.setattr(one.views._redis, "execute_command", flushed_behind)

    read = await one.views.read(topic, P, [key])

    assert commands
    assert read in [ViewRead(1, [Pointer(0, 1) if rests else Kept(0, b"A1")]), ViewRead(None, [None])]


async def test_what_belongs_to_a_view_stays_and_lies_together(installed: Installed) -> None:
    """Redis keeps a view whole (rule 10): nothing ends by itself, and all of a partition lies in one slot of a cluster."""
    one = await installed()
    topic, key = one.topics.deliveries, b"oms/shop-hkd/A"
    entries = {key: Kept(0, b"A"), b"oms/shop-hkd/B": Kept(1, b"B")}
    await one.views.write(topic, P, expected=None, position=2, entries=entries, due=[DueChange("oms", key, 1)])
    await one.views.rest(topic, P, {b"oms/shop-hkd/B": Pointer(1, 1)}, upto=2)

    keys = await one.keys()

    assert len(keys) == 5, "the view, its due index, what rests, and the names of those two"
    assert {await one.redis.pttl(name) for name in keys} == {-1}
    assert {name.split(b"{")[1].split(b"}")[0] for name in keys} == {f"{topic}:{P}".encode()}
