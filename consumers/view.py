"""
The view protocol: a view in Redis of one partition of a log, kept true by its position (design, section 5).

The log holds the truth and the view is its fold up to a position; whoever wrote it, it is never wrong, only short. Nobody is
fenced: two processes may both believe that they own a partition. What keeps them harmless is that each works only on a view that
reaches the log's end as far as it knows it, and moves the view only from where it was read.

The numbers are those of the design's rules.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import NamedTuple

from notifier import metrics
from notifier.kept import kept, record_in
from notifier.logs import get_logger
from notifier.ports import Appender, DueChange, Kept, LogReader, Pointer, ViewStore
from notifier.record import Record

log = get_logger()


class Merging(NamedTuple):
    """The only things that differ from one view to another."""

    merge: Callable[[Record | None, Record], Record]
    """What is known of a key after one more record of it (rule 1): the known one, the new one, or the two joined."""
    due: Callable[[Record], DueChange | None]
    """The key's place in the due index, which is part of the view (rule 12)."""
    version: Callable[[Record], int]
    """What a pointer names beside the offset, so that it is known when another record lies there (rule 11)."""
    may_rest: Callable[[Record], bool]
    """Whether a key may lose its body when it has been quiet for long (rule 11)."""


class RecreatedTopicError(Exception):
    """The log is shorter than what was read of it before: it is another log under the same name."""


class Snapshot(NamedTuple):
    """What the view held of some keys, and its position, at one moment."""

    position: int | None
    known: dict[bytes, Record]


HELD_MAX = 10_000
"""Keys for which a catch-up that has met an older record last reads on, before it heals and moves the view."""

RESTED_AT_ONCE_MAX = 20_000
"""Records that one look goes through for what has become quiet."""


class View:
    """
    The view of one partition of a log, for one owner of it.

    Every method raises Unavailable where Kafka or Redis does not answer; then nothing was decided, and it is tried again.
    """

    def __init__(
        self, topic: str, partition: int, merging: Merging, *, store: ViewStore, reader: LogReader, appender: Appender
    ) -> None:
        self.topic = topic
        self.partition = partition
        self._merging = merging
        self._store = store
        self._reader = reader
        self._appender = appender
        self.known_end = 0
        """E: the end of the log as far as we know it. It only rises (rule 4)."""

    async def open(self, end_in_commit: int) -> None:
        """
        Begin, with the end that the last committer knew, and bring the view up to it.

        Raises:
            RecreatedTopicError: the log ends below what was known of it.
        """
        # the position before the end: another owner may move both in between
        read = await self._store.read(self.topic, self.partition, ())
        _, end = await self._reader.bounds(self.topic, self.partition)
        self.known_end = max(end_in_commit, read.position or 0)
        if self.known_end > end:
            raise RecreatedTopicError(
                f"{self.topic} partition {self.partition} ends at {end}, but {self.known_end} was known"
                " of it: the topic was deleted and made anew. Give the installation a new kafka.topic_prefix, or bring the old"
                " topic back; to start over on purpose, delete the consumer groups and this topic's keys in Redis."
            )
        self.known_end = end
        await self.read(())

    async def look(self) -> None:
        """
        Bring the view up to the log's end as it is now (rule 7), in a partition that is idle for us as well.

        What another owner or a late append left there is seen, and healed, before compaction may touch it.
        """
        await self._fetch_end()
        await self.read(())

    async def _fetch_end(self) -> None:
        _, end = await self._reader.bounds(self.topic, self.partition)
        self.known_end = max(self.known_end, end)

    async def read(self, keys: Iterable[bytes]) -> Snapshot:
        """What is known of these keys, from a view that reaches the known end (rule 4)."""
        wanted = list(dict.fromkeys(keys))
        while True:
            read = await self._store.read(self.topic, self.partition, wanted)
            self.known_end = max(self.known_end, read.position or 0)
            if (read.position or 0) < self.known_end:
                await self._catch_up(read.position)
                continue
            known = await self._records(wanted, read.entries)
            if known is not None:
                if (read.position or 0) < self.known_end:
                    continue  # this owner's own writer has gone on while what rests was read from the log
                return Snapshot(read.position, known)
            await self._fetch_end()  # a pointer dangles because the view is behind: then there is more to catch up with
            if (read.position or 0) >= self.known_end:
                raise RecreatedTopicError(
                    f"{self.topic} partition {self.partition} has other records where its view points: the topic was made anew."
                    " Give the installation a new kafka.topic_prefix, or delete the topic's keys in Redis to build it again."
                )

    async def append(self, snapshot: Snapshot, records: Sequence[Record]) -> None:
        """
        Append what follows from a snapshot, acknowledged (rule 8), then move the view on.

        The view moves from memory only if the offsets run on from the snapshot's position; otherwise somebody else's records lie
        between, and the next read brings them in from the log (rule 5).
        """
        offsets = await self._appender.append(self.topic, self.partition, records)
        self.known_end = max(self.known_end, offsets[-1] + 1)
        first = snapshot.position or 0
        if offsets == list(range(first, first + len(records))):
            latest = {record.key: (record, offset) for record, offset in zip(records, offsets, strict=True)}
            await self._move(snapshot.position, offsets[-1] + 1, latest)

    async def _catch_up(self, position: int | None) -> None:
        """Bring the view up to the known end from the log, healing what compaction would spoil (rule 6)."""
        start, _ = await self._reader.bounds(self.topic, self.partition)
        if position is not None and position < start:
            # what the view lacks is deleted, so the view is of a log that no longer exists
            await self._store.forget(self.topic, self.partition)
            return
        began, count, upto = time.monotonic(), 0, self.known_end
        held: dict[bytes, tuple[Record, int]] = {}  # read, and not in the view yet
        behind: dict[bytes, Record] = {}  # the newest that was read of each key of which an older record lies last
        async with aclosing(self._reader.read(self.topic, self.partition, position or 0, upto)) as chunks:
            async for chunk in chunks:
                keys = list(dict.fromkeys(stored.record.key for stored in chunk.records))
                before = await self._store.read(self.topic, self.partition, keys)
                if before.position != position:
                    return  # somebody else moved it meanwhile: read again from there
                # a pointer that dangles here is of a record that a later one in this log has superseded
                merged = await self._records(keys, before.entries, is_strict=False) or {}
                offsets = {
                    key: entry.offset for key, entry in zip(keys, before.entries, strict=True) if entry is not None
                }
                for key in held.keys() & set(keys):
                    merged[key], offsets[key] = held[key]
                last: dict[bytes, Record] = {}
                for stored in chunk.records:
                    key = stored.record.key
                    last[key] = stored.record
                    merged[key] = self._merging.merge(merged.get(key), stored.record)
                    if merged[key] == stored.record or key not in offsets:
                        # a repetition moves it on too: of equal records compaction keeps the last
                        offsets[key] = stored.offset
                for key, record in last.items():
                    held[key] = merged[key], offsets[key]
                    behind.pop(key, None)
                    if merged[key] != record:
                        behind[key] = merged[key]
                count += len(chunk.records)
                if behind and chunk.next_offset < upto and len(held) < HELD_MAX:
                    continue  # a newer one may lie ahead; what is known so far would be appended behind it, as an older one again
                await self._heal(list(behind.values()))
                if not await self._move(position, chunk.next_offset, held):
                    return
                position, held, behind = chunk.next_offset, {}, {}
        if count:
            metrics.VIEWS_REPAIRED.of(self.topic).inc()
            log.warning(
                "view.repaired",
                topic=self.topic,
                partition=self.partition,
                records=count,
                duration_ms=round((time.monotonic() - began) * 1000, 1),
            )

    async def _heal(self, newest: Sequence[Record]) -> None:
        """Append the newest again where an older record lies last, before the position may pass it (rule 6)."""
        if not newest:
            return
        offsets = await self._appender.append(self.topic, self.partition, newest)
        self.known_end = max(self.known_end, offsets[-1] + 1)
        log.warning("log.healed", topic=self.topic, partition=self.partition, records=len(newest))

    async def older_than(self, keys: Sequence[bytes], before_ms: int) -> list[bytes]:
        """Which of these keys have their latest record from before a time (Unix milliseconds), as far as the view knows."""
        end = await self._reader.offset_at(self.topic, self.partition, before_ms)
        read = await self._store.read(self.topic, self.partition, keys)
        return [key for key, entry in zip(keys, read.entries, strict=True) if entry is not None and entry.offset < end]

    async def rest(self, before_ms: int) -> None:
        """
        Let what has been quiet since a time (Unix milliseconds) lose its body, and forget what its log has deleted (rule 11).

        The log itself says what is quiet: whatever lies before that time and is still the latest of its key.
        """
        start, _ = await self._reader.bounds(self.topic, self.partition)
        if start > 0:
            await self._store.drop_below(self.topic, self.partition, start)
        begin = max(await self._store.rested_upto(self.topic, self.partition), start)
        end = await self._reader.offset_at(self.topic, self.partition, before_ms)
        async for chunk in self._reader.read(self.topic, self.partition, begin, min(end, begin + RESTED_AT_ONCE_MAX)):
            pointers = {
                stored.record.key: Pointer(stored.offset, self._merging.version(stored.record))
                for stored in chunk.records
                if stored.offset < end and self._merging.may_rest(stored.record)
            }
            await self._store.rest(self.topic, self.partition, pointers, upto=min(chunk.next_offset, end))

    async def _move(self, expected: int | None, position: int, latest: Mapping[bytes, tuple[Record, int]]) -> bool:
        entries = {key: kept(record, offset) for key, (record, offset) in latest.items()}
        due = [change for record, _ in latest.values() if (change := self._merging.due(record)) is not None]
        return await self._store.write(
            self.topic, self.partition, expected=expected, position=position, entries=entries, due=due
        )

    async def _records(
        self, keys: Sequence[bytes], entries: Sequence[Kept | Pointer | None], *, is_strict: bool = True
    ) -> dict[bytes, Record] | None:
        """
        The records that entries stand for; what only a pointer is left of is read from the log, by one seek each.

        None if a pointer dangles, in strict reading; else such a key is left out. A pointer below the log's start is of what was
        deleted: never seen.
        """
        records: dict[bytes, Record] = {}
        for key, entry in zip(keys, entries, strict=True):
            match entry:
                case Kept():
                    records[key] = record_in(key, entry)
                case Pointer():
                    stored = await self._reader.one(self.topic, self.partition, entry.offset)
                    if stored and stored.record.key == key and self._merging.version(stored.record) == entry.version:
                        records[key] = stored.record
                    elif is_strict and entry.offset >= (await self._reader.bounds(self.topic, self.partition))[0]:
                        return None
        return records
