"""
The view protocol: a view in Redis of one partition of a log, kept true by its position (design, section 5).

The log holds the truth and the view is its fold up to a position; whoever wrote it, it is never wrong, only short. Nobody is
fenced: two processes may both believe that they own a partition. What keeps them harmless is that each works only on a view that
reaches the log's end as far as it knows it, and moves the view only from where it was read.

The numbers are those of the design's rules.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from itertools import islice
from typing import NamedTuple

from consumers.rebuilding import RebuildLines, Rebuilds
from consumers.turns import in_turns
from notifier import metrics
from notifier.kept import kept, record_at, record_in
from notifier.logs import get_logger
from notifier.ports import Appender, Chunk, DueChange, Kept, LogReader, Pointer, ViewStore
from notifier.record import Record, Stored

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
    is_ours: Callable[[Record], bool]
    """Whether this project wrote it: what a stranger left under a key says nothing of it, and is given to none of the others."""


class RecreatedTopicError(Exception):
    """The log is shorter than what was read of it before: it is another log under the same name."""


class Snapshot(NamedTuple):
    """What the view held of some keys, and its position, at one moment."""

    position: int | None
    known: dict[bytes, Record]


MOVED_AT_ONCE = 5_000
"""Keys for which a catch-up reads on before it moves the view: Redis writes so many in some ten milliseconds."""

HELD_MAX = 10_000
"""The same, where an older record lies last of some key: a newer one may follow."""

KNOWN_MAX = 5_000
"""Keys that a catch-up keeps at hand of what it has written: an order's records lie near one another."""

ASK_AGAIN_EVERY_S = 0.5
ASK_AGAIN_TIMES = 20
"""For as long as a broker that is cut off from the others may take itself for the leader, and tell an old end."""

RESTED_AT_ONCE_MAX = 20_000
"""Records that one look goes through for what has become quiet."""


class View:
    """
    The view of one partition of a log, for one owner of it.

    Every method raises Unavailable where Kafka or Redis does not answer; then nothing was decided, and it is tried again.
    """

    def __init__(
        self,
        topic: str,
        partition: int,
        merging: Merging,
        *,
        store: ViewStore,
        reader: LogReader,
        appender: Appender,
        rebuilds: Rebuilds | None = None,
    ) -> None:
        self.topic = topic
        self.partition = partition
        self._merging = merging
        self._store = store
        self._reader = reader
        self._appender = appender
        self._rebuilds = rebuilds or RebuildLines()
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
        self.known_end = max(end_in_commit, read.position or 0)
        _, end = await bounds_reaching(
            self._reader,
            self.topic,
            self.partition,
            self.known_end,
            remedy="to start over on purpose, delete the consumer groups and this topic's keys in Redis",
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
        dangled = 0
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
            if (read.position or 0) < self.known_end:
                continue
            if dangled == ASK_AGAIN_TIMES:
                raise RecreatedTopicError(
                    f"{self.topic} partition {self.partition} has other records where its view points: the topic was made anew."
                    " Give the installation a new kafka.topic_prefix, or delete the topic's keys in Redis to build it again."
                )
            dangled += 1
            await asyncio.sleep(ASK_AGAIN_EVERY_S)  # or a broker tells an old end, and what lies there is beyond it

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
        begin = max(position or 0, start)
        catching_up = _CatchingUp(self._merging)
        async with aclosing(self._reader.read(self.topic, self.partition, position or 0, upto)) as chunks:
            with self._rebuilds.begin(self.topic, self.partition, max(upto - begin, 1)) as tell:
                async for chunk in chunks:
                    if not await self._learn(position, catching_up, chunk):
                        return  # somebody else moved it meanwhile: read again from there
                    await in_turns(chunk.records, catching_up.take)
                    self._pass_over(catching_up.strangers)
                    count += len(chunk.records)
                    # where an older one lies last, a newer may lie ahead: healed now, an older would come to lie behind it
                    held_max = HELD_MAX if catching_up.behind else MOVED_AT_ONCE
                    if chunk.next_offset < upto and len(catching_up.held) < held_max:
                        continue
                    await self._heal(catching_up)
                    if not await self._move(position, chunk.next_offset, catching_up.written()):
                        return
                    position = chunk.next_offset
                    tell(position - begin)
        if count:
            metrics.VIEWS_REPAIRED.of(self.topic).inc()
            log.warning(
                "view.repaired",
                topic=self.topic,
                partition=self.partition,
                records=count,
                duration_ms=round((time.monotonic() - began) * 1000, 1),
            )

    def _pass_over(self, strangers: list[int]) -> None:
        """Say where records lie that are none of ours: they are no part of the view, and hold nothing up."""
        for offset in strangers:
            log.error("record.unreadable", topic=self.topic, partition=self.partition, offset=offset)
        strangers.clear()

    async def _learn(self, position: int | None, catching_up: _CatchingUp, chunk: Chunk) -> bool:
        """Bring in what the view holds of a chunk's keys; False if it is not at this position any more."""
        keys = catching_up.unknown(chunk.records)
        before = await self._store.read(self.topic, self.partition, keys)
        if before.position != position:
            return False
        # a pointer that dangles here is of a record that a later one in this log has superseded
        records = await self._records(keys, before.entries, is_strict=False) or {}
        for key, entry in zip(keys, before.entries, strict=True):
            if entry is not None and key in records:
                catching_up.known[key] = records[key], entry.offset
        return True

    async def _heal(self, catching_up: _CatchingUp) -> None:
        """Append the newest again where an older record lies last, before the position may pass it (rule 6)."""
        newest = catching_up.newest()
        if not newest:
            return
        offsets = await self._appender.append(self.topic, self.partition, newest)
        catching_up.healed(offsets)
        self.known_end = max(self.known_end, offsets[-1] + 1)
        metrics.LOGS_HEALED.of(self.topic).inc(len(newest))
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
                if stored.offset < end
                and self._merging.is_ours(stored.record)
                and self._merging.may_rest(stored.record)
            }
            await self._store.rest(self.topic, self.partition, pointers, upto=min(chunk.next_offset, end))

    async def _move(self, expected: int | None, position: int, latest: Mapping[bytes, tuple[Record, int]]) -> bool:
        entries: dict[bytes, Kept] = {}
        due: list[DueChange] = []

        def put(item: tuple[bytes, tuple[Record, int]]) -> None:
            key, (record, offset) = item
            entries[key] = kept(record, offset)
            change = self._merging.due(record)
            if change is not None:
                due.append(change)

        await in_turns(list(latest.items()), put)
        return await self._store.write(
            self.topic, self.partition, expected=expected, position=position, entries=entries, due=due
        )

    async def _records(
        self, keys: Sequence[bytes], entries: Sequence[Kept | Pointer | None], *, is_strict: bool = True
    ) -> dict[bytes, Record] | None:
        """
        The records that entries stand for; what is not kept whole, or by a later release, is read from the log at its offset.

        None if a pointer dangles, in strict reading; else such a key is left out. A pointer below the log's start is of what was
        deleted: never seen.
        """
        records: dict[bytes, Record] = {}
        elsewhere: dict[bytes, Kept | Pointer] = {}
        for key, entry in zip(keys, entries, strict=True):
            record = record_in(key, entry) if isinstance(entry, Kept) else None
            if record is not None:
                records[key] = record
            elif entry is not None:
                elsewhere[key] = entry
        if elsewhere:
            offsets = [entry.offset for entry in elsewhere.values()]
            found = await self._reader.some(self.topic, self.partition, offsets)
            for key, entry in elsewhere.items():
                record = record_at(entry, key, found.get(entry.offset), self._merging.version)
                if record is not None:
                    records[key] = record
                elif is_strict and entry.offset >= (await self._reader.bounds(self.topic, self.partition))[0]:
                    return None
        return records


class _CatchingUp:
    """
    What a catch-up knows of the keys that it has met: what the view holds at its position, and what was read since.

    What it has written once need not be asked for again as long as the view is still where it was left: a view at a position is
    the fold of the log below it, whoever wrote it.
    """

    def __init__(self, merging: Merging) -> None:
        self._merging = merging
        self.known: dict[bytes, tuple[Record, int]] = {}
        """The merged state of a key, and the offset of the last record that is it."""
        self.held: dict[bytes, None] = {}
        """Read, and not in the view yet."""
        self.behind: dict[bytes, None] = {}
        """Of these, the keys of which an older record lies last, or a stranger's."""
        self.strangers: list[int] = []
        """The offsets of records that are none of ours."""

    def unknown(self, records: Sequence[Stored]) -> list[bytes]:
        """The keys of these records of which nothing is known yet, each once."""
        return [key for key in dict.fromkeys(stored.record.key for stored in records) if key not in self.known]

    def take(self, stored: Stored) -> None:
        """Merge the next record (rule 1)."""
        record, offset = stored.record, stored.offset
        key = record.key
        before = self.known.get(key)
        if not self._merging.is_ours(record):
            self.strangers.append(offset)
            if before is not None:  # else compaction would keep this one of the key, and nothing of ours
                self.held[key] = self.behind[key] = None
            return
        self.held[key] = None
        self.behind.pop(key, None)
        if before is not None:
            merged = self._merging.merge(before[0], record)
            if merged != record:
                self.behind[key] = None
                record, offset = merged, before[1]
            # else: a repetition moves it on too, for of equal records compaction keeps the last
        self.known[key] = record, offset

    def newest(self) -> list[Record]:
        """The merged state of each key of which an older record lies last, or a stranger's."""
        return [self.known[key][0] for key in self.behind]

    def healed(self, offsets: Sequence[int]) -> None:
        """
        The newest were appended at these offsets.

        There they stay: where they came from compaction may take them, and what was joined of two lay nowhere before.
        """
        for key, offset in zip(self.behind, offsets, strict=True):
            self.known[key] = self.known[key][0], offset

    def written(self) -> dict[bytes, tuple[Record, int]]:
        """What the view has not got yet; from now on it has, or all of this is given up."""
        latest = {key: self.known[key] for key in self.held}
        self.held.clear()
        self.behind.clear()
        for key in list(islice(self.known, max(len(self.known) - KNOWN_MAX, 0))):
            del self.known[key]
        return latest


async def bounds_reaching(reader: LogReader, topic: str, partition: int, known: int, *, remedy: str) -> tuple[int, int]:
    """
    The start and end of a log that was known to reach an offset.

    A broker that does not know yet that it leads no more tells an old end. So an end that lies too low is asked for again, for
    longer than such a broker goes on.

    Args:
        remedy: what to do instead of giving the installation another prefix.

    Raises:
        RecreatedTopicError: the log stays too short.
        Unavailable: no answer.
    """
    start, end = await reader.bounds(topic, partition)
    for _ in range(ASK_AGAIN_TIMES):
        if end >= known:
            break
        await asyncio.sleep(ASK_AGAIN_EVERY_S)
        start, end = await reader.bounds(topic, partition)
    if end < known:
        raise RecreatedTopicError(
            f"{topic} partition {partition} ends at {end} each time that it is asked for, but {known} was known of it: the topic"
            " was deleted and made anew, or its leader has lost its end. Where brokers are away, bring them back and start again."
            f" Give the installation a new kafka.topic_prefix, or bring the old topic back; {remedy}."
        )
    return start, end
