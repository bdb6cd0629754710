"""One idempotent producer at a time: what it is asked for, when it is given up, and that no append outlasts its deadline."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, NotEnoughReplicasError

from notifier import logs
from notifier.errors import Unavailable
from notifier.kafka import producer as producer_module
from notifier.kafka.access import Access
from notifier.kafka.producer import Producer
from notifier.record import Record

TOPIC = "t.orders.v1"
P = 0
DEADLINE_S = 0.05
WITHIN_S = 5.0
FAR_S = 30.0
"""A deadline that no test reaches."""

Outcome = int | BaseException | None
"""The first offset of a batch, what it fails with, or no answer."""


class Client:
    """The connections of one client."""

    def __init__(self) -> None:
        self.is_closed = False

    async def close(self) -> None:
        self.is_closed = True


class Batch:
    """Records that go out together."""

    def __init__(self, room: int) -> None:
        self.values: list[bytes] = []
        self._room = room

    def append(self, *, value: bytes, **_: object) -> object:
        if len(self.values) == self._room:
            return None
        self.values.append(value)
        return self

    def close(self) -> None:
        return None

    def record_count(self) -> int:
        return len(self.values)


class Library:
    """One of aiokafka's producers, as far as ours uses it."""

    def __init__(self, cluster: Cluster, options: dict[str, Any]) -> None:
        self.cluster = cluster
        self.options = options
        self.client = Client()
        self.sent: list[list[bytes]] = []
        self.unanswered: list[asyncio.Future[Any]] = []
        self.is_stopped = False
        loop = asyncio.get_running_loop()
        self._sender = SimpleNamespace(sender_task=loop.create_task(asyncio.Event().wait()))

    async def start(self) -> None:
        await self.cluster.may_start.wait()
        if self.cluster.start_failure is not None:
            raise self.cluster.start_failure

    async def stop(self) -> None:
        await self.cluster.may_stop.wait()
        if self.cluster.stop_failure is not None:
            raise self.cluster.stop_failure
        self._sender.sender_task.cancel()
        await self.client.close()
        self.is_stopped = True

    def create_batch(self) -> Batch:
        return Batch(self.cluster.batch_records_max)

    async def send_batch(self, batch: Batch, topic: str, *, partition: int) -> asyncio.Future[Any]:
        assert (topic, partition) == (TOPIC, P)
        self.sent.append(batch.values)
        self.cluster.came.set()
        outcome = self.cluster.outcomes.pop(0) if self.cluster.outcomes else None
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        match outcome:
            case BaseException():
                future.set_exception(outcome)
            case int():
                future.set_result(SimpleNamespace(offset=outcome))
            case None:
                self.unanswered.append(future)
        return future


@dataclass
class Cluster:
    """What becomes of the library's producers, which are kept in the order in which they were made."""

    made: list[Library] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    batch_records_max: int = 100
    start_failure: Exception | None = None
    stop_failure: Exception | None = None
    may_start: asyncio.Event = field(default_factory=asyncio.Event)
    may_stop: asyncio.Event = field(default_factory=asyncio.Event)
    came: asyncio.Event = field(default_factory=asyncio.Event)

    def make(self, **options: Any) -> Library:
        """As the library's constructor."""
        self.made.append(Library(self, options))
        return self.made[-1]

    def end(self) -> None:
        """Leave no task behind."""
        for one in self.made:
            one._sender.sender_task.cancel()


@pytest.fixture
async def cluster(monkeypatch: pytest.MonkeyPatch) -> Any:
    cluster = Cluster()
    cluster.may_start.set()
    cluster.may_stop.set()
    monkeypatch.setattr(producer_module, "AIOKafkaProducer", cluster.make)
    yield cluster
    cluster.end()


def a_producer(*, timeout_s: float = FAR_S, replace_on_timeout: bool = True) -> Producer:
    access = Access({"bootstrap_servers": "kafka.example:9092"})
    return Producer(access, service="orders", timeout_s=timeout_s, replace_on_timeout=replace_on_timeout)


def records(*values: bytes) -> list[Record]:
    return [Record(b"shop-hkd/T1", value) for value in values]


@pytest.fixture
def said() -> Iterator[Callable[[], list[str]]]:
    """The names of the log lines since the test began."""
    before = (logs._current.render, logs._current.write, logs._current.rank)
    written = io.BytesIO()
    logs.configure(service="orders", instance="test", out=written)
    yield lambda: [json.loads(line)["event"] for line in written.getvalue().splitlines()]
    logs._current.render, logs._current.write, logs._current.rank = before


async def test_it_is_asked_for_all_in_sync_replicas_and_for_no_doubles(cluster: Cluster) -> None:
    """One broker cannot show the difference, so what the library is told is looked at (S1; style, LIBRARIES)."""
    async with a_producer() as producer:
        await producer.start()

    (made,) = cluster.made
    assert made.options["acks"] == "all"
    assert made.options["enable_idempotence"] is True
    assert made.options["bootstrap_servers"] == "kafka.example:9092"
    assert made.is_stopped


async def test_an_append_returns_only_after_the_acknowledgement_with_each_offset(cluster: Cluster) -> None:
    async with a_producer() as producer, asyncio.TaskGroup() as tasks:
        append = tasks.create_task(producer.append(TOPIC, P, records(b"1", b"2")))
        await cluster.came.wait()
        await asyncio.sleep(0)
        assert not append.done()

        cluster.made[0].unanswered[0].set_result(SimpleNamespace(offset=41))

    assert append.result() == [41, 42]


@pytest.mark.parametrize(
    ("outcomes", "why"),
    [
        ([NotEnoughReplicasError()], "refused: its sequence number is used up, all that follows would fail"),
        ([7, NotEnoughReplicasError()], "half of it refused"),
        ([-1], "acknowledged without an offset: only the log knows where it lies"),
    ],
)
async def test_after_an_error_nothing_more_goes_through_that_producer(
    cluster: Cluster, said: Callable[[], list[str]], outcomes: list[Outcome], why: str
) -> None:
    """Rule 3 of the view protocol."""
    cluster.batch_records_max = 1
    cluster.outcomes = [*outcomes, 8, 9]
    async with a_producer() as producer:
        with pytest.raises(Unavailable):
            await producer.append(TOPIC, P, records(b"1", b"2")[: len(outcomes)])

        assert await producer.append(TOPIC, P, records(b"1", b"2")) == [8, 9], why

    first, second = cluster.made
    assert len(first.sent) == len(outcomes)
    assert (first.is_stopped, second.is_stopped) == (True, True)
    assert said() == ["producer.replaced"]


async def test_many_that_meet_one_error_give_up_one_producer(cluster: Cluster, said: Callable[[], list[str]]) -> None:
    """The others' failures come after its successor was made, which has done nothing wrong."""
    async with a_producer() as producer, asyncio.TaskGroup() as tasks:
        appends = [tasks.create_task(outcome_of(producer.append(TOPIC, P, records(b"%d" % n)))) for n in range(3)]
        while not cluster.made or len(cluster.made[0].unanswered) < 3:  # noqa: ASYNC110 - turns of the loop, no time
            await asyncio.sleep(0)
        first, *others = cluster.made[0].unanswered
        first.set_exception(NotEnoughReplicasError())
        await asyncio.wait({appends[0]})
        cluster.outcomes = [5, 6]
        assert await producer.append(TOPIC, P, records(b"next")) == [5]

        for other in others:
            other.set_exception(NotEnoughReplicasError())
        await asyncio.wait(appends)
        assert await producer.append(TOPIC, P, records(b"more")) == [6]

    assert [append.result() for append in appends] == ["NotEnoughReplicasError"] * 3
    assert len(cluster.made) == 2
    assert said() == ["producer.replaced"]


@pytest.mark.parametrize(
    ("replace_on_timeout", "producers", "why"),
    [
        (True, 2, "an owner of a partition: what follows would land without what went before"),
        (False, 1, "the inbox: its records stand for themselves, and those of others are still on their way"),
    ],
)
async def test_an_append_without_an_answer_ends_at_its_deadline(
    cluster: Cluster, replace_on_timeout: bool, producers: int, why: str
) -> None:
    async with a_producer(timeout_s=DEADLINE_S, replace_on_timeout=replace_on_timeout) as producer:
        assert await outcome_of(producer.append(TOPIC, P, records(b"1"))) == "kafka_timeout"
        cluster.outcomes = [1]
        assert await producer.append(TOPIC, P, records(b"2")) == [1]

    assert len(cluster.made) == producers, why


async def test_the_inbox_s_producer_is_replaced_after_an_error_as_well(cluster: Cluster) -> None:
    cluster.outcomes = [NotEnoughReplicasError(), 0]
    async with a_producer(replace_on_timeout=False) as producer:
        assert await outcome_of(producer.append(TOPIC, P, records(b"1"))) == "NotEnoughReplicasError"
        assert await producer.append(TOPIC, P, records(b"1")) == [0]

    assert len(cluster.made) == 2


async def test_an_abandoned_append_that_fails_later_was_answered_for_already(cluster: Cluster) -> None:
    """Nobody waits for it any more; it must not come up as an error that nobody saw (warnings are errors here)."""
    async with a_producer(timeout_s=DEADLINE_S, replace_on_timeout=False) as producer:
        assert await outcome_of(producer.append(TOPIC, P, records(b"1"))) == "kafka_timeout"
        abandoned = cluster.made[0].unanswered.pop()

        assert not abandoned.cancelled(), "it stays the producer's to end"
        abandoned.set_exception(NotEnoughReplicasError())
        await asyncio.sleep(0)

        assert not abandoned._log_traceback, "how asyncio knows that somebody looked"


@pytest.mark.parametrize("failure", [KafkaConnectionError(), None], ids=["no broker", "a broker that says nothing"])
async def test_without_a_broker_an_append_ends_in_its_own_time_and_leaves_no_connection(
    cluster: Cluster, failure: Exception | None
) -> None:
    cluster.start_failure = failure
    if failure is None:
        cluster.may_start.clear()
    async with a_producer(timeout_s=DEADLINE_S) as producer:
        why = await outcome_of(producer.append(TOPIC, P, records(b"1")))
        assert why == ("kafka_timeout" if failure is None else "KafkaConnectionError")
        assert [one.is_stopped for one in cluster.made] == [True]

        cluster.may_start.set()
        cluster.start_failure, cluster.outcomes = None, [0]
        assert await producer.append(TOPIC, P, records(b"1")) == [0]


@pytest.mark.parametrize("failure", [KafkaConnectionError(), None], ids=["fails", "never ends"])
async def test_a_producer_that_does_not_end_holds_nobody_up(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, failure: Exception | None
) -> None:
    """With a batch pending and no broker, the library's own `stop` would wait for ever."""
    monkeypatch.setattr(producer_module, "GIVE_UP_S", DEADLINE_S)
    cluster.stop_failure = failure
    if failure is None:
        cluster.may_stop.clear()
    cluster.outcomes = [NotEnoughReplicasError()]
    async with asyncio.timeout(WITHIN_S), a_producer() as producer:
        await outcome_of(producer.append(TOPIC, P, records(b"1")))

    (made,) = cluster.made
    await asyncio.wait({made._sender.sender_task}, timeout=WITHIN_S)
    assert made._sender.sender_task.cancelled()
    assert made.client.is_closed


async def test_what_begins_a_log_goes_out_alone(cluster: Cluster) -> None:
    """Of a producer that it has no record of a broker takes any number: a second batch beside the first could land without it."""
    cluster.batch_records_max = 1
    async with a_producer() as producer, asyncio.TaskGroup() as tasks:
        append = tasks.create_task(producer.append(TOPIC, P, records(b"1", b"2", b"3")))
        await cluster.came.wait()
        for _ in range(10):
            await asyncio.sleep(0)
        assert cluster.made[0].sent == [[b"1"]]

        cluster.outcomes = [1, 2]
        cluster.made[0].unanswered[0].set_result(SimpleNamespace(offset=0))

    assert append.result() == [0, 1, 2]
    assert cluster.made[0].sent == [[b"1"], [b"2"], [b"3"]]


async def outcome_of(append: Any) -> str | None:
    """Why an append failed; None where it did not."""
    try:
        async with asyncio.timeout(WITHIN_S):
            await append
    except Unavailable as error:
        return error.why
    return None


@pytest.mark.parametrize(
    ("has", "found"),
    [
        pytest.param({TOPIC: 3}, 3, id="it is there"),
        pytest.param({"other": 3}, None, id="it is not: nothing that is asked may make it"),
    ],
)
async def test_a_topic_is_looked_for_among_all_and_never_asked_for_by_its_name(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, has: dict[str, int], found: int | None
) -> None:
    """
    Kafka makes what is asked for by its name, where nobody has told it otherwise: a door that was opened before the topics were
    made had an inbox of one partition, kept for a week, and answered `success`.
    """

    class All:
        @classmethod
        @asynccontextmanager
        async def at_work(cls, _: Access, *, answer_s_max: float) -> AsyncIterator[All]:
            assert answer_s_max == FAR_S
            yield cls()

        async def partitions_of(self, topic: str) -> int | None:
            return has.get(topic)

    monkeypatch.setattr(producer_module, "Admin", All)
    async with a_producer() as producer:
        if found is not None:
            assert await producer.partitions_of(TOPIC) == found
        else:
            with pytest.raises(Unavailable, match="notifier topics --apply"):
                await producer.partitions_of(TOPIC)
            assert cluster.made == []
