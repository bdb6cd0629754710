"""
Appending to logs: one idempotent producer object at a time, given up at its first error.

aiokafka's idempotent producer is poisoned by any batch that fails for good (its sequence number is used up, all later ones of
that partition fail), and it never gives a batch up by itself. So the deadline is ours, an outcome that did not come in time is
unknown, and after an error nothing more goes through that object: a new one takes its place (design, section 5, rule 3).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from notifier import metrics
from notifier.errors import Unavailable
from notifier.kafka.access import Access
from notifier.kafka.admin import Admin
from notifier.kafka.ending import started
from notifier.logs import failure, get_logger
from notifier.record import Record

log = get_logger()

BATCH_BYTES_MAX = 262_144
"""One batch a partition is in flight, so its size decides the throughput: 16 KiB gives 5k records a second, this 13k."""

REQUEST_TIMEOUT_MS = 30_000
GIVE_UP_S = 5.0
"""How long an old producer may take to end before its connections are simply closed."""


class Producer:
    """
    Appends to logs; each append returns once it is on all in-sync replicas.

    Args:
        service: whose producer it is, for the metric.
        timeout_s: our own deadline for an append, in seconds.
        replace_on_timeout: give the producer up when an append was not acknowledged in time. Owners of a partition must (what
            follows would land without what went before); the inbox need not (its records stand for themselves).
    """

    def __init__(
        self,
        access: Access,
        *,
        service: str,
        timeout_s: float,
        record_bytes_max: int = 1_048_576,
        replace_on_timeout: bool = True,
    ) -> None:
        self._access = access
        self._replaced = metrics.PRODUCERS_REPLACED.of(service)
        self._timeout_s = timeout_s
        self._record_bytes_max = record_bytes_max
        self._replace_on_timeout = replace_on_timeout
        self._current: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()
        self._given_up = asyncio.TaskGroup()
        self._is_closing = False

    async def __aenter__(self) -> Self:
        await self._given_up.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_closing = True
        if self._current is not None:
            await _end(self._current)
        await self._given_up.__aexit__(kind, error, traceback)

    def give_up_after(self, timeout_s: float) -> None:
        """Our own deadline for appends that begin from now on."""
        self._timeout_s = timeout_s

    async def start(self) -> None:
        """
        Connect, if that has not happened yet.

        Raises:
            Unavailable: no broker answers.
        """
        try:
            await self._producer()
        except KafkaError as error:
            raise Unavailable("kafka", type(error).__name__) from error

    async def partitions_of(self, topic: str) -> int:
        """
        How many partitions a topic has; then the producer is connected, too.

        The library's producer would ask for the topic by its name, and Kafka, where nobody has told it otherwise, makes what is
        asked for: with one partition, and nothing of what a topic of ours has to be.

        Raises:
            Unavailable: no broker answers, or the topic is not there.
        """
        async with Admin.at_work(self._access, answer_s_max=self._timeout_s) as admin:
            partitions = await admin.partitions_of(topic)
        if partitions is None:
            raise Unavailable("kafka", f"there is no topic {topic}; `notifier topics --apply` makes it")
        await self.start()
        return partitions

    async def ask(self) -> None:
        """
        Return once a broker answers.

        Raises:
            Unavailable: none does, in time.
        """
        try:
            producer = await self._producer()
            async with asyncio.timeout(self._timeout_s):
                is_answered = await producer.client.force_metadata_update()
        except TimeoutError as error:
            raise Unavailable("kafka", "kafka_timeout") from error
        except KafkaError as error:
            raise Unavailable("kafka", type(error).__name__) from error
        if not is_answered:
            raise Unavailable("kafka", "no broker answers")

    async def append(self, topic: str, partition: int, records: Sequence[Record]) -> list[int]:
        """
        Append records in their order; return the offset of each, once all are acknowledged.

        Raises:
            Unavailable: not acknowledged in time, or refused. Some may lie in the log, or land later.
        """
        producer: AIOKafkaProducer | None = None
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._timeout_s):
                producer = await self._producer()
                offsets = await _append(producer, topic, partition, records)
        except (KafkaError, TimeoutError, _UnknownOffsetError) as error:
            raise self._unavailable(producer, error) from error
        metrics.APPEND_SECONDS.of(topic).observe(time.monotonic() - began)
        return offsets

    def _unavailable(self, producer: AIOKafkaProducer | None, error: Exception) -> Unavailable:
        is_late = isinstance(error, TimeoutError) and not isinstance(error, KafkaError)
        if producer is not None and (self._replace_on_timeout or not is_late):
            self._give_up(producer, error)
        return Unavailable("kafka", "kafka_timeout" if is_late else type(error).__name__)

    async def _producer(self) -> AIOKafkaProducer:
        if self._current is None:
            async with self._starting:
                if self._current is None:
                    self._current = await self._started()
        return self._current

    async def _started(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            **self._access.options,
            acks="all",
            enable_idempotence=True,
            max_batch_size=BATCH_BYTES_MAX,
            max_request_size=max(self._record_bytes_max, BATCH_BYTES_MAX) + 65_536,
            linger_ms=0,
            compression_type=None,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
        )
        await started(producer.start(), producer.stop)
        return producer

    def _give_up(self, producer: AIOKafkaProducer, error: BaseException) -> None:
        if self._current is not producer:
            return  # somebody else met the same error first
        self._current = None
        self._replaced.inc()
        log.warning("producer.replaced", **failure(error))
        if not self._is_closing:
            self._given_up.create_task(_end(producer))


class _UnknownOffsetError(Exception):
    """The broker acknowledged without saying where: only the log knows."""


async def _append(producer: AIOKafkaProducer, topic: str, partition: int, records: Sequence[Record]) -> list[int]:
    """
    What lands of an append is always its beginning: a batch behind one that was refused has the wrong sequence number.

    Only, of a producer that it has no record of, a broker takes any number. So the first batch goes alone.
    """
    futures: list[tuple[asyncio.Future[Any], int]] = []
    for batch in _batches(producer, records):
        future = await producer.send_batch(batch, topic, partition=partition)
        future.add_done_callback(_mark_seen)
        if not futures:
            await asyncio.shield(future)
        futures.append((future, batch.record_count()))
    offsets: list[int] = []
    for future, count in futures:
        # shielded: an abandoned batch stays the producer's to end, its outcome is unknown either way
        first = (await asyncio.shield(future)).offset
        if first < 0:
            raise _UnknownOffsetError
        offsets.extend(range(first, first + count))
    return offsets


def _mark_seen(future: asyncio.Future[Any]) -> None:
    """An abandoned append may still fail later; that was answered for already."""
    if not future.cancelled():
        future.exception()


def _batches(producer: AIOKafkaProducer, records: Iterable[Record]) -> Iterable[Any]:
    batch = producer.create_batch()
    for record in records:
        if batch.append(timestamp=None, key=record.key, value=record.value, headers=list(record.headers)) is None:
            yield batch
            batch = producer.create_batch()
            batch.append(timestamp=None, key=record.key, value=record.value, headers=list(record.headers))
    batch.close()
    yield batch


async def _end(producer: AIOKafkaProducer) -> None:
    """Stop a producer, within a bound: with a batch pending and no broker, `stop` alone would wait for ever."""
    try:
        async with asyncio.timeout(GIVE_UP_S):
            await producer.stop()
    except (KafkaError, TimeoutError):
        await producer.client.close()
        producer._sender.sender_task.cancel()  # aiokafka has no public way to leave pending batches behind
