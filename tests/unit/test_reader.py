"""Reading by offset, against a broker where something lands between two questions (`notifier.kafka.reader`)."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping

import pytest
from aiokafka import TopicPartition
from aiokafka.structs import ConsumerRecord, OffsetAndTimestamp

import notifier.kafka.reader as reader_module
from notifier.kafka.access import Access
from notifier.kafka.reader import SEEK_BYTES_MAX, Reader, stored
from notifier.record import Record

TP = TopicPartition("alipayhk.orders.v1", 0)


class LandingConsumer:
    """One of aiokafka's, on an empty partition: a record lands behind the first question, whichever that is."""

    def __init__(self) -> None:
        self._end = 0

    async def end_offsets(self, tps: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """As aiokafka's."""
        end, self._end = self._end, 1
        return dict.fromkeys(tps, end)

    async def offsets_for_times(
        self, times: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, OffsetAndTimestamp | None]:
        """As aiokafka's."""
        end, self._end = self._end, 1
        return dict.fromkeys(times, OffsetAndTimestamp(0, 1) if end else None)

    def assignment(self) -> frozenset[TopicPartition]:
        """As aiokafka's."""
        return frozenset()

    def pause(self, *_: TopicPartition) -> None:
        """As aiokafka's."""


async def test_a_record_that_lands_meanwhile_is_not_jumped_over() -> None:
    """
    Fan-out asked a partition that was still empty where to begin. The first event landed between "none is as young" and
    "where is the end", and no merchant was ever told of it.
    """
    reader = Reader(Access({}))
    reader._idle[SEEK_BYTES_MAX].append(LandingConsumer())

    assert await reader.offset_at(TP.topic, TP.partition, 0) == 0


def test_what_a_strangers_record_lacks_is_empty() -> None:
    """Kafka knows records without a key, without a value, and headers without one; none of ours is so."""
    headers = [("ce_time", None), ("ce_id", b"evt_1")]
    record = ConsumerRecord(TP.topic, 0, 7, 1, 1, None, None, None, -1, -1, headers)

    assert stored(record).record == Record(b"", b"", (("ce_time", b""), ("ce_id", b"evt_1")))


async def test_a_thousand_who_look_for_a_record_share_some_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each had a consumer of its own, and so a connection, for as long as the process lived."""
    made: list[LandingConsumer] = []
    at_work = most_at_work = 0

    class Counted(LandingConsumer):
        async def end_offsets(self, tps: Collection[TopicPartition]) -> dict[TopicPartition, int]:
            nonlocal at_work, most_at_work
            at_work += 1
            most_at_work = max(most_at_work, at_work)
            await asyncio.sleep(0)
            at_work -= 1
            return dict.fromkeys(tps, 0)

        async def beginning_offsets(self, tps: Collection[TopicPartition]) -> dict[TopicPartition, int]:
            """As aiokafka's."""
            return dict.fromkeys(tps, 0)

    async def make(_: Access, _bytes_max: int) -> LandingConsumer:
        await asyncio.sleep(0)
        made.append(Counted())
        return made[-1]

    monkeypatch.setattr(reader_module, "unattached", make)
    reader = Reader(Access({}))

    await asyncio.gather(*(reader.one(TP.topic, TP.partition, 7) for _ in range(1_000)))

    assert len(made) == most_at_work == reader_module.SEEKS_AT_ONCE_MAX
