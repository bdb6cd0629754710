"""
The orders job: evidence in, events out (design, section 5).

For each batch of a partition's evidence: read what is known of its orders from the view, decide one record after the other,
append what is set aside, append what follows, move the view, and only then count the evidence as done.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from consumers.folding import Fold
from consumers.notes import ORDERS_AWAY_TOO_LONG, note, resume
from consumers.orders_lines import Line
from consumers.partition import Batch, Feed
from consumers.rebuilding import RebuildLines, Rebuilds
from consumers.turns import in_turns_of
from consumers.view import Merging, RecreatedTopicError, View
from notifier import events
from notifier.clock import Clock
from notifier.errors import NewerStateError
from notifier.logs import lines_together
from notifier.outage import Outages
from notifier.ports import Appender, LogReader, ViewStore
from notifier.record import Record, Stored
from notifier.topics import Topics

LOOK_EVERY_S = 60.0


def merge(known: Record | None, new: Record) -> Record:
    """A record replaces what is known of its order if its version is not below it (rule 1)."""
    if known is not None and events.version_of(new) < events.version_of(known):
        return known
    return new


ORDERS = Merging(
    merge=merge, due=lambda _: None, version=events.version_of, may_rest=lambda _: True, is_ours=events.is_ours
)


@dataclass(slots=True)
class OrdersJob:
    """What all partitions of the job share."""

    topics: Topics
    store: ViewStore
    reader: LogReader
    appender: Appender
    outages: Outages
    clock: Clock
    quiet_s: int
    """After this an order that did not change keeps only a pointer in the view. A reload may change it, and nothing else."""
    rebuilds: Rebuilds = field(default_factory=RebuildLines)
    folding: asyncio.Lock = field(default_factory=asyncio.Lock)
    """One partition is folded at a time: what it amounts to is then on its way to Kafka while the next one is folded."""

    def work(self, partition: int) -> OrdersPartition:
        """The work on one partition."""
        return OrdersPartition(self, partition)


class OrdersPartition:
    """One partition of the inbox, folded."""

    waiting = 0
    oldest_at_ms = None

    def __init__(self, job: OrdersJob, partition: int) -> None:
        self._job = job
        self._partition = partition
        self._view = View(
            job.topics.orders,
            partition,
            ORDERS,
            store=job.store,
            reader=job.reader,
            appender=job.appender,
            rebuilds=job.rebuilds,
        )
        self.in_flight = 0

    async def run(self, feed: Feed) -> None:
        """Fold until the partition is taken away; leave alone what a later release has written."""
        try:
            await self._work(feed)
        except NewerStateError:
            await feed.hold(self._job.topics.orders, "newer_state_version")

    async def _work(self, feed: Feed) -> None:
        job, inbox = self._job, self._job.topics.inbox
        upto = await job.outages.ride_out(lambda: self._open(feed))
        feed.begin(inbox, upto)
        loop = asyncio.get_running_loop()
        look_at = loop.time() + LOOK_EVERY_S
        while True:
            batch = await feed.take(max(look_at - loop.time(), 0.0))
            if batch is not None:
                upto = await self._done(batch, feed)
            if loop.time() >= look_at:
                await job.outages.ride_out(self._view.look)
                await job.outages.ride_out(lambda: self._view.rest(job.clock.now_ms() - job.quiet_s * 1000))
                feed.done(inbox, upto, self._note())
                look_at = loop.time() + LOOK_EVERY_S

    async def _open(self, feed: Feed) -> int:
        """Where to begin, with a view that knows what the last committer knew (rules 4 and 9)."""
        job, inbox = self._job, self._job.topics.inbox
        left = await resume(
            feed, job.reader, inbox, self._partition, now=job.clock.now(), too_long=ORDERS_AWAY_TOO_LONG
        )
        await self._refuse_another_inbox(left.start, left.end)
        await self._view.open(left.known_end)
        return left.committed if left.committed is not None and left.is_recent else left.start

    async def _refuse_another_inbox(self, start: int, end: int) -> None:
        """
        Refuse an inbox that was made anew, even one that has grown past its old end.

        The newest event names the evidence that caused it and where that lies; there must lie this and no other.

        Raises:
            RecreatedTopicError: something else lies there.
        """
        job = self._job
        _, orders_end = await job.reader.bounds(job.topics.orders, self._partition)
        newest = await job.reader.one(job.topics.orders, self._partition, orders_end - 1) if orders_end else None
        event = events.cause_of(newest.record) if newest and events.is_ours(newest.record) else None
        if event is None or event.inbox_offset < start:
            return
        cause = await job.reader.one(job.topics.inbox, self._partition, event.inbox_offset)
        named = cause.record.header("evidence_id") if cause else None
        if event.inbox_offset >= end or named != event.evidence_id.encode():
            raise RecreatedTopicError(
                f"{job.topics.inbox} partition {self._partition} has other evidence at {event.inbox_offset} than the orders topic"
                " says: the inbox was deleted and made anew. Give the installation a new kafka.topic_prefix."
            )

    def _note(self) -> str:
        return note(self._view.known_end, self._job.clock.now())

    async def _done(self, batch: Batch, feed: Feed) -> int:
        """Fold a batch; return the offset below which all is durable."""
        self.in_flight = len(batch.records)
        try:
            lines = await self._job.outages.ride_out(lambda: self._fold(batch.records))
        finally:
            self.in_flight = 0
        upto = batch.records[-1].offset + 1
        feed.done(batch.topic, upto, self._note())
        with lines_together():
            for write in lines:
                write()
        return upto

    async def _fold(self, records: list[Stored]) -> list[Line]:
        """
        Append what the records amount to; return what there is to say about it.

        Whatever fails in between, the whole batch is folded again from the view: batch boundaries mean nothing.
        """
        job = self._job
        snapshot = await self._view.read(stored.record.key for stored in records)
        fold = Fold(snapshot.known, self._partition, job.clock)
        async with job.folding:
            await in_turns_of(records, fold.take)
        if fold.aside:
            # set aside before the order changes, so that no crash can leave the order without the quarantine's record
            await job.appender.append(job.topics.quarantine, self._partition, fold.aside)
        if fold.changes:
            await self._view.append(snapshot, fold.changes)
        return fold.lines
