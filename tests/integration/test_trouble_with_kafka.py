"""
Kafka in trouble: the job pauses, says so once, and goes on by itself; no record is skipped, none is applied on a guess.

A broker that is gone or hangs is really gone or hangs. What a broker says only in rare moments (its group's coordinator has
moved, a commit or an append is refused) is put into its answers as they are read: it has done what it was asked for, and says
that it has not, which is the worse case of the two.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    IllegalGenerationError,
    KafkaError,
    NotCoordinatorForGroupError,
    NotEnoughReplicasError,
    NotLeaderForPartitionError,
    OutOfOrderSequenceNumber,
    TopicAuthorizationFailedError,
    UnknownError,
    UnknownMemberIdError,
)
from aiokafka.protocol import commit, coordination, fetch, group, produce

from notifier.local import Server, Services
from tests.troubled import TYPES, Troubled


@pytest.fixture
def broker(own_services: Services) -> Server:
    """The Kafka of this installation."""
    assert own_services.kafka is not None
    return own_services.kafka


@dataclass
class Liar:
    """Puts an error into answers of one kind, as often as it is asked to."""

    patch: pytest.MonkeyPatch
    left: int = 0
    told: int = 0
    code: int = 0
    topic: str = ""
    """How the topics end about which it lies, where an answer is about topics."""

    def about(self, module: Any, name: str) -> None:
        """Be the one through whom all answers of this name are read, in whatever version."""
        for response in [one for known, one in vars(module).items() if known.startswith(f"{name}Response_v")]:
            self.patch.setattr(response, "decode", self._reading(response.decode))

    def _reading(self, decode: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def read(data: Any) -> Any:
            answer = decode(data)
            if self.left and self._alter(answer):
                self.left -= 1
                self.told += 1
            return answer

        return read

    def _alter(self, answer: Any) -> bool:
        """Put the error into an answer, if it is about what the job asks for; the test itself asks for other things."""
        if hasattr(answer, "error_code"):
            answer.error_code = self.code
            return True
        before = answer.topics
        answer.topics = [
            (topic, [(partition, self.code, *more) for partition, _, *more in partitions])
            if topic.endswith(self.topic)
            else (topic, partitions)
            for topic, partitions in answer.topics
        ]
        return bool(answer.topics != before)


@pytest.fixture
def liar(monkeypatch: pytest.MonkeyPatch) -> Liar:
    return Liar(monkeypatch)


async def test_a_broker_that_is_killed_and_comes_back(troubled: Troubled, broker: Server) -> None:
    async with troubled.job("orders"):
        await troubled.put("before")
        await troubled.until_folded("before")
        broker.kill()
        await troubled.until_said("kafka.unavailable")
        await asyncio.to_thread(broker.start)
        await troubled.put("after")
        await troubled.until_folded("before", "after")
        await troubled.until_said("kafka.recovered")

    await nothing_is_missing_or_invented(troubled, "before", "after")
    assert_said_once(troubled)


async def test_a_broker_that_hangs_and_goes_on(troubled: Troubled, broker: Server) -> None:
    async with troubled.job("orders"):
        await troubled.put("before")
        await troubled.until_folded("before")
        os.kill(broker.pid, signal.SIGSTOP)
        await troubled.until_said("kafka.unavailable")
        os.kill(broker.pid, signal.SIGCONT)
        await troubled.put("after")
        await troubled.until_folded("before", "after")
        await troubled.until_said("kafka.recovered")

    await nothing_is_missing_or_invented(troubled, "before", "after")
    assert_said_once(troubled)


@pytest.mark.parametrize(
    ("module", "name", "error"),
    [
        pytest.param(commit, "OffsetCommit", NotCoordinatorForGroupError, id="commit: the coordinator moved"),
        pytest.param(commit, "OffsetCommit", IllegalGenerationError, id="commit: an old generation"),
        pytest.param(commit, "OffsetCommit", TopicAuthorizationFailedError, id="commit: forbidden"),
        pytest.param(group, "Heartbeat", NotCoordinatorForGroupError, id="heartbeat: the coordinator moved"),
        pytest.param(group, "Heartbeat", UnknownMemberIdError, id="heartbeat: not a member"),
        pytest.param(produce, "Produce", OutOfOrderSequenceNumber, id="append: out of order"),
        pytest.param(produce, "Produce", NotEnoughReplicasError, id="append: too few replicas"),
        pytest.param(produce, "Produce", TopicAuthorizationFailedError, id="append: forbidden"),
        pytest.param(fetch, "Fetch", NotLeaderForPartitionError, id="fetch: the leader moved"),
        pytest.param(fetch, "Fetch", TopicAuthorizationFailedError, id="fetch: forbidden"),
    ],
)
async def test_an_answer_that_says_no_is_asked_for_again(
    troubled: Troubled, liar: Liar, module: Any, name: str, error: type[KafkaError]
) -> None:
    """Whatever a broker refuses for a while, in the end each piece of evidence has had its effect, once, and is committed."""
    async with troubled.job("orders"):
        await troubled.put("before")
        await troubled.until_folded("before")
        liar.code, liar.left = error.errno, 3
        liar.topic = "orders.v1" if module is produce else "inbox.v1"
        liar.about(module, name)
        await troubled.put("meanwhile")
        await troubled.until_folded("meanwhile")
        await troubled.until(lambda: liar.told > 0)
        await troubled.put("after")
        await troubled.until_folded("after")
        liar.left = 0  # who is refused while it leaves has not committed, and its work is done again
        await troubled.until_committed("orders")
        await troubled.until(lambda: len(troubled.said("kafka.unavailable")) == len(troubled.said("kafka.recovered")))

    await nothing_is_missing_or_invented(troubled, "before", "meanwhile", "after")
    assert_said_once(troubled)


@pytest.mark.parametrize(
    ("module", "name", "error"),
    [
        pytest.param(group, "JoinGroup", UnknownMemberIdError, id="join: not a member"),
        pytest.param(group, "SyncGroup", UnknownError, id="sync: the broker has no word for it"),
        pytest.param(coordination, "FindCoordinator", GroupCoordinatorNotAvailableError, id="no coordinator is found"),
    ],
)
async def test_a_group_that_cannot_be_joined_at_once_is_joined_later(
    troubled: Troubled, liar: Liar, module: Any, name: str, error: type[KafkaError]
) -> None:
    """Before anything was assigned there is nothing to fetch, and aiokafka tells what is wrong only to who fetches."""
    liar.code, liar.left = error.errno, 3
    liar.about(module, name)
    await troubled.put("before")
    async with troubled.job("orders"):
        await troubled.until_folded("before")

    assert liar.told > 0
    await nothing_is_missing_or_invented(troubled, "before")
    assert_said_once(troubled)


async def test_a_member_whose_heart_has_stopped_leaves(troubled: Troubled, liar: Liar) -> None:
    """aiokafka's heartbeats end for good at an answer they have no word for: it would go on as if its partitions were its own."""
    liar.code = UnknownError.errno
    liar.about(group, "Heartbeat")

    async def until_it_leaves() -> None:
        async with troubled.job("orders"):
            await troubled.put("before")
            await troubled.until_folded("before")
            liar.left = 1
            await asyncio.Event().wait()

    with pytest.raises(ExceptionGroup) as left:
        await until_it_leaves()

    assert left.group_contains(KafkaError)
    async with troubled.job("orders"):
        await troubled.put("after")
        await troubled.until_folded("before", "after")
    await nothing_is_missing_or_invented(troubled, "before", "after")


async def test_members_that_come_and_go_cost_nothing(troubled: Troubled) -> None:
    """
    A rebalance storm: each one takes everything away and gives it again.

    Here a member may be told to end while it connects. The connection of a start that was cut off was lost, and only Python's
    garbage collector closed it; where its warnings are errors, as in these tests, nobody did, and the event loop never closed.
    """
    put: list[str] = []
    async with troubled.job("orders"):
        for number in range(4):
            async with troubled.job("orders"):
                put += [f"T{number}a", f"T{number}b"]
                await troubled.put(*put[-2:])
        await troubled.until_folded(*put)

    await nothing_is_missing_or_invented(troubled, *put)
    assert troubled.said("kafka.unavailable", "service.failed", "partition.stuck") == []


def assert_said_once(troubled: Troubled) -> None:
    """An outage has at most one beginning and one end, and nothing went wrong for good."""
    told = [line["event"] for line in troubled.said("kafka.unavailable", "kafka.recovered")]
    assert told in ([], ["kafka.unavailable", "kafka.recovered"])
    assert troubled.said("service.failed", "partition.stuck", "evidence.failed") == []


async def nothing_is_missing_or_invented(troubled: Troubled, *orders: str) -> None:
    """Each order has had its three events in their order, one content each, and all its evidence counts as done."""
    found = await troubled.events()
    assert set(found) == set(orders)
    for order, told in found.items():
        assert [kind for kind, _ in dict.fromkeys(told)] == list(TYPES), order
    assert await troubled.uncommitted("orders") == 0
