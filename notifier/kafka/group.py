"""A member of a consumer group: what was assigned, what was fetched, what is committed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, OffsetAndMetadata, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from notifier.errors import Unavailable
from notifier.kafka.access import Access
from notifier.kafka.ending import ended, started
from notifier.kafka.reader import stored
from notifier.record import Stored

COMMIT_TIMEOUT_S = 5.0
COORDINATOR_S = 10.0
"""How long a cluster may take to make its topic of offsets before we say that something is wrong with it."""
COORDINATOR_RETRY_S = 0.1

FETCH_PARTITION_BYTES_MAX = 1024 * 1024
FETCH_BYTES_MAX = 8 * 1024 * 1024
"""Of one answer. A backlog that is fetched faster than it is worked on falls out of the processor's caches meanwhile."""


class Source(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


class Commit(NamedTuple):
    """The first offset that is not done, and what its committer knew."""

    offset: int
    metadata: str


class Bounds(NamedTuple):
    """The offset of a log's first record, and the one after its last."""

    start: int
    end: int


class Group:
    """
    A member of one consumer group, over one or more topics whose equal partition numbers belong together.

    Args:
        on_assigned: called with what is ours now; nothing of it is fetched before `begin`.
        on_revoked: called before what was ours may be somebody else's; must end within two seconds.
    """

    def __init__(
        self,
        access: Access,
        *,
        group: str,
        topics: Sequence[str],
        session_timeout_s: float,
        on_assigned: Callable[[Collection[Source]], Awaitable[None]],
        on_revoked: Callable[[Collection[Source]], Awaitable[None]],
    ) -> None:
        self._access = access
        self._group = group
        self._topics = topics
        self._listener = _Listener(on_assigned, on_revoked)
        self._consumer = AIOKafkaConsumer(
            **access.options,
            group_id=group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            check_crcs=True,
            session_timeout_ms=round(session_timeout_s * 1000),
            heartbeat_interval_ms=min(1000, round(session_timeout_s * 1000) // 3),
            rebalance_timeout_ms=30_000,
            # the loop polls only where there is room; a hung process shows in its heartbeats, which share its event loop
            max_poll_interval_ms=86_400_000,
            fetch_max_wait_ms=50,
            max_partition_fetch_bytes=FETCH_PARTITION_BYTES_MAX,
            fetch_max_bytes=FETCH_BYTES_MAX,
            # equal partition numbers of several topics stay together
            partition_assignment_strategy=(RangePartitionAssignor,),
        )
        self._admin: AIOKafkaAdminClient | None = None
        self._starting = asyncio.Lock()

    async def start(self) -> None:
        """
        Join the group.

        Raises:
            Unavailable: no broker answers.
        """
        self._listener.consumer = self._consumer
        try:
            await started(self._consumer.start(), self._consumer.stop)
            await self._find_coordinator()
        except KafkaError as error:
            raise Unavailable("kafka", type(error).__name__) from error
        self._consumer.subscribe(topics=list(self._topics), listener=self._listener)

    async def _find_coordinator(self) -> None:
        """
        Wait until the group has a coordinator; without it nothing can be joined, committed or asked about commits.

        A cluster makes its topic of offsets when the first group ever asks, and a restarted broker reads it first: a second or
        two in which aiokafka would complain ten times a second. What lasts longer is trouble, and passes through.
        """
        admin = await self._started_admin()
        deadline = asyncio.get_running_loop().time() + COORDINATOR_S
        while True:
            try:
                await admin.find_coordinator(self._group)
            except KafkaError as error:
                if not error.retriable or asyncio.get_running_loop().time() > deadline:
                    raise
                await asyncio.sleep(COORDINATOR_RETRY_S)
            else:
                return

    async def stop(self) -> None:
        """Leave the group at once where a broker answers, and close all connections."""
        await ended(self._consumer.stop())
        if self._admin is not None:
            await ended(self._admin.close())

    async def committed(self, source: Source) -> Commit | None:
        """
        What was last committed for a partition, with its metadata; None where nothing was, or Kafka forgot it.

        aiokafka's `committed()` drops the metadata, so the admin client is asked.

        Raises:
            Unavailable: the coordinator does not answer, or is still loading.
        """
        tp = TopicPartition(*source)
        try:
            admin = await self._started_admin()
            answer = await admin.list_consumer_group_offsets(self._group, partitions=[tp])
        except KafkaError as error:
            raise Unavailable("kafka", type(error).__name__) from error
        if tp not in answer:
            raise Unavailable("kafka", "the coordinator has not loaded its offsets yet")
        found = answer[tp]
        return None if found.offset < 0 else Commit(found.offset, found.metadata or "")

    async def _started_admin(self) -> AIOKafkaAdminClient:
        async with self._starting:  # all partitions ask at once when they are assigned
            if self._admin is None:
                admin = AIOKafkaAdminClient(**self._access.options)
                await started(admin.start(), admin.close)
                self._admin = admin
            return self._admin

    def begin(self, source: Source, offset: int) -> None:
        """Fetch from this offset on."""
        tp = TopicPartition(*source)
        self._consumer.seek(tp, offset)
        self._consumer.resume(tp)

    async def fetch(
        self, sources: Sequence[Source], *, records_max: int, timeout_ms: int
    ) -> Mapping[Source, list[Stored]]:
        """
        Some records of these partitions; nothing if none comes in time. `sources` is never empty.

        During a rebalance it returns when that has ended.

        Raises:
            Unavailable: a broker refuses, or the group's coordinator does.
            KafkaError: the client is broken for good; so is then `failure`.
        """
        assert sources, "aiokafka takes an empty list for all partitions"
        tps = [TopicPartition(*source) for source in sources]
        with self._temporary("fetch"):
            fetched = await self._consumer.getmany(*tps, timeout_ms=timeout_ms, max_records=records_max)
        return {Source(tp.topic, tp.partition): [stored(message) for message in found] for tp, found in fetched.items()}

    def hear(self) -> None:
        """
        Take what the library complains of about our membership: until somebody does, it goes no further. `fetch` takes it, too.

        Raises:
            Unavailable: the coordinator refuses something; the library tries again now.
            KafkaError: the client is broken for good; so is then `failure`.
        """
        with self._temporary("group"):
            self._consumer._coordinator.check_errors()  # no public way: aiokafka tells only who fetches, and we may have no room

    async def commit(self, offsets: Mapping[Source, Commit], *, within_s: float = COMMIT_TIMEOUT_S) -> bool:
        """
        Commit; False where these partitions are not ours any more.

        Raises:
            Unavailable: no answer in time.
        """
        try:
            async with asyncio.timeout(within_s):
                await self._consumer.commit(
                    {TopicPartition(*source): OffsetAndMetadata(*commit) for source, commit in offsets.items()}
                )
        except (CommitFailedError, IllegalStateError):
            return False
        except (KafkaError, TimeoutError) as error:
            raise Unavailable("kafka", f"commit: {type(error).__name__}") from error
        return True

    async def bounds(self) -> Mapping[Source, Bounds]:
        """
        The start and the end of each partition that is ours, as the cluster says now.

        Raises:
            Unavailable: no answer in time.
        """
        assigned = list(self._consumer.assignment())
        try:
            async with asyncio.timeout(COMMIT_TIMEOUT_S):
                if not assigned:
                    await (await self._started_admin()).find_coordinator(self._group)
                    return {}
                starts, ends = await asyncio.gather(
                    self._consumer.beginning_offsets(assigned), self._consumer.end_offsets(assigned)
                )
        except (KafkaError, IllegalStateError, TimeoutError) as error:
            raise Unavailable("kafka", type(error).__name__) from error
        return {Source(tp.topic, tp.partition): Bounds(starts[tp], ends[tp]) for tp in assigned}

    def end_of(self, source: Source) -> int | None:
        """The partition's end as of the last fetch."""
        end: int | None = self._consumer.highwater(TopicPartition(*source))
        return end

    @property
    def is_member(self) -> bool:
        """Has the group given us our share, be it none?"""
        return self._listener.is_member

    @property
    def failure(self) -> BaseException | None:
        """
        What cannot be mended in place: it went wrong in a callback, or ended a background task of the library.

        aiokafka only logs it, and would go on without a word; so the loop has to ask.
        """
        if self._listener.failure is not None:
            return self._listener.failure
        coordinator, fetcher = (
            self._consumer._coordinator,
            self._consumer._fetcher,
        )  # there is no public way to look at them
        tasks = [fetcher._fetch_task] if fetcher is not None else []
        if coordinator is not None:
            tasks += [coordinator._coordination_task, coordinator._heartbeat_task]
        for task in tasks:
            if task is not None and task.done() and not task.cancelled() and task.exception() is not None:
                error: BaseException = task.exception()
                return error
        return None

    @contextmanager
    def _temporary(self, doing: str) -> Iterator[None]:
        """What time will mend is Unavailable; what has broken the client stays what it is."""
        try:
            yield
        except KafkaError as error:
            if self.failure is not None:
                raise
            raise Unavailable("kafka", f"{doing}: {type(error).__name__}") from error


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka ships no types
    """Pauses what is assigned before anything else: records would arrive before the setting up has ended."""

    def __init__(
        self,
        on_assigned: Callable[[Collection[Source]], Awaitable[None]],
        on_revoked: Callable[[Collection[Source]], Awaitable[None]],
    ) -> None:
        self._on_assigned = on_assigned
        self._on_revoked = on_revoked
        self.consumer: AIOKafkaConsumer | None = None
        self.is_member = False
        self.failure: BaseException | None = None

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """aiokafka: the rebalance has ended."""
        assert self.consumer is not None
        self.consumer.pause(*assigned)
        self.is_member = True
        await self._guarded(self._on_assigned, assigned)

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """aiokafka: a rebalance begins."""
        self.is_member = False
        await self._guarded(self._on_revoked, revoked)

    async def _guarded(
        self, callback: Callable[[Collection[Source]], Awaitable[None]], partitions: Collection[TopicPartition]
    ) -> None:
        try:
            await callback([Source(tp.topic, tp.partition) for tp in partitions])
        except Exception as error:
            self.failure = error
            raise
