"""The inbox as the door needs it: one record at a time, each durable before it returns."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from notifier import metrics
from notifier.errors import Unavailable
from notifier.kafka.producer import Producer
from notifier.outage import Outages
from notifier.record import Record
from notifier.topics import partition_of


class Inbox:
    """
    Appends evidence to the inbox (`notifier.ports.InboxAppender`).

    Args:
        unacknowledged_max: appends that may wait for their acknowledgement at once. Beyond it Kafka is not keeping up, and a
            quick no is worth more than a long queue: AlipayHK sends again.
    """

    def __init__(self, producer: Producer, topic: str, *, unacknowledged_max: int = 2_000) -> None:
        self._producer = producer
        self._topic = topic
        self._unacknowledged = 0
        self._unacknowledged_max = unacknowledged_max
        self._partitions = 0
        self._in_flight = metrics.APPENDS_IN_FLIGHT.of(topic)
        self._outages = Outages()
        self._connecting = asyncio.TaskGroup()
        self._connection: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._producer.__aenter__()
        await self._connecting.__aenter__()
        self._connection = self._connecting.create_task(self._connect())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._connection is not None:
            self._connection.cancel()
        await self._connecting.__aexit__(kind, error, traceback)
        await self._producer.__aexit__(kind, error, traceback)

    @property
    def is_ready(self) -> bool:
        """Are the inbox's partitions known?"""
        return self._partitions > 0

    @property
    def unacknowledged(self) -> int:
        """Appends that wait for their acknowledgement."""
        return self._unacknowledged

    async def append(self, record: Record) -> None:
        """
        Return once the record is on all in-sync replicas.

        Raises:
            Unavailable: `kafka`; why is `kafka_full` where nothing was sent, else `kafka_timeout`: it may land later.
        """
        if not self._partitions:
            raise Unavailable("kafka", "kafka_timeout")
        if self._unacknowledged >= self._unacknowledged_max:
            raise Unavailable("kafka", "kafka_full")
        self._unacknowledged += 1
        self._in_flight.set(self._unacknowledged)
        try:
            await self._producer.append_one(self._topic, partition_of(record.key, self._partitions), record)
        except Unavailable as error:
            raise Unavailable("kafka", "kafka_timeout") from error
        finally:
            self._unacknowledged -= 1
            self._in_flight.set(self._unacknowledged)

    async def _connect(self) -> None:
        """Learn the inbox's partitions, however long Kafka is away."""
        self._partitions = await self._outages.ride_out(lambda: self._producer.partitions_of(self._topic))
