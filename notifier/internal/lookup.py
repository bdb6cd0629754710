"""
One order, as the view of the orders log has it: for who asks from outside of the orders job.

A view is never wrong, only short (design, section 5): what is found in it was true, and its version says which state it is. What
is not found in it may still lie in the log behind the view's position (Redis was flushed, or the job is behind); so "unknown" is
said only of what neither of them has.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager

from notifier import events
from notifier.errors import Unavailable
from notifier.kept import record_at, record_in
from notifier.ports import Kept, LogReader, ViewRead, ViewStore
from notifier.record import Record
from notifier.topics import partition_of, spread_over

BEHIND_MAX = 20_000
"""Records behind the view's position that are read through for one order: a second's work. Beyond it the job comes first."""

VIEW_BEHIND = "view_behind"

KAFKA_S_MAX = 3.0
"""Who asks for an order waits no longer for Kafka, and hears that it was Kafka."""

READS_MAX = 8
"""Reads of the log at once; each holds a connection of its own."""


class Lookup:
    """
    Finds orders.

    Args:
        topic: the orders topic.
        partitions: of how many the settings say that it has.
        count: how many it has, as Kafka says; asked once, before the first "unknown".
    """

    def __init__(
        self,
        topic: str,
        store: ViewStore,
        reader: LogReader,
        *,
        partitions: int,
        count: Callable[[], Awaitable[int]],
    ) -> None:
        self._topic = topic
        self._store = store
        self._reader = reader
        self._partitions = partitions
        self._count = count
        self._is_counted = False
        self._reading = asyncio.Semaphore(READS_MAX)

    async def find(self, channel: str, order: str) -> Record | None:
        """
        The order's latest record as far as the view has it; None where there is none.

        Raises:
            Unavailable: Redis does not answer; Kafka does not, where it has to be asked; or the view is so far behind that
                nobody can say (`redis`, why is `VIEW_BEHIND`).
        """
        key = f"{channel}/{order}".encode("utf-8", "surrogateescape")  # whatever was asked for
        found = await self._find(key)
        if found is None and not self._is_counted:
            # the settings may say more than the topic has: then it was looked for in the wrong place
            async with _kafka_in_time():
                counted = spread_over(await self._count(), self._partitions)
            is_wrong, self._partitions, self._is_counted = counted != self._partitions, counted, True
            found = await self._find(key) if is_wrong else None
        return found

    async def _find(self, key: bytes) -> Record | None:
        partition = partition_of(key, self._partitions)
        read = await self._store.read(self._topic, partition, [key])
        (entry,) = read.entries
        record = record_in(key, entry) if isinstance(entry, Kept) else None
        if record is not None:
            return record
        if entry is not None:
            async with _kafka_in_time(), self._reading:
                stored = await self._reader.one(self._topic, partition, entry.offset)
            record = record_at(entry, key, stored, events.version_of)
            if record is not None:
                return record
        async with _kafka_in_time(), self._reading:
            return await self._find_behind(key, partition, read)

    async def _find_behind(self, key: bytes, partition: int, read: ViewRead) -> Record | None:
        """Look for a key in what the view lacks of its log."""
        start, end = await self._reader.bounds(self._topic, partition)
        (entry,) = read.entries
        begin = max(read.position or 0, start)
        if end - begin > BEHIND_MAX:
            raise Unavailable("redis", VIEW_BEHIND)
        newest: Record | None = None
        if begin < end:
            async with aclosing(self._reader.read(self._topic, partition, begin, end)) as chunks:
                async for chunk in chunks:
                    for stored in chunk.records:
                        if (
                            stored.record.key == key
                            and events.is_ours(stored.record)
                            and (newest is None or events.version_of(stored.record) >= events.version_of(newest))
                        ):
                            newest = stored.record
        if newest is None and entry is not None and entry.offset >= start:
            # the pointer's record was superseded by one that is in neither place yet, or went while it was looked for
            raise Unavailable("redis", VIEW_BEHIND)
        return newest


@asynccontextmanager
async def _kafka_in_time() -> AsyncIterator[None]:
    """
    Whoever asks Kafka within the block does so in time.

    Raises:
        Unavailable: Kafka did not answer in time.
    """
    try:
        async with asyncio.timeout(KAFKA_S_MAX):
            yield
    except TimeoutError:
        raise Unavailable("kafka", "kafka_timeout") from None
