"""The one loop: what is done is committed and nothing else, and no partition waits for another."""

from __future__ import annotations

import asyncio
import io
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from consumers import partition as partition_module
from consumers.partition import BATCHES_WAITING_MAX, Batch, Feed, FeedClosed, PartitionLoop, StuckError
from consumers.watchdog import STUCK_LOOKS
from notifier import logs
from notifier.app import Stop
from notifier.errors import Unavailable
from notifier.kafka.access import Access
from notifier.kafka.group import Bounds, Commit, Source
from notifier.metrics import text
from notifier.outage import Outages
from notifier.record import Record, Stored
from tests.owners import FakeClock, spin

TOPIC = "t.inbox.v1"
WITHIN_S = 5.0


def source(partition: int) -> Source:
    return Source(TOPIC, partition)


def batch(*offsets: int) -> Batch:
    return Batch(TOPIC, [stored(offset) for offset in offsets])


def stored(offset: int) -> Stored:
    return Stored(Record(b"shop-hkd/T1", b"%d" % offset), offset, 1_000 + offset)


# --- the feed of one partition ---


class Member:
    """A group's member as a feed sees it."""

    def __init__(self) -> None:
        self.begun: list[tuple[Source, int]] = []

    async def committed(self, source: Source) -> Commit | None:
        """Nothing was."""
        return None

    def begin(self, source: Source, offset: int) -> None:
        """As `consumers.partition.Member`."""
        self.begun.append((source, offset))


@pytest.fixture
async def feed() -> Feed:
    return Feed(0, Member(), asyncio.Event())


async def test_nothing_is_wanted_before_it_was_said_where_to_begin(feed: Feed) -> None:
    """Records would arrive before the view is open."""
    assert feed.wanted == []

    feed.begin(TOPIC, 7)

    assert feed.wanted == [source(0)]
    assert feed.uncommitted == {}, "where it begins is no commit"


async def test_batches_come_in_their_order_and_only_as_many_as_have_room(feed: Feed) -> None:
    """What a slow partition has not taken is bounded; the rest stays in Kafka."""
    feed.begin(TOPIC, 0)
    for offset in range(BATCHES_WAITING_MAX):
        assert feed.wanted
        feed.put(batch(offset))
    assert feed.wanted == []

    assert await feed.take(WITHIN_S) == batch(0)

    assert feed.wanted == [source(0)]
    assert await feed.take(WITHIN_S) == batch(1)
    assert await feed.take(0.0) is None


async def test_who_waits_for_a_batch_is_woken_by_it(feed: Feed) -> None:
    feed.begin(TOPIC, 0)
    async with asyncio.timeout(WITHIN_S), asyncio.TaskGroup() as tasks:
        taking = tasks.create_task(feed.take(WITHIN_S))
        await asyncio.sleep(0)
        feed.put(batch(0))

    assert taking.result() == batch(0)


async def test_a_closed_feed_gives_nothing_more_not_even_what_it_had(feed: Feed) -> None:
    """What was fetched and not begun is the next owner's."""
    feed.begin(TOPIC, 0)
    feed.put(batch(0))
    feed.close()

    with pytest.raises(FeedClosed):
        await feed.take(WITHIN_S)
    with pytest.raises(FeedClosed):
        feed.begin(TOPIC, 1)
    assert feed.wanted == []


async def test_who_waits_for_a_batch_hears_that_the_feed_closes(feed: Feed) -> None:
    feed.begin(TOPIC, 0)
    async with asyncio.timeout(WITHIN_S), asyncio.TaskGroup() as tasks:
        taking = tasks.create_task(ending_of(feed.take(WITHIN_S)))
        closing = tasks.create_task(feed.closed())
        await asyncio.sleep(0)
        feed.close()

    assert isinstance(taking.result(), FeedClosed)
    assert closing.done()


async def test_what_was_taken_is_not_done_until_it_is_said(feed: Feed) -> None:
    feed.begin(TOPIC, 0)
    feed.put(batch(0, 1))
    await feed.take(WITHIN_S)
    assert feed.uncommitted == {}

    feed.done(TOPIC, 2, "known")

    assert feed.uncommitted == {source(0): Commit(2, "known")}


# --- the loop ---


class Group:
    """A cluster of one member: what lies in each partition, what is ours, and what was committed."""

    def __init__(self, cluster: Cluster, options: dict[str, Any]) -> None:
        self.cluster = cluster
        self.assign: Callable[[Collection[Source]], Coroutine[Any, Any, None]] = options["on_assigned"]
        self.revoke: Callable[[Collection[Source]], Coroutine[Any, Any, None]] = options["on_revoked"]
        self.failure: BaseException | None = None
        self.is_member = False
        self.is_stopped = False

    async def start(self) -> None:
        """Join; partitions come by `assign`."""
        if self.cluster.away:
            raise Unavailable("kafka", "KafkaConnectionError")
        self.is_member = True

    async def stop(self) -> None:
        """Leave."""
        self.is_stopped = True
        self.cluster.commits_at_the_end = dict(self.cluster.commits)

    async def committed(self, source: Source) -> Commit | None:
        """As `consumers.partition.Member`."""
        return self.cluster.commits.get(source)

    def begin(self, source: Source, offset: int) -> None:
        """As `consumers.partition.Member`."""
        self.cluster.at[source] = offset

    async def fetch(
        self, sources: Sequence[Source], *, records_max: int, timeout_ms: int
    ) -> Mapping[Source, list[Stored]]:
        """One record of each, so that there are many batches."""
        await asyncio.sleep(0)
        found: dict[Source, list[Stored]] = {}
        for source in sources:
            at = max(self.cluster.at[source], self.cluster.starts.get(source, 0))
            if at < self.cluster.ends.get(source, 0):
                found[source] = [stored(at)]
                self.cluster.at[source] = at + 1
        return found

    async def commit(self, offsets: Mapping[Source, Commit], *, within_s: float) -> bool:
        """Commit, or what a test has asked for."""
        await asyncio.sleep(0)
        self.cluster.tried.append(dict(offsets))
        self.cluster.commit_waits.append(within_s)
        outcome = self.cluster.commit_outcomes.popleft() if self.cluster.commit_outcomes else True
        if isinstance(outcome, Exception):
            raise outcome
        if outcome:
            self.cluster.commits |= offsets
        self.cluster.committed.set()
        return outcome

    async def bounds(self) -> Mapping[Source, Bounds]:
        """As the cluster has them."""
        await asyncio.sleep(0)
        self.cluster.looks += 1
        return {source: Bounds(self.cluster.starts.get(source, 0), end) for source, end in self.cluster.ends.items()}

    def hear(self) -> None:
        """Nothing is complained of."""

    def end_of(self, source: Source) -> int | None:
        """As the last fetch said."""
        return self.cluster.ends.get(source)


@dataclass
class Cluster:
    """What outlives a member, and what goes wrong."""

    ends: dict[Source, int] = field(default_factory=dict)
    starts: dict[Source, int] = field(default_factory=dict)
    looks: int = 0
    """How often it was asked how far its logs go."""
    at: dict[Source, int] = field(default_factory=dict)
    commits: dict[Source, Commit] = field(default_factory=dict)
    commits_at_the_end: dict[Source, Commit] | None = None
    tried: list[dict[Source, Commit]] = field(default_factory=list)
    commit_waits: list[float] = field(default_factory=list)
    """How long each commit might have taken."""
    commit_outcomes: deque[bool | Exception] = field(default_factory=deque)
    committed: asyncio.Event = field(default_factory=asyncio.Event)
    away: bool = True
    """Until a test gives partitions."""
    groups: list[Group] = field(default_factory=list)

    def join(self, _: Access, **options: Any) -> Group:
        """As the constructor of `Group`."""
        self.groups.append(Group(self, options))
        return self.groups[-1]


@dataclass
class Work:
    """Takes batches and says that they are done, as far as its gate lets it."""

    job: Job
    partition: int
    taken: list[int] = field(default_factory=list)
    begun: int = 0
    waiting: int = 0
    in_flight: int = 0
    oldest_at_ms: int | None = None
    was_cut_off: bool = False
    has_ended: bool = False

    async def run(self, feed: Feed) -> None:
        """As `consumers.partition.Work`."""
        feed.begin(TOPIC, 0)
        try:
            while True:
                taken = await feed.take(WITHIN_S)
                if taken is None:
                    continue
                self.begun += 1
                if self.partition in self.job.faults:
                    raise self.job.faults[self.partition]
                if self.partition in self.job.held:
                    await feed.hold(TOPIC, "newer_state_version")
                await self.job.gate(self.partition).wait()
                offset = taken.records[-1].offset
                self.taken.append(offset)
                feed.done(TOPIC, offset + 1, f"after {offset}")
        except asyncio.CancelledError:
            self.was_cut_off = True
            raise
        finally:
            self.has_ended = True


@dataclass
class Job:
    """The loop under test, with its works and the cluster."""

    cluster: Cluster = field(default_factory=Cluster)
    works: dict[int, Work] = field(default_factory=dict)
    gates: dict[int, asyncio.Event] = field(default_factory=dict)
    faults: dict[int, Exception] = field(default_factory=dict)
    stop: Stop = field(default_factory=Stop)
    outages: Outages = field(default_factory=lambda: Outages(sleep=lambda _: asyncio.sleep(0)))
    reads: int = 0
    """Records that were read of a log beside the group."""
    held: set[int] = field(default_factory=set)
    """Partitions that are left alone on purpose."""
    loop: PartitionLoop | None = None
    ended: asyncio.Task[None] | None = None

    def gate(self, partition: int) -> asyncio.Event:
        """Shut if a test has put it there."""
        is_open = asyncio.Event()
        is_open.set()
        return self.gates.get(partition, is_open)

    def work(self, partition: int) -> Work:
        """Work for a partition that is given to us."""
        self.works[partition] = Work(self, partition)
        return self.works[partition]

    @property
    def group(self) -> Group:
        """The member."""
        return self.cluster.groups[-1]

    async def give(self, *partitions: int, records: int) -> None:
        """Let these be ours, with so many records in each."""
        self.cluster.away = False
        await spin(lambda: bool(self.cluster.groups) and self.group.is_member)
        self.cluster.ends |= {source(partition): records for partition in partitions}
        await self.group.assign([source(partition) for partition in partitions])

    async def until_taken(self, partition: int, count: int) -> None:
        """Return once so many records of a partition were worked on."""
        await spin(lambda: len(self.works[partition].taken) == count)


@pytest.fixture
async def job(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Job]:
    """A loop that runs until the test ends."""
    monkeypatch.setattr(partition_module, "COMMIT_EVERY_S", 0.0)
    made = Job()
    monkeypatch.setattr(partition_module, "Group", made.cluster.join)

    async def nothing_to_check() -> None:
        return None

    loop = PartitionLoop(
        Access({}),
        job="orders",
        group="t.orders",
        topics=[TOPIC],
        session_timeout_s=10.0,
        work=made.work,
        check=nothing_to_check,
        outages=made.outages,
        clock=FakeClock(),
        records_read=lambda _: made.reads,
    )
    made.loop = loop
    made.ended = asyncio.get_running_loop().create_task(loop.run(made.stop))
    yield made
    made.stop.say("the end of the test")
    for gate in made.gates.values():
        gate.set()
    await asyncio.wait({made.ended}, timeout=WITHIN_S)
    assert made.ended.done()


async def stopped(job: Job) -> BaseException | None:
    """Tell the loop to end, and say how it did."""
    job.stop.say("SIGTERM")
    return await ended(job)


async def ended(job: Job) -> BaseException | None:
    """How the loop ended."""
    assert job.ended is not None
    async with asyncio.timeout(WITHIN_S):
        return await ending_of(job.ended)


async def ending_of(awaited: Awaitable[object]) -> BaseException | None:
    """What something raised; None where it did not."""
    try:
        await awaited
    except Exception as error:  # noqa: BLE001 - whatever it is, the test looks at it
        return error
    return None


async def test_what_is_done_is_committed_with_what_its_worker_knew(job: Job) -> None:
    await job.give(0, 1, records=3)

    await spin(lambda: job.cluster.commits == {source(n): Commit(3, "after 2") for n in (0, 1)})

    assert [job.works[n].taken for n in (0, 1)] == [[0, 1, 2]] * 2


async def test_what_is_not_done_is_not_committed_not_even_at_the_end(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """S9: fetched, taken and begun is not done."""
    monkeypatch.setattr(partition_module, "DRAIN_S", 0.01)
    job.gates[0] = asyncio.Event()
    await job.give(0, records=5)
    await spin(lambda: job.works[0].begun == 1)
    await spin()

    assert await stopped(job) is None

    assert job.cluster.tried == []
    assert job.works[0].was_cut_off


async def test_a_slow_partition_holds_no_other_up(job: Job) -> None:
    """Many more batches of the other one go by than a feed holds."""
    job.gates[0] = asyncio.Event()
    await job.give(0, 1, records=50)

    await job.until_taken(1, 50)
    await spin(lambda: source(1) in job.cluster.commits and job.cluster.commits[source(1)].offset == 50)

    assert job.works[0].taken == []
    assert source(0) not in job.cluster.commits
    assert job.cluster.at[source(0)] == 1 + BATCHES_WAITING_MAX, (
        "one is worked on, so many wait, the rest stays in Kafka"
    )


async def test_what_is_taken_away_is_finished_and_committed_before_it_is_let_go(job: Job) -> None:
    """The next owner begins where this one ended."""
    job.gates[0] = asyncio.Event()
    await job.give(0, records=5)
    await spin(lambda: job.works[0].begun == 1)
    async with asyncio.TaskGroup() as tasks:
        revoking = tasks.create_task(job.group.revoke([source(0)]))
        await spin()
        assert not revoking.done()
        job.gates[0].set()

    assert job.works[0].taken == [0], "what it had begun, and nothing more"
    assert job.cluster.commits == {source(0): Commit(1, "after 0")}
    assert job.works[0].has_ended
    assert not job.works[0].was_cut_off


async def test_a_rebalance_is_held_up_for_two_seconds_at_most(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole group waits for who hands back: its drain and its commit together are bounded."""
    monkeypatch.setattr(partition_module, "COMMIT_EVERY_S", 3_600.0)
    await job.give(0, records=1)
    await job.until_taken(0, 1)

    await job.group.revoke([source(0)])

    (commit_s,) = job.cluster.commit_waits
    assert partition_module.DRAIN_S + commit_s <= 2.0


async def test_it_ends_though_a_fetch_does_not(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library holds a fetch back for as long as a rebalance takes."""
    monkeypatch.setattr(partition_module, "STOP_FETCH_S", 0.01)

    async def held(*_: object, **__: object) -> Mapping[Source, list[Stored]]:
        await asyncio.Event().wait()
        raise AssertionError

    await job.give(0, records=1)
    await job.until_taken(0, 1)
    job.group.fetch = held  # type: ignore[method-assign] # the rebalance of this test
    await spin()

    assert await stopped(job) is None

    assert job.cluster.commits == {source(0): Commit(1, "after 0")}
    assert job.group.is_stopped


async def test_what_was_given_back_can_come_again(job: Job) -> None:
    await job.give(0, records=2)
    await job.until_taken(0, 2)
    first = job.works[0]
    await job.group.revoke([source(0)])

    await job.give(0, records=3)
    await job.until_taken(0, 3)

    assert first.has_ended
    assert job.works[0] is not first


async def test_who_does_not_end_is_cut_off(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its partition may be somebody else's soon: what it began is repeated there."""
    monkeypatch.setattr(partition_module, "DRAIN_S", 0.01)
    job.gates[0] = asyncio.Event()
    await job.give(0, records=5)
    await spin(lambda: job.works[0].begun == 1)

    async with asyncio.timeout(WITHIN_S):
        await job.group.revoke([source(0)])
    await spin(lambda: job.works[0].has_ended)

    assert job.works[0].was_cut_off
    assert job.cluster.commits == {}


async def test_at_the_end_the_group_is_left_after_the_last_commit(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition_module, "COMMIT_EVERY_S", 3_600.0)
    await job.give(0, 1, records=3)
    await job.until_taken(0, 3)
    await job.until_taken(1, 3)

    assert await stopped(job) is None

    assert job.group.is_stopped
    assert job.cluster.commits_at_the_end == {source(n): Commit(3, "after 2") for n in (0, 1)}


async def test_a_commit_that_kafka_did_not_answer_is_made_again(job: Job) -> None:
    job.cluster.commit_outcomes += [Unavailable("kafka", "commit"), Unavailable("kafka", "commit")]
    await job.give(0, records=1)

    await spin(lambda: job.cluster.commits == {source(0): Commit(1, "after 0")})

    assert len(job.cluster.tried) == 3


async def test_a_commit_that_was_refused_is_not_taken_for_made(job: Job) -> None:
    """The group has moved on; if the partition is still ours, the next commit says so."""
    job.cluster.commit_outcomes += [False]
    await job.give(0, records=1)

    await spin(lambda: job.cluster.commits == {source(0): Commit(1, "after 0")})

    assert len(job.cluster.tried) == 2


async def test_what_was_committed_is_not_committed_for_ever(job: Job) -> None:
    await job.give(0, records=1)
    await spin(lambda: len(job.cluster.commits) == 1)

    await spin()

    assert len(job.cluster.tried) == 1


async def test_what_is_done_while_a_commit_is_out_is_committed_next(job: Job) -> None:
    """The answer to the first says nothing about it."""
    may_answer, is_out = asyncio.Event(), asyncio.Event()
    await job.give(0, records=0)
    commit = job.group.commit

    async def slow(offsets: Mapping[Source, Commit], *, within_s: float) -> bool:
        is_out.set()
        await may_answer.wait()
        return await commit(offsets, within_s=within_s)

    job.group.commit = slow  # type: ignore[method-assign] # the delay of this test
    job.cluster.ends[source(0)] = 1
    await is_out.wait()
    job.cluster.ends[source(0)] = 2
    await job.until_taken(0, 2)
    may_answer.set()

    await spin(lambda: job.cluster.commits == {source(0): Commit(2, "after 1")})
    assert [offsets[source(0)].offset for offsets in job.cluster.tried] == [1, 2]


async def test_a_fault_of_one_partition_ends_the_process_uncommitted(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that no rule knows: the record is read again by whoever starts next."""
    monkeypatch.setattr(partition_module, "COMMIT_EVERY_S", 3_600.0)
    job.faults[1] = RuntimeError("a bug")
    job.gates[0] = asyncio.Event()
    await job.give(0, 1, records=3)

    error = await ended(job)

    assert isinstance(error, ExceptionGroup)
    assert error.subgroup(lambda one: one is job.faults[1]) is not None
    assert job.cluster.commits == {}
    assert job.group.is_stopped
    assert all(work.has_ended for work in job.works.values())


async def test_a_fault_in_the_group_s_callbacks_ends_the_process(job: Job) -> None:
    """Kafka's client only logs it: a partition would be owned and served by nobody."""
    await job.give(0, records=0)

    job.group.failure = RuntimeError("in a callback")

    error = await ended(job)
    assert isinstance(error, ExceptionGroup)
    assert error.subgroup(RuntimeError) is not None
    assert job.group.is_stopped


async def test_partitions_that_come_while_it_leaves_are_not_begun(job: Job) -> None:
    await job.give(0, records=1)
    await stopped(job)

    await job.group.assign([source(1)])

    assert 1 not in job.works


async def test_it_waits_for_kafka_and_ends_without_it(job: Job) -> None:
    """Every try leaves nothing behind."""
    await spin(lambda: len(job.cluster.groups) > 3)

    assert await stopped(job) is None

    assert all(group.is_stopped for group in job.cluster.groups)


async def test_it_begins_when_kafka_comes(job: Job) -> None:
    await spin(lambda: len(job.cluster.groups) > 3)

    await job.give(0, records=1)

    await job.until_taken(0, 1)


# --- what is stuck ---


@pytest.fixture
def watchful(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked without a pause."""
    monkeypatch.setattr(partition_module, "PING_EVERY_S", 0.0)


@pytest.mark.usefixtures("watchful")
async def test_a_backlog_that_stands_still_ends_the_process(job: Job, capfd: pytest.CaptureFixture[str]) -> None:
    """Kafka answers, and yet nothing is done: only a new process mends that."""
    job.gates[1] = asyncio.Event()
    await job.give(0, 1, records=5)
    assert job.loop is not None
    assert job.loop.is_live

    error = await ended(job)

    assert isinstance(error, ExceptionGroup)
    assert error.subgroup(StuckError) is not None
    assert not job.loop.is_live
    assert job.group.is_stopped
    said = [line for line in capfd.readouterr().err.splitlines() if "partition.stuck" in line]
    assert len(said) == 1
    assert "partition=1 reason=no_progress" in said[0]


@pytest.mark.usefixtures("watchful")
async def test_a_commit_that_is_refused_for_ever_ends_the_process(job: Job) -> None:
    """All is done, and yet it would be done again by whoever comes next."""
    job.cluster.commit_outcomes += [False] * 100_000
    await job.give(0, records=1)

    error = await ended(job)

    assert isinstance(error, ExceptionGroup)
    assert error.subgroup(StuckError) is not None


@pytest.mark.usefixtures("watchful")
async def test_a_group_that_is_never_joined_again_ends_the_process(job: Job, capfd: pytest.CaptureFixture[str]) -> None:
    await job.give(0, records=1)

    job.group.is_member = False

    error = await ended(job)
    assert isinstance(error, ExceptionGroup)
    assert error.subgroup(StuckError) is not None
    assert "reason=no_membership" in capfd.readouterr().err


@pytest.mark.usefixtures("watchful")
@pytest.mark.parametrize("why", ["idle", "without partitions", "held", "deleted", "reading", "kafka", "redis"])
async def test_who_has_a_reason_to_stand_still_is_left_alone(job: Job, why: str) -> None:
    """L1: what has nothing to do, or waits for what is away, is not ended for it."""
    away: list[str] = []

    async def work() -> None:
        for what in away:
            raise Unavailable(what, "test")

    match why:
        case "idle":
            await job.give(0, records=3)
            await job.until_taken(0, 3)
        case "without partitions":
            await job.give(records=0)
        case "held":
            job.held.add(0)
            await job.give(0, records=3)
        case "deleted":
            job.cluster.starts[source(0)] = 3
            await job.give(0, records=3)
        case "reading":
            job.gates[0] = asyncio.Event()
            await job.give(0, records=3)
        case what:
            job.gates[0] = asyncio.Event()
            await job.give(0, records=3)
            away.append(what)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(job.outages.ride_out(work))
        for _ in range(5 * STUCK_LOOKS):
            job.reads += why == "reading"
            looked = job.cluster.looks
            await spin(lambda: job.cluster.looks > looked)  # noqa: B023 - waited for at once
        away.clear()

    assert job.ended is not None
    assert not job.ended.done()
    assert job.loop is not None
    assert job.loop.is_live


@pytest.mark.usefixtures("watchful")
async def test_who_is_slow_and_moves_is_left_alone(job: Job) -> None:
    """Each step takes many looks, but fewer than it takes to be found stuck."""
    job.gates[0] = asyncio.Event()
    await job.give(0, records=50)
    for _ in range(8):
        looked, taken = job.cluster.looks, len(job.works[0].taken)
        await spin(lambda: job.cluster.looks >= looked + STUCK_LOOKS // 2)  # noqa: B023 - waited for at once
        job.gates[0].set()
        await spin(lambda: len(job.works[0].taken) > taken)  # noqa: B023 - waited for at once
        job.gates[0].clear()

    assert job.ended is not None
    assert not job.ended.done()


async def test_of_how_many_partitions_no_lag_is_known_is_told(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """All 24 were stuck at their start, and `lag=0` said that all was well."""
    written = io.BytesIO()
    logs.configure(service="orders", instance="test", out=written)
    job.held.add(1)
    await job.give(0, 1, records=3)
    await job.until_taken(0, 3)
    await spin(lambda: job.loop is not None and any(feed.is_held for feed in job.loop._feeds.values()))

    assert job.loop is not None
    job.loop._report()

    assert b'"held":1' in written.getvalue()


async def test_what_is_not_known_while_kafka_is_away_does_not_look_like_all_is_well(job: Job) -> None:
    """`lag=0 oldest_age_s=0.0` stood in the log, and in the metrics, for as long as Kafka was away."""
    await job.give(0, records=3)
    await job.until_taken(0, 3)
    assert job.loop is not None
    assert (said_by(job.loop))["lag"] == 0

    job.outages.begin(Unavailable("kafka", "no answer"))
    line = said_by(job.loop)

    assert (line["lag"], line["oldest_age_s"], line["away"]) == (None, None, "kafka")
    assert not [
        name for name in ("job_lag", "job_oldest_age_seconds") if f'notifier_{name}{{service="orders"}}' in text()
    ]


async def test_what_was_fetched_grows_older_while_kafka_is_away(job: Job) -> None:
    """Its age is known whatever is away: an alarm on it must not fall for an outage."""
    job.gates[0] = asyncio.Event()
    await job.give(0, records=3)
    await spin(lambda: job.works[0].begun > 0)
    assert job.loop is not None

    job.outages.begin(Unavailable("kafka", "no answer"))
    line = said_by(job.loop)

    assert line["lag"] is None
    assert line["oldest_age_s"] > 0.0
    assert 'notifier_job_oldest_age_seconds{service="orders"}' in text()


async def test_before_it_is_a_member_nobody_knows_how_far_behind_it_is(job: Job) -> None:
    """A job that waits for its group has no partitions, which is not the same as nothing to do."""
    assert job.loop is not None

    line = said_by(job.loop)

    assert (line["lag"], line["partitions"]) == (None, 0)


def said_by(loop: PartitionLoop) -> dict[str, Any]:
    """How far it is, as it says."""
    written = io.BytesIO()
    logs.configure(service="orders", instance="test", out=written)
    loop._report()
    line: dict[str, Any] = json.loads(written.getvalue())
    return line
