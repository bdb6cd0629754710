"""Reading a log by offset, outside of any group: for catching a view up and for looking at ends."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Sequence
from contextlib import aclosing, asynccontextmanager, nullcontext

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from notifier.errors import Unavailable
from notifier.kafka.access import Access
from notifier.kafka.ending import ended, started
from notifier.ports import Chunk
from notifier.record import Record, Stored

FETCH_BYTES_MAX = 4 * 1024 * 1024
"""Of one read; after a flush of Redis there is one for each partition of a process at once."""
SEEK_BYTES_MAX = 64 * 1024
"""The same for single records: whatever else lies in their batches comes with them."""
NEARBY = 32
"""Single records that lie so near to each other are read in one go."""
SEEKS_AT_ONCE_MAX = 32
"""Each borrows a consumer with a connection of its own; a thousand lanes may look for an event at one moment."""
STALL_S = 15.0
"""How long a read may bring nothing before we say that Kafka does not answer."""


class Reader:
    """
    Reads partitions by offset.

    A read borrows a consumer of its own, so that a long one holds nothing else up; consumers are kept for the next read. There
    are as many as there were reads at once: long ones are a partition's, and of the short ones no more than some run at once.
    """

    def __init__(self, access: Access, *, chunk_records_max: int = 2_000) -> None:
        self._access = access
        self._chunk_records_max = chunk_records_max
        self._idle: defaultdict[int, list[AIOKafkaConsumer]] = defaultdict(list)
        """By how much one fetch of theirs brings at most, in bytes."""
        self._seeking = asyncio.Semaphore(SEEKS_AT_ONCE_MAX)
        self._records_read: Counter[int] = Counter()

    def records_read(self, partition: int) -> int:
        """How many records were read of all logs' partitions of this number, so far."""
        return self._records_read[partition]

    async def close(self) -> None:
        """Close all connections, at once: each may take its whole bound where Kafka does not answer."""
        idle = [consumer for consumers in self._idle.values() for consumer in consumers]
        self._idle.clear()
        await asyncio.gather(*(ended(consumer.stop()) for consumer in idle))

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """
        The log's start and its end: the offset of the first record and the one after the last.

        Raises:
            Unavailable: no answer.
        """
        tp = TopicPartition(topic, partition)
        async with self._borrowed() as consumer:
            starts, ends = await asyncio.gather(consumer.beginning_offsets([tp]), consumer.end_offsets([tp]))
            return starts[tp], ends[tp]

    async def offset_at(self, topic: str, partition: int, at_ms: int) -> int:
        """
        The offset of the first record that was appended at or after a time (Unix milliseconds); the end if there is none.

        Raises:
            Unavailable: no answer.
        """
        tp = TopicPartition(topic, partition)
        async with self._borrowed() as consumer:
            # the end first: a record that lands between the two questions lies at or behind it, and is not jumped over
            end = int((await consumer.end_offsets([tp]))[tp])
            found = (await consumer.offsets_for_times({tp: at_ms}))[tp]
            return int(found.offset) if found is not None else end

    async def read(self, topic: str, partition: int, start: int, upto: int) -> AsyncGenerator[Chunk, None]:
        """
        The records from `start` to at least `upto`, in chunks. Where the log begins later than `start`, from its beginning.

        Offsets have holes after compaction, so the end is reached by the consumer's position, not by a record's offset.

        Raises:
            Unavailable: Kafka does not answer, or brings nothing for `STALL_S`.
        """
        async with aclosing(self._read(topic, partition, start, upto, FETCH_BYTES_MAX)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _read(
        self, topic: str, partition: int, start: int, upto: int, bytes_max: int
    ) -> AsyncGenerator[Chunk, None]:
        tp = TopicPartition(topic, partition)
        async with self._borrowed(bytes_max) as consumer:
            consumer.assign([tp])
            consumer.seek(tp, start)
            position = start
            loop = asyncio.get_running_loop()
            moved_at = loop.time()
            while position < upto:
                # never cancelled by a timeout of ours: that would break the fetcher for good
                fetched = await consumer.getmany(tp, timeout_ms=200, max_records=self._chunk_records_max)
                records = [stored(message) for message in fetched.get(tp, ())]
                reached = await consumer.position(tp)
                if reached == position:
                    if loop.time() - moved_at > STALL_S:
                        raise Unavailable("kafka", f"nothing to read from {topic} {partition} at {position}")
                    continue
                position, moved_at = reached, loop.time()
                self._records_read[partition] += len(records)
                yield Chunk(records, position)

    async def one(self, topic: str, partition: int, offset: int) -> Stored | None:
        """
        The record at an offset, or None where it is no more.

        Raises:
            Unavailable: no answer.
        """
        return (await self.some(topic, partition, [offset])).get(offset)

    async def some(self, topic: str, partition: int, offsets: Collection[int]) -> dict[int, Stored]:
        """
        The records at these offsets, as far as they are still there.

        Raises:
            Unavailable: no answer.
        """
        if not offsets:
            return {}
        start, end = await self.bounds(topic, partition)
        wanted = {offset for offset in offsets if start <= offset < end}
        found: dict[int, Stored] = {}
        for first, last in _runs(sorted(wanted)):
            async with aclosing(self._read(topic, partition, first, last + 1, SEEK_BYTES_MAX)) as chunks:
                async for chunk in chunks:
                    found |= {stored.offset: stored for stored in chunk.records if stored.offset in wanted}
        return found

    @asynccontextmanager
    async def _borrowed(self, bytes_max: int = SEEK_BYTES_MAX) -> AsyncIterator[AIOKafkaConsumer]:
        turn = self._seeking if bytes_max == SEEK_BYTES_MAX else nullcontext()
        async with turn, self._borrowed_of(self._idle[bytes_max], bytes_max) as consumer:
            yield consumer

    @asynccontextmanager
    async def _borrowed_of(self, idle: list[AIOKafkaConsumer], bytes_max: int) -> AsyncIterator[AIOKafkaConsumer]:
        try:
            consumer = idle.pop() if idle else await unattached(self._access, bytes_max)
            try:
                yield consumer
            except GeneratorExit:
                _keep(consumer, idle)  # whoever read has read enough
                raise
            except BaseException:
                await ended(consumer.stop())
                raise
            _keep(consumer, idle)
        except KafkaError as error:
            raise Unavailable("kafka", type(error).__name__) from error


def _keep(consumer: AIOKafkaConsumer, idle: list[AIOKafkaConsumer]) -> None:
    """For the next read. Not unsubscribed: that ends aiokafka's fetcher with an error; paused, it fetches nothing."""
    consumer.pause(*consumer.assignment())
    idle.append(consumer)


def _runs(offsets: Sequence[int]) -> list[tuple[int, int]]:
    """The first and the last of each part of ascending offsets that are read in one go."""
    runs: list[tuple[int, int]] = []
    for offset in offsets:
        if runs and offset - runs[-1][1] <= NEARBY:
            runs[-1] = runs[-1][0], offset
        else:
            runs.append((offset, offset))
    return runs


async def unattached(access: Access, bytes_max: int = FETCH_BYTES_MAX) -> AIOKafkaConsumer:
    """
    A consumer in no group, connected: it reads what it is told to and commits nothing.

    Args:
        bytes_max: what one fetch brings at most; a longer batch comes all the same.

    Raises:
        KafkaError: no broker answers.
    """
    consumer = AIOKafkaConsumer(
        **access.options,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        check_crcs=True,
        fetch_max_wait_ms=50,
        fetch_max_bytes=bytes_max,
        max_partition_fetch_bytes=bytes_max,
        isolation_level="read_uncommitted",
    )
    await started(consumer.start(), consumer.stop)
    return consumer


def stored(message: object) -> Stored:
    """
    One of aiokafka's consumer records, as ours. Records of ours have a key, a value, and values in their headers; of others what
    is not there is empty.
    """
    key, value, given = message.key, message.value, message.headers  # type: ignore[attr-defined] # aiokafka ships no types
    headers = tuple(given)
    if None in [one for _, one in headers]:
        headers = tuple((name, one or b"") for name, one in headers)
    return Stored(Record(key or b"", value or b"", headers), message.offset, message.timestamp)  # type: ignore[attr-defined] # as above
