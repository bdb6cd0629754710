"""Following a topic: every record once and in order, whatever becomes of the library's fetcher meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import aclosing

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError

from notifier.errors import Unavailable
from notifier.kafka import follower
from notifier.kafka.access import Access
from notifier.kafka.follower import Followed, follow
from tests.topics import create_topics

PARTITIONS = 2
WITHIN_S = 30.0


def breaking(error: Callable[[], KafkaError], fetches: int = 3) -> type[AIOKafkaConsumer]:
    """A client each of which breaks after so many fetches that brought something."""

    class Breaking(AIOKafkaConsumer):  # type: ignore[misc] # aiokafka ships no types
        fetches_left = fetches

        async def getmany(self, *args: object, **options: object) -> Mapping[object, object]:
            if self.fetches_left == 0:
                raise error()
            found: Mapping[object, object] = await super().getmany(*args, **options)
            self.fetches_left -= bool(found)
            return found

    return Breaking


@pytest.fixture
async def topic(bootstrap_servers: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """With forty records, of which a fetch brings three at most."""
    monkeypatch.setattr(follower, "RECORDS_MAX", 3)
    monkeypatch.setattr(follower, "RETRY_S", 0.0)
    topics = await create_topics(bootstrap_servers, topic_prefix, partitions=PARTITIONS)
    async with AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all") as producer:
        for number in range(40):
            await producer.send_and_wait(topics.orders, b"%d" % number, b"%d" % number, partition=number % PARTITIONS)
    return topics.orders


@pytest.mark.services
@pytest.mark.parametrize("starts", [None, {0: 5, 1: 7}], ids=["from the beginning", "from an offset"])
async def test_a_fetcher_that_dies_is_replaced_and_nothing_is_missed_or_told_twice(
    bootstrap_servers: str, topic: str, starts: Mapping[int, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two brokers of three went at once, and who followed ended with "Unexpected error during data retrieval"."""
    monkeypatch.setattr(follower, "AIOKafkaConsumer", breaking(lambda: KafkaError("Unexpected error")))
    begin = starts or {}
    wanted = {
        partition: [b"%d" % number for number in range(partition, 40, PARTITIONS)][begin.get(partition, 0) :]
        for partition in range(PARTITIONS)
    }
    seen: list[Followed] = []

    access = Access({"bootstrap_servers": bootstrap_servers})
    async with asyncio.timeout(WITHIN_S), aclosing(follow(access, topic, PARTITIONS, starts)) as followed:
        async for some in followed:
            seen += some
            if len(seen) >= sum(map(len, wanted.values())):
                break

    assert {
        partition: [one.stored.record.value for one in seen if one.partition == partition] for partition in wanted
    } == wanted


@pytest.mark.services
async def test_who_may_not_read_is_told_so(bootstrap_servers: str, topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not mend with time."""
    monkeypatch.setattr(follower, "AIOKafkaConsumer", breaking(lambda: TopicAuthorizationFailedError(topic), 0))

    async with aclosing(follow(Access({"bootstrap_servers": bootstrap_servers}), topic, PARTITIONS)) as followed:
        with pytest.raises(Unavailable) as refused:
            await anext(followed)

    assert refused.value.why == "TopicAuthorizationFailedError"
