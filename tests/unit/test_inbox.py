"""The inbox's appends: together where they come together, each within its own time, none said to be there that is not."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import cast

import pytest

import notifier.kafka.inbox as inbox_module
from notifier import app, logs, outage
from notifier.app import inbox_of
from notifier.config import load
from notifier.errors import Unavailable
from notifier.kafka.inbox import Inbox
from notifier.kafka.producer import Producer
from notifier.record import Record
from notifier.topics import partition_of

PARTITIONS = 3
TIMEOUT_S = 0.05


class Broker:
    """A producer that acknowledges when it is told to."""

    def __init__(self) -> None:
        self.batches: list[tuple[int, list[Record]]] = []
        self.came = asyncio.Event()
        self.may_acknowledge = asyncio.Event()
        self.failure: Unavailable | None = None
        self.timeout_s: float | None = None
        self.is_away = False
        self.is_known = asyncio.Event()
        self.is_known.set()

    def give_up_after(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s

    async def __aenter__(self) -> Broker:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def partitions_of(self, _: str) -> int:
        await self.is_known.wait()
        return PARTITIONS

    async def ask(self) -> None:
        if self.is_away:
            raise Unavailable("kafka", "no broker answers")

    async def append(self, _: str, partition: int, records: Sequence[Record]) -> list[int]:
        self.batches.append((partition, list(records)))
        self.came.set()
        await self.may_acknowledge.wait()
        if self.failure is not None:
            raise self.failure
        return list(range(len(records)))


def unopened(broker: Broker, *, unacknowledged_max: int = 100, timeout_s: float = 60.0) -> Inbox:
    return Inbox(cast(Producer, broker), "t.inbox.v1", timeout_s=timeout_s, unacknowledged_max=unacknowledged_max)


@asynccontextmanager
async def an_inbox(broker: Broker, *, unacknowledged_max: int = 100, timeout_s: float = 60.0) -> AsyncIterator[Inbox]:
    async with unopened(broker, unacknowledged_max=unacknowledged_max, timeout_s=timeout_s) as inbox:
        async with asyncio.timeout(5):
            while not inbox.is_ready:  # noqa: ASYNC110 - turns of the loop, no time
                await asyncio.sleep(0)
        yield inbox


def a_record(number: int, key: bytes = b"shop-hkd/T1") -> Record:
    return Record(key, b"%d" % number)


async def test_an_append_returns_only_after_the_acknowledgement() -> None:
    broker = Broker()
    async with an_inbox(broker) as inbox, asyncio.TaskGroup() as tasks:
        append = tasks.create_task(inbox.append(a_record(1)))
        await broker.came.wait()

        assert not append.done()
        assert inbox.unacknowledged == 1
        broker.may_acknowledge.set()
    assert inbox.unacknowledged == 0


async def test_what_comes_while_a_batch_is_out_goes_together_in_its_order() -> None:
    broker = Broker()
    async with an_inbox(broker) as inbox, asyncio.TaskGroup() as tasks:
        tasks.create_task(inbox.append(a_record(0)))
        await broker.came.wait()
        for number in range(1, 4):
            tasks.create_task(inbox.append(a_record(number)))
        await asyncio.sleep(0)
        broker.may_acknowledge.set()

    assert [[record.value for record in records] for _, records in broker.batches] == [[b"0"], [b"1", b"2", b"3"]]


async def test_each_record_goes_to_the_partition_of_its_key_and_none_waits_for_another() -> None:
    broker = Broker()
    keys = [b"shop-hkd/T%d" % number for number in range(20)]
    async with an_inbox(broker) as inbox, asyncio.TaskGroup() as tasks:
        for key in keys:
            tasks.create_task(inbox.append(a_record(0, key)))
        while len(broker.batches) < PARTITIONS:  # noqa: ASYNC110 - turns of the loop, no time
            await asyncio.sleep(0)
        broker.may_acknowledge.set()

    assert {record.key: partition for partition, records in broker.batches for record in records} == {
        key: partition_of(key, PARTITIONS) for key in keys
    }


async def test_a_failure_is_told_to_all_who_waited_for_that_batch_and_to_nobody_else() -> None:
    broker = Broker()
    broker.failure = Unavailable("kafka", "NotEnoughReplicasError")
    broker.may_acknowledge.set()
    async with an_inbox(broker) as inbox:
        outcomes = await asyncio.gather(*(inbox.append(a_record(n)) for n in range(3)), return_exceptions=True)
        assert [(type(outcome), str(getattr(outcome, "why", ""))) for outcome in outcomes] == [
            (Unavailable, "kafka_timeout")
        ] * 3
        broker.failure = None
        await inbox.append(a_record(3))


async def test_an_append_gives_up_in_its_own_time_and_is_not_sent_after_that() -> None:
    """The one that is out may land later; the one behind it was answered with 503 and is not sent any more."""
    broker = Broker()
    async with asyncio.timeout(5), an_inbox(broker, timeout_s=TIMEOUT_S) as inbox:
        outcomes = await asyncio.gather(inbox.append(a_record(0)), inbox.append(a_record(1)), return_exceptions=True)
        late = await asyncio.gather(inbox.append(a_record(2)), return_exceptions=True)
        assert [outcome.why for outcome in (*outcomes, *late) if isinstance(outcome, Unavailable)] == [
            "kafka_timeout"
        ] * 3
        broker.may_acknowledge.set()
        await inbox.append(a_record(3))

    assert [[record.value for record in records] for _, records in broker.batches] == [[b"0", b"1"], [b"3"]]


async def test_what_comes_before_the_partitions_are_known_waits_for_them() -> None:
    """A restart answered 503 to whoever posted in its first tenth of a second; AlipayHK sends that again after minutes."""
    broker = Broker()
    broker.is_known.clear()
    broker.may_acknowledge.set()
    keys = [b"shop-hkd/T%d" % number for number in range(20)]
    async with asyncio.timeout(5), unopened(broker) as inbox, asyncio.TaskGroup() as tasks:
        appends = [tasks.create_task(inbox.append(a_record(number, key))) for number, key in enumerate(keys)]
        await asyncio.sleep(0)
        assert (inbox.is_ready, inbox.unacknowledged) == (False, len(keys))

        broker.is_known.set()
        await asyncio.gather(*appends)

    assert sorted((partition, records[0].key) for partition, records in broker.batches) == sorted(
        {partition_of(key, PARTITIONS): key for key in reversed(keys)}.items()
    )
    assert sum(len(records) for _, records in broker.batches) == len(keys)


async def test_where_kafka_is_away_from_the_start_each_waits_its_time_and_none_is_kept() -> None:
    """As in any other outage: 503 in time, `kafka_full` beyond the bound, `stopping` at the end; nothing of it is sent later."""
    broker = Broker()
    broker.is_known.clear()
    async with asyncio.timeout(5):
        async with unopened(broker, unacknowledged_max=2, timeout_s=TIMEOUT_S) as inbox:
            outcomes = await asyncio.gather(*(_outcome(inbox) for _ in range(3)))
            later = await _outcome(inbox)
            inbox.give_up_after(60.0)
            waiting = asyncio.gather(_outcome(inbox))
            await asyncio.sleep(0)
        assert [*outcomes, later, *await waiting] == ["kafka_timeout"] * 2 + ["kafka_full", "kafka_timeout", "stopping"]
    assert broker.batches == []


async def test_what_was_answered_for_is_not_sent_once_the_partitions_are_known() -> None:
    broker = Broker()
    broker.is_known.clear()
    broker.may_acknowledge.set()
    async with asyncio.timeout(5), unopened(broker, timeout_s=TIMEOUT_S) as inbox:
        assert await _outcome(inbox) == "kafka_timeout"
        broker.is_known.set()
        await inbox.append(a_record(7))

    assert [[record.value for record in records] for _, records in broker.batches] == [[b"7"]]


@pytest.fixture
def asks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox_module, "ASK_EVERY_S", 0.005)
    monkeypatch.setattr(outage, "RETRY_MAX_S", 0.005)


async def _until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not is_so():  # noqa: ASYNC110 - the inbox asks by itself
            await asyncio.sleep(0.005)


@pytest.mark.usefixtures("asks_often")
async def test_an_outage_is_told_and_rises_and_ends_though_nobody_posts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A night without a POST hid an outage until the morning; a lasting one rose with the next POST only."""
    monkeypatch.setattr(outage, "LASTS_S", 0.02)
    written = io.BytesIO()
    logs.configure(service="ingress", instance="test", out=written)
    broker = Broker()
    async with an_inbox(broker) as inbox:
        broker.is_away = True
        await _until(lambda: b'"error"' in written.getvalue())
        assert not inbox.is_answering
        broker.is_away = False
        await _until(lambda: inbox.is_answering)

    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    assert [(line["event"], line["level"]) for line in lines] == [
        ("kafka.unavailable", "warning"),
        ("kafka.unavailable", "error"),
        ("kafka.recovered", "info"),
    ]


@pytest.mark.usefixtures("asks_often")
async def test_a_failed_append_is_over_by_itself_where_nobody_posts_again() -> None:
    """One POST failed while a broker was started anew, and until the next one the metrics said that Kafka was away."""
    broker = Broker()
    broker.failure = Unavailable("kafka", "NotLeaderForPartitionError")
    broker.may_acknowledge.set()
    async with an_inbox(broker) as inbox:
        await asyncio.gather(inbox.append(a_record(0)), return_exceptions=True)
        assert not inbox.is_answering

        await _until(lambda: inbox.is_answering)


async def test_a_client_that_left_takes_nobody_with_it() -> None:
    broker = Broker()
    async with an_inbox(broker) as inbox, asyncio.TaskGroup() as tasks:
        leaving = tasks.create_task(inbox.append(a_record(0)))
        tasks.create_task(inbox.append(a_record(1)))
        await broker.came.wait()
        leaving.cancel()
        await asyncio.wait({leaving})
        broker.may_acknowledge.set()

    assert inbox.unacknowledged == 0


async def test_beyond_its_bound_it_says_so_at_once() -> None:
    broker = Broker()
    async with an_inbox(broker, unacknowledged_max=1) as inbox, asyncio.TaskGroup() as tasks:
        tasks.create_task(inbox.append(a_record(0)))
        await broker.came.wait()

        with pytest.raises(Unavailable) as full:
            async with asyncio.timeout(5):
                await inbox.append(a_record(1))

        assert full.value.why == "kafka_full"
        broker.may_acknowledge.set()


async def test_once_it_is_closed_it_says_that_it_is_stopping() -> None:
    """It was a RuntimeError of the closed task group, told as internal_error."""
    async with an_inbox(Broker()) as inbox:
        pass

    with pytest.raises(Unavailable) as closed:
        await inbox.append(a_record(0))

    assert (closed.value.what, closed.value.why) == ("kafka", "stopping")


async def test_its_end_waits_for_no_broker_and_tells_whoever_still_waits() -> None:
    """A client that left is waited for by nobody, but its append may be half way."""
    broker = Broker()
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks, an_inbox(broker) as inbox:
        outcome = tasks.create_task(_outcome(inbox))
        await broker.came.wait()

    assert outcome.result() == "stopping"


async def _outcome(inbox: Inbox) -> str:
    try:
        await inbox.append(a_record(0))
    except Unavailable as error:
        return error.why
    return "appended"


async def test_the_door_s_producer_is_kept_after_a_time_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its records stand for themselves, and those of others are on their way through it; its deadline is the settings'."""
    told: dict[str, object] = {}

    def make(_: object, **options: object) -> Broker:
        told.update(options)
        return Broker()

    monkeypatch.setattr(app, "Producer", make)
    settings = load(None, {}, needs_file=False)

    async with inbox_of(settings):
        pass

    assert (told["replace_on_timeout"], told["timeout_s"]) == (False, settings.ingress.append_timeout_s)


async def test_another_patience_is_for_those_who_wait_already() -> None:
    """All wait equally long, so the first to give up is the one that waits longest; none waits longer than one that comes now."""
    broker = Broker()
    async with an_inbox(broker, timeout_s=60.0) as inbox, asyncio.timeout(5):
        waiting = asyncio.gather(inbox.append(a_record(1)), inbox.append(a_record(2)), return_exceptions=True)
        await broker.came.wait()

        inbox.give_up_after(TIMEOUT_S)

        outcomes = [*await waiting, *await asyncio.gather(inbox.append(a_record(3)), return_exceptions=True)]
        broker.may_acknowledge.set()
    assert [(type(one), getattr(one, "why", None)) for one in outcomes] == [(Unavailable, "kafka_timeout")] * 3
    assert broker.timeout_s == TIMEOUT_S


@pytest.mark.parametrize(
    ("said", "spread_over"),
    [
        pytest.param(2, 2, id="the topic was given more: an order would begin anew elsewhere, and be paid once more"),
        pytest.param(3, 3, id="as many as there are"),
        pytest.param(24, 3, id="a topic that has fewer than the settings say is used as it is"),
    ],
)
async def test_keys_stay_where_the_settings_have_them(said: int, spread_over: int) -> None:
    broker = Broker()
    broker.may_acknowledge.set()
    keys = [f"shop-hkd/T{number}".encode() for number in range(20)]

    async with Inbox(cast("Producer", broker), "t.inbox.v1", timeout_s=30.0, partitions=said) as inbox:
        for key in keys:
            await inbox.append(Record(key, b""))

    assert {record.key: at for at, batch in broker.batches for record in batch} == {
        key: partition_of(key, spread_over) for key in keys
    }
