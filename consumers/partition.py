"""
The one loop: a group's member fetches, each partition is worked on in its order by a task of its own, what is done is committed.

Jobs differ in what they do with a partition (`Work`); how partitions come and go, and that a slow one holds no other up, is here.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple, Protocol

from consumers.watchdog import STUCK_LOOKS, Watchdog
from notifier import metrics
from notifier.clock import Clock
from notifier.errors import Unavailable
from notifier.kafka.access import Access
from notifier.kafka.group import COMMIT_TIMEOUT_S, Bounds, Commit, Group, Source
from notifier.logs import get_logger
from notifier.outage import Outages
from notifier.record import Stored

log = get_logger()

POLL_RECORDS_MAX = 2_000
POLL_TIMEOUT_MS = 50
BATCHES_WAITING_MAX = 2
"""Per partition: one is worked on, the next is at hand."""

COMMIT_EVERY_S = 0.5
"""A restart repeats what was done since; repeating is harmless, a commit for each batch is not free."""

DRAIN_S = 1.6
"""How long a partition that is taken away may finish what it has begun. Then it is cut off: what it began may be repeated."""

REVOKED_COMMIT_S = 0.4
"""What is left for its commit: a callback of a rebalance that takes more than two seconds holds up the whole group."""

STOP_FETCH_S = 0.2
"""How long the end waits for a fetch: more than `POLL_TIMEOUT_MS`, but no rebalance."""

REPORT_EVERY_S = 30.0
PING_EVERY_S = 5.0
NOTHING_TO_FETCH_S = 1.0


class FeedClosed(Exception):
    """The partition is not ours any more, or the process stops: finish."""


class StuckError(Exception):
    """Something has work and makes no progress though all that it needs answers: only a new process mends that."""

    def __init__(self) -> None:
        super().__init__("no progress is made where there is work, and nothing is away: a new process is needed")


class Batch(NamedTuple):
    """Records of one topic of one partition, in its order; never empty."""

    topic: str
    records: list[Stored]


class Work(Protocol):
    """What a job does with one partition that it was given."""

    async def run(self, feed: Feed) -> None:
        """Work until the feed is closed (`FeedClosed` may pass through)."""
        ...

    @property
    def waiting(self) -> int:
        """What waits for a later time, in this partition."""
        ...

    @property
    def in_flight(self) -> int:
        """What is being worked on beside the feed's batches."""
        ...

    @property
    def oldest_at_ms(self) -> int | None:
        """When the oldest of what is worked on beside the feed's batches was appended."""
        ...


class Member(Protocol):
    """What a feed needs of its group's member."""

    async def committed(self, source: Source) -> Commit | None:
        """What was last committed for a partition."""
        ...

    def begin(self, source: Source, offset: int) -> None:
        """Fetch from this offset on."""
        ...


class Feed:
    """One partition's records, and what is done of them. It lives from the partition's assignment to its revocation."""

    def __init__(self, partition: int, group: Member, is_room: asyncio.Event) -> None:
        self.partition = partition
        self._group = group
        self._is_room = is_room
        self._batches: deque[Batch] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._closed = asyncio.Event()
        self._topics: set[str] = set()
        self.uncommitted: dict[Source, Commit] = {}
        self.done_upto: dict[Source, int] = {}
        self.is_held = False
        """Is it left alone on purpose?"""
        self._taken_at_ms: int | None = None

    async def committed(self, topic: str) -> Commit | None:
        """What was last committed of a topic's partition."""
        return await self._group.committed(Source(topic, self.partition))

    def begin(self, topic: str, offset: int) -> None:
        """Let records come, from this offset on."""
        if self._closed.is_set():
            raise FeedClosed
        self._topics.add(topic)
        self.done_upto[Source(topic, self.partition)] = offset
        self._group.begin(Source(topic, self.partition), offset)
        self._is_room.set()

    async def take(self, timeout_s: float) -> Batch | None:
        """
        The next batch; None if none comes in time.

        Raises:
            FeedClosed: there will be no more.
        """
        self._taken_at_ms = None
        if not self._batches and not self._closed.is_set():
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._waiter
            except TimeoutError:
                return None
            finally:
                self._waiter = None
        if self._closed.is_set():
            raise FeedClosed
        batch = self._batches.popleft()
        self._taken_at_ms = batch.records[0].appended_at_ms
        self._is_room.set()
        return batch

    def done(self, topic: str, upto: int, metadata: str) -> None:
        """Everything below `upto` is durable: it may be committed, with what the job wants to find beside it."""
        source = Source(topic, self.partition)
        self.uncommitted[source] = Commit(upto, metadata)
        self.done_upto[source] = upto

    async def closed(self) -> None:
        """Return when the partition is not ours any more."""
        await self._closed.wait()

    async def hold(self, topic: str, reason: str) -> None:
        """
        Leave the partition alone, uncommitted, and say why; return when it is not ours any more.

        Args:
            topic: which of its logs cannot be gone on with.
            reason: as the line `partition.stuck` has it.
        """
        self.is_held = True
        log.error("partition.stuck", topic=topic, partition=self.partition, reason=reason)
        await self.closed()

    # The loop's side

    @property
    def wanted(self) -> list[Source]:
        """What may be fetched for it now."""
        if self._closed.is_set() or len(self._batches) >= BATCHES_WAITING_MAX:
            return []
        return [Source(topic, self.partition) for topic in self._topics]

    @property
    def oldest_at_ms(self) -> int | None:
        """When the oldest record that is worked on or waits here was appended."""
        if self._taken_at_ms is not None:
            return self._taken_at_ms
        return self._batches[0].records[0].appended_at_ms if self._batches else None

    @property
    def records_waiting(self) -> int:
        """Records that were fetched and not yet taken."""
        return sum(len(batch.records) for batch in self._batches)

    def put(self, batch: Batch) -> None:
        """Hand a batch over."""
        self._batches.append(batch)
        self._wake()

    def close(self) -> None:
        """There will be no more."""
        self._closed.set()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Stopping(Protocol):
    """Says when it is time to end."""

    async def wait(self) -> None:
        """Return when it is."""
        ...


class PartitionLoop:
    """
    A job's part in its group.

    Args:
        job: `orders` or `fanout`, for logs and metrics.
        topics: what the job reads; equal partition numbers of them are worked on together.
        work: makes the work for a partition that is given to us.
        check: raises where the job must not begin, once what it asks answers.
        ping: asks beside Kafka whatever else the work needs, so that an outage is noticed while there is nothing to do.
        records_read: how many records of a partition's logs were read beside the group, in all. A view that is read from its log
            takes as long as it takes.
    """

    def __init__(
        self,
        access: Access,
        *,
        job: str,
        group: str,
        topics: Collection[str],
        session_timeout_s: float,
        work: Callable[[int], Work],
        check: Callable[[], Awaitable[None]],
        outages: Outages,
        clock: Clock,
        ping: Callable[[], Awaitable[None]] | None = None,
        records_read: Callable[[int], int] = lambda _: 0,
    ) -> None:
        self._access = access
        self._job = job
        self._group_name = group
        self._topics = list(topics)
        self._session_timeout_s = session_timeout_s
        self._work = work
        self._check = check
        self._outages = outages
        self._clock = clock
        self._ping = ping
        self._records_read = records_read
        self._watchdog = Watchdog[Source | None](STUCK_LOOKS)
        self._bounds: Mapping[Source, Bounds] = {}
        self._feeds: dict[int, Feed] = {}
        self._works: dict[int, Work] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._is_room = asyncio.Event()
        self._running = asyncio.TaskGroup()
        self._group: Group | None = None
        self._is_leaving = False
        self._is_stuck = False

    @property
    def is_live(self) -> bool:
        """Not where only a new process helps."""
        return not self._is_stuck and (self._group is None or self._group.failure is None)

    @property
    def is_ready(self) -> bool:
        """A member of its group, with partitions or without."""
        return self._group is not None and self._group.is_member

    async def run(self, stop: Stopping) -> None:
        """Work until it is time to stop; then drain, commit and leave the group at once."""
        async with self._running as tasks:
            stopped = tasks.create_task(stop.wait())
            helpers = [stopped, tasks.create_task(self._report_regularly())]
            try:
                starting = tasks.create_task(self._outages.ride_out(self._start))
                await asyncio.wait({stopped, starting}, return_when=asyncio.FIRST_COMPLETED)
                if self._group is not None:
                    helpers.append(tasks.create_task(self._commit_regularly()))
                    helpers.append(tasks.create_task(self._watch(self._group)))
                    if self._ping is not None:
                        helpers.append(tasks.create_task(self._ping_regularly(self._ping)))
                    await self._poll(self._group, stopped)
                    self._is_leaving = True
                    await self._hand_back(COMMIT_TIMEOUT_S)
            finally:
                self._is_leaving = True
                for task in (*helpers, starting, *self._tasks.values()):
                    task.cancel()
                if self._group is not None:
                    await self._group.stop()

    async def _start(self) -> None:
        await self._check()
        group = Group(
            self._access,
            group=self._group_name,
            topics=self._topics,
            session_timeout_s=self._session_timeout_s,
            on_assigned=self._on_assigned,
            on_revoked=self._on_revoked,
        )
        try:
            await group.start()
        except BaseException:
            await group.stop()
            raise
        self._group = group

    async def _poll(self, group: Group, stopped: asyncio.Task[None]) -> None:
        while not stopped.done():
            if group.failure is not None:
                raise group.failure
            self._is_room.clear()
            wanted = [source for feed in self._feeds.values() for source in feed.wanted]
            work = partial(self._fetch, group, wanted) if wanted else partial(self._until_room, group)
            polling = self._running.create_task(self._outages.ride_out(work))
            await asyncio.wait({polling, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not polling.done():
                # it waits for a rebalance or for Kafka; the library may be left broken, we fetch no more
                await asyncio.wait({polling}, timeout=STOP_FETCH_S if wanted else 0.0)
                polling.cancel()

    async def _fetch(self, group: Group, wanted: Sequence[Source]) -> None:
        fetched = await group.fetch(wanted, records_max=POLL_RECORDS_MAX, timeout_ms=POLL_TIMEOUT_MS)
        for source, records in fetched.items():
            feed = self._feeds.get(source.partition)
            if feed is not None and records:
                feed.put(Batch(source.topic, records))

    async def _until_room(self, group: Group) -> None:
        group.hear()
        with suppress(TimeoutError):
            async with asyncio.timeout(NOTHING_TO_FETCH_S):
                await self._is_room.wait()

    async def _on_assigned(self, sources: Collection[Source]) -> None:
        assert self._group is not None
        if self._is_leaving:
            return  # we had asked to join before we were told to end: what began now, nobody would end
        for partition in sorted({source.partition for source in sources}):
            feed = Feed(partition, self._group, self._is_room)
            work = self._work(partition)
            self._feeds[partition], self._works[partition] = feed, work
            self._tasks[partition] = self._running.create_task(_until_closed(work, feed))
        if sources:
            log.info("partitions.assigned", topic=self._topics[0], partitions=sorted(self._feeds))

    async def _on_revoked(self, sources: Collection[Source]) -> None:
        self._watchdog.forgive()
        if sources:
            await self._hand_back(REVOKED_COMMIT_S)

    async def _hand_back(self, commit_s: float) -> None:
        """Let each partition finish what it has begun, commit what is done, forget the rest."""
        feeds, tasks = list(self._feeds.values()), list(self._tasks.values())
        for feed in feeds:
            feed.close()
        if tasks:
            _, cut_off = await asyncio.wait(tasks, timeout=DRAIN_S)
            for task in cut_off:
                task.cancel()
        if self._feeds:
            try:
                await self._commit(commit_s)
            except Unavailable as error:
                self._outages.begin(error)  # not committed: it is repeated
            log.info("partitions.revoked", topic=self._topics[0], partitions=sorted(self._feeds))
        self._feeds.clear()
        self._works.clear()
        self._tasks.clear()

    async def _commit(self, within_s: float = COMMIT_TIMEOUT_S) -> None:
        assert self._group is not None
        feeds = list(self._feeds.values())
        offsets: dict[Source, Commit] = {}
        for feed in feeds:
            offsets |= feed.uncommitted
        if not offsets:
            return
        is_ours = await self._group.commit(offsets, within_s=within_s)
        for feed in feeds if is_ours else ():
            _forget(feed.uncommitted, offsets)

    async def _commit_regularly(self) -> None:
        while True:
            await asyncio.sleep(COMMIT_EVERY_S)
            await self._outages.ride_out(self._commit)

    async def _ping_regularly(self, ping: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(PING_EVERY_S)
            await self._outages.ride_out(ping)

    async def _watch(self, group: Group) -> None:
        """
        Ask Kafka regularly how far its logs go: so that an outage is noticed while there is nothing to do, and what is stuck.

        Raises:
            StuckError: something does not move though all that it needs answers.
        """
        while True:
            await asyncio.sleep(PING_EVERY_S)
            self._bounds = await self._outages.ride_out(group.bounds)
            self._outages.end("kafka")  # whoever noticed that it was away
            if self._outages.current:
                self._watchdog.forgive()
                continue
            stuck = self._watchdog.look(self._owing(group))
            for source in stuck:
                topic, partition = source or (self._topics[0], None)
                reason = "no_progress" if source else "no_membership"
                log.error("partition.stuck", topic=topic, partition=partition, reason=reason)
            if stuck:
                self._is_stuck = True
                raise StuckError

    def _owing(self, group: Group) -> Mapping[Source | None, object]:
        """What has something left to do, and how far it is. None stands for the membership in the group."""
        if not group.is_member:
            return {None: "not a member"}
        owing: dict[Source | None, object] = {}
        for feed in self._feeds.values():
            if feed.is_held:
                continue
            for topic in self._topics:
                source = Source(topic, feed.partition)
                done = feed.done_upto.get(source)
                if done is None or source in feed.uncommitted or self._lag_of(source, done):
                    owing[source] = done, self._records_read(feed.partition)
        return owing

    def _lag_of(self, source: Source, done: int) -> int:
        """How many records lie there that are not done. What its log has deleted meanwhile is no part of it."""
        bounds = self._bounds.get(source, Bounds(0, 0))
        fetched = self._group.end_of(source) if self._group else None
        return max(max(bounds.end, fetched or 0) - max(done, bounds.start), 0)

    async def _report_regularly(self) -> None:
        """`job.progress`: its silence is the alarm, so it comes whatever the job does."""
        while True:
            await asyncio.sleep(REPORT_EVERY_S)
            self._report()

    def _report(self) -> None:
        lag, oldest_age_s = self._lag(), self._oldest_age_s()
        in_flight = sum(feed.records_waiting for feed in self._feeds.values()) + sum(
            work.in_flight for work in self._works.values()
        )
        waiting = sum(work.waiting for work in self._works.values())
        metrics.JOB_REPORTED.of(self._job).set(self._clock.now_ms() / 1000)
        metrics.show(metrics.JOB_LAG, lag, self._job)
        metrics.show(metrics.JOB_OLDEST_AGE_SECONDS, oldest_age_s, self._job)
        metrics.JOB_IN_FLIGHT.of(self._job).set(in_flight)
        metrics.JOB_WAITING.of(self._job).set(waiting)
        log.info(
            "job.progress",
            lag=lag,
            oldest_age_s=oldest_age_s,
            in_flight=in_flight,
            waiting=waiting,
            partitions=len(self._feeds),
            # of these no lag is known: who watches must not take that for none
            held=sum(feed.is_held or not feed.done_upto for feed in self._feeds.values()),
            away=",".join(sorted(self._outages.current)) or None,
        )

    def _lag(self) -> int | None:
        """
        Records of our partitions that are not done. None where that is not known: while Kafka is away or has not told us which
        partitions are ours, and while not one of them has begun. The last number that was known would look as if it still held.
        """
        if not self.is_ready or "kafka" in self._outages.current:
            return None
        lags = [self._lag_of(source, done) for feed in self._feeds.values() for source, done in feed.done_upto.items()]
        return sum(lags) if lags or not self._feeds else None

    def _oldest_age_s(self) -> float | None:
        """
        How old the oldest record is that was fetched and is not done: it goes on growing, whatever is away. None where none was
        fetched, and nobody knows whether there is one.
        """
        ages = [feed.oldest_at_ms for feed in self._feeds.values()] + [
            work.oldest_at_ms for work in self._works.values()
        ]
        oldest = min((at_ms for at_ms in ages if at_ms is not None), default=None)
        if oldest is None:
            return None if self._lag() is None else 0.0
        return round(max(self._clock.now_ms() - oldest, 0) / 1000, 1)


async def _until_closed(work: Work, feed: Feed) -> None:
    try:
        await work.run(feed)
    except FeedClosed:
        return


def _forget(uncommitted: dict[Source, Commit], committed: Mapping[Source, Commit]) -> None:
    """Take out what was committed, unless more was done meanwhile."""
    for source, commit in committed.items():
        if uncommitted.get(source) == commit:
            del uncommitted[source]
