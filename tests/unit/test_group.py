"""A group's member and the reader beside it: what the library is told, and what its answers mean."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import Any

import pytest
from aiokafka import OffsetAndMetadata, TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import (
    CommitFailedError,
    GroupAuthorizationFailedError,
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    IllegalStateError,
    KafkaConnectionError,
    KafkaError,
    NotLeaderForPartitionError,
)

from notifier.errors import Unavailable
from notifier.kafka import group as group_module
from notifier.kafka import reader as reader_module
from notifier.kafka.access import Access
from notifier.kafka.group import Commit, Group, Source
from notifier.kafka.reader import Reader

ACCESS = Access({"bootstrap_servers": "kafka.example:9092"})
SOURCE = Source("t.inbox.v1", 3)
TP = TopicPartition(*SOURCE)


class Library:
    """One of aiokafka's consumers, as far as ours uses it."""

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.calls: list[str] = []
        self.listener: Any = None
        self.failure: Exception | None = None
        self.committed: dict[TopicPartition, OffsetAndMetadata] = {}
        self.fault: Exception | None = None
        self.fetch_fault: Exception | None = None
        self._coordinator = self._fetcher = self
        self._coordination_task: asyncio.Future[None] | None = None
        self._heartbeat_task: asyncio.Future[None] | None = None
        self._fetch_task: asyncio.Future[None] | None = None

    def check_errors(self) -> None:
        if self.fault is not None:
            raise self.fault

    async def getmany(self, *_: TopicPartition, **__: int) -> dict[TopicPartition, list[Any]]:
        if self.fetch_fault is not None:
            raise self.fetch_fault
        return {}

    async def start(self) -> None:
        if self.failure is not None:
            raise self.failure

    async def stop(self) -> None:
        self.calls.append("stop")

    def subscribe(self, topics: list[str], listener: Any) -> None:
        self.listener = listener

    def pause(self, *_: TopicPartition) -> None:
        self.calls.append("pause")

    def resume(self, *_: TopicPartition) -> None:
        self.calls.append("resume")

    def seek(self, _: TopicPartition, offset: int) -> None:
        self.calls.append(f"seek {offset}")

    def assignment(self) -> frozenset[TopicPartition]:
        return frozenset()

    async def commit(self, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        if self.failure is not None:
            raise self.failure
        self.committed |= offsets

    async def beginning_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(tps, 0)

    end_offsets = beginning_offsets


class Admin:
    """One of aiokafka's admin clients, as far as ours uses it."""

    def __init__(self, **_: Any) -> None:
        self.committed: dict[TopicPartition, OffsetAndMetadata] = {}
        self.failure: Exception | None = None
        self.coordinator_faults: list[Exception] = []
        self.is_open = True

    async def start(self) -> None:
        if self.failure is not None:
            raise self.failure

    async def close(self) -> None:
        self.is_open = False

    async def find_coordinator(self, _: str) -> int:
        if self.coordinator_faults:
            raise self.coordinator_faults.pop(0)
        return 1

    async def list_consumer_group_offsets(
        self, _: str, partitions: list[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata]:
        return {tp: self.committed[tp] for tp in partitions if tp in self.committed}


@pytest.fixture
def admins(monkeypatch: pytest.MonkeyPatch) -> list[Admin]:
    """Two admin clients, of which the first is handed out first; more are not needed."""
    made = [Admin(), Admin()]
    handed_out = iter(made)
    monkeypatch.setattr(group_module, "AIOKafkaAdminClient", lambda **_: next(handed_out))
    return made


Made = Callable[..., tuple[Group, Library]]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Made:
    """Makes members, each with what it has of the library."""

    def making(on_assigned: Callable[[Collection[Source]], Any] | None = None) -> tuple[Group, Library]:
        consumers: list[Library] = []

        def consumer(**options: Any) -> Library:
            consumers.append(Library(**options))
            return consumers[-1]

        async def nothing(_: Collection[Source]) -> None:
            return None

        monkeypatch.setattr(group_module, "AIOKafkaConsumer", consumer)
        group = Group(
            ACCESS,
            group="t.orders",
            topics=[SOURCE.topic],
            session_timeout_s=10.0,
            on_assigned=on_assigned or nothing,
            on_revoked=nothing,
        )
        return group, consumers[0]

    return making


def test_nothing_is_committed_that_was_not_said_to_be_done_and_nothing_is_passed_over(made: Made) -> None:
    """
    The library would commit by itself what was only fetched, and begin at a log's end where it knows no better (S9, rule 9).

    What a broker does with these cannot be seen while all goes well, so what the library is told is looked at.
    """
    _, consumer = made()

    assert consumer.options["enable_auto_commit"] is False
    assert consumer.options["auto_offset_reset"] == "earliest"
    assert consumer.options["partition_assignment_strategy"] == (RangePartitionAssignor,)
    assert consumer.options["group_id"] == "t.orders"


async def test_a_reader_is_in_no_group_and_commits_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    consumers: list[Library] = []

    def consumer(**options: Any) -> Library:
        consumers.append(Library(**options))
        return consumers[-1]

    monkeypatch.setattr(reader_module, "AIOKafkaConsumer", consumer)
    reader = Reader(ACCESS)

    await reader.bounds(*SOURCE)
    await reader.bounds(*SOURCE)
    await reader.close()

    (only,) = consumers
    assert (only.options["group_id"], only.options["enable_auto_commit"]) == (None, False)
    assert only.options["auto_offset_reset"] == "earliest"
    assert only.calls.count("stop") == 1, "kept for the next read, ended with the reader"


@pytest.mark.usefixtures("admins")
async def test_what_is_assigned_is_paused_before_anybody_hears_of_it(made: Made) -> None:
    """Records would arrive before the view is open; they come from where the work begins."""
    heard: list[list[str]] = []

    async def on_assigned(_: Collection[Source]) -> None:
        heard.append(list(consumer.calls))

    group, consumer = made(on_assigned)
    await group.start()

    await consumer.listener.on_partitions_assigned([TP])
    group.begin(SOURCE, 42)

    assert heard == [["pause"]]
    assert consumer.calls == ["pause", "seek 42", "resume"]
    assert group.is_member


@pytest.mark.usefixtures("admins")
async def test_a_fault_in_a_callback_is_kept_for_the_loop(made: Made) -> None:
    """The library only logs it, and goes on as if the partition were served."""

    async def broken(_: Collection[Source]) -> None:
        raise RuntimeError

    group, consumer = made(broken)
    await group.start()

    with pytest.raises(RuntimeError):
        await consumer.listener.on_partitions_assigned([TP])

    assert isinstance(group.failure, RuntimeError)


async def test_a_coordinator_that_comes_to_be_is_waited_for(
    made: Made, admins: list[Admin], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fresh cluster makes its topic of offsets when the first group asks: that is no trouble to be told of."""
    monkeypatch.setattr(group_module, "COORDINATOR_RETRY_S", 0.0)
    admins[0].coordinator_faults += [GroupCoordinatorNotAvailableError(), GroupLoadInProgressError()]
    group, consumer = made()

    await group.start()

    assert consumer.listener is not None
    assert admins[0].coordinator_faults == []


@pytest.mark.parametrize(
    ("fault", "within_s"),
    [
        pytest.param(GroupCoordinatorNotAvailableError(), 0.0, id="it does not come"),
        pytest.param(GroupAuthorizationFailedError("t.orders"), 60.0, id="we may not ask"),
    ],
)
async def test_a_coordinator_that_cannot_be_had_is_told_of(
    made: Made, admins: list[Admin], monkeypatch: pytest.MonkeyPatch, fault: Exception, within_s: float
) -> None:
    monkeypatch.setattr(group_module, "COORDINATOR_S", within_s - 1e-9)
    admins[0].coordinator_faults += [fault]
    group, consumer = made()

    with pytest.raises(Unavailable, match=type(fault).__name__):
        await group.start()
    assert consumer.listener is None


async def test_what_a_broker_refuses_is_tried_again(made: Made) -> None:
    """A fetch or a membership that time will mend is no reason to leave."""
    group, consumer = made()
    consumer.fetch_fault = consumer.fault = NotLeaderForPartitionError()

    with pytest.raises(Unavailable, match="NotLeaderForPartitionError"):
        await group.fetch([SOURCE], records_max=1, timeout_ms=1)
    with pytest.raises(Unavailable, match="NotLeaderForPartitionError"):
        group.hear()


@pytest.mark.parametrize("task", ["_coordination_task", "_heartbeat_task", "_fetch_task"])
async def test_a_client_that_is_broken_for_good_is_no_outage(made: Made, task: str) -> None:
    """A background task of the library has ended: it would be waited for until somebody looks."""
    group, consumer = made()
    consumer.fetch_fault = KafkaError("Unexpected error during coordination")
    ended = asyncio.get_running_loop().create_future()
    ended.set_exception(consumer.fetch_fault)
    setattr(consumer, task, ended)

    assert group.failure is consumer.fetch_fault
    with pytest.raises(KafkaError):
        await group.fetch([SOURCE], records_max=1, timeout_ms=1)


async def test_a_commit_carries_what_its_committer_knew(made: Made) -> None:
    group, consumer = made()

    assert await group.commit({SOURCE: Commit(7, "known")})

    assert consumer.committed == {TP: OffsetAndMetadata(7, "known")}


@pytest.mark.parametrize("failure", [CommitFailedError(), IllegalStateError()])
async def test_a_commit_of_what_is_not_ours_any_more_is_no_outage(made: Made, failure: Exception) -> None:
    group, consumer = made()
    consumer.failure = failure

    assert not await group.commit({SOURCE: Commit(7, "")})


async def test_a_broker_that_does_not_answer_is_unavailable(made: Made) -> None:
    group, consumer = made()
    consumer.failure = KafkaConnectionError()

    with pytest.raises(Unavailable):
        await group.start()
    with pytest.raises(Unavailable):
        await group.commit({SOURCE: Commit(7, "")})


@pytest.mark.parametrize(
    ("found", "commit"),
    [
        (OffsetAndMetadata(7, "known"), Commit(7, "known")),
        (OffsetAndMetadata(7, None), Commit(7, "")),
        (OffsetAndMetadata(-1, ""), None),  # there is none, or Kafka forgot it
    ],
)
async def test_the_last_commit_is_read_with_what_its_committer_knew(
    made: Made, admins: list[Admin], found: OffsetAndMetadata, commit: Commit | None
) -> None:
    """Rule 4: the commit carries the known end."""
    group, _ = made()
    admins[0].committed[TP] = found

    assert await group.committed(SOURCE) == commit


async def test_a_coordinator_that_has_not_loaded_is_no_group_without_commits(made: Made, admins: list[Admin]) -> None:
    """Taken for that, everything would be read again."""
    group, _ = made()

    with pytest.raises(Unavailable):
        await group.committed(SOURCE)
    assert admins[0].is_open, "it is asked again"


async def test_leaving_closes_all_that_was_opened(made: Made, admins: list[Admin]) -> None:
    """Of many partitions that ask at once, and of a try that failed, nothing stays open."""
    group, consumer = made()
    admins[0].failure = KafkaConnectionError()
    admins[1].committed[TP] = OffsetAndMetadata(7, "")
    with pytest.raises(Unavailable):
        await group.committed(SOURCE)
    await asyncio.gather(*(group.committed(SOURCE) for _ in range(3)))

    await group.stop()

    assert consumer.calls == ["stop"]
    assert [admin.is_open for admin in admins] == [False, False]
