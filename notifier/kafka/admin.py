"""The topics as they are, against the topics as they have to be; and making those that are missing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    KafkaError,
    NotCoordinatorForGroupError,
    TopicAlreadyExistsError,
    for_code,
)
from aiokafka.protocol.admin import ApiVersionRequest

from notifier.errors import Unavailable
from notifier.kafka.access import Access
from notifier.topics import TopicPlan

ANSWER_S_MAX = 10.0
"""How long the cluster may take for one answer. Who asks is a person, or a start that can be tried again."""
SHOWS_S_MAX = 15.0
"""How long a topic that was made may take until every broker tells of it."""
_LOOK_EVERY_S = 0.1

PARTITIONS, REPLICATION = "partitions", "replication_factor"


class CannotCreateError(Exception):
    """The cluster refuses to make a topic. The message is the cluster's reason; it names the topic."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One setting of a topic that is not as it has to be."""

    setting: str
    has: str
    needs: str


@dataclass(frozen=True, slots=True)
class Found:
    """A topic as the cluster has it."""

    partitions: int
    replication_factor: int
    """The smallest of its partitions: the one whose records are the easiest to lose."""
    settings: Mapping[str, str]
    leaderless: int = 0
    """Partitions where nothing can be read or written now."""
    lagging: int = 0
    """Partitions with a copy that has not all of it yet."""
    short: int = 0
    """Partitions of which fewer copies are in sync than `min.insync.replicas`: nothing is acknowledged there."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One topic, compared with its plan."""

    plan: TopicPlan
    found: Found | None
    """As it is; None: it is not there."""
    differences: tuple[Difference, ...] = ()

    @property
    def exists(self) -> bool:
        """Whether there is such a topic."""
        return self.found is not None

    @property
    def state(self) -> Literal["ok", "missing", "differs"]:
        """In a word."""
        if not self.exists:
            return "missing"
        return "differs" if self.differences else "ok"


@dataclass(frozen=True, slots=True)
class Cluster:
    """What the cluster says of itself."""

    brokers: int
    requests: Mapping[int, tuple[int, int]]
    """The least and the greatest version that is taken of each request, by its number."""


@dataclass(frozen=True, slots=True)
class Group:
    """A consumer group."""

    state: str
    """Kafka's word: `Stable`, `Empty`, `PreparingRebalance`; `Dead` where there is no such group."""
    members: int
    commits: Mapping[tuple[str, int], int]
    """What was committed, by topic and partition; nothing where nothing was."""


def compare(plan: TopicPlan, found: Found | None) -> Compared:
    """Compare one topic with its plan; None: it is not there. A setting that the plan does not name may be anything."""
    if found is None:
        return Compared(plan, None)
    pairs = [
        (PARTITIONS, str(found.partitions), str(plan.partitions)),
        (REPLICATION, str(found.replication_factor), str(plan.replication_factor)),
        *((name, found.settings.get(name, ""), value) for name, value in plan.settings.items()),
    ]
    return Compared(
        plan,
        found,
        differences=tuple([Difference(name, has, needs) for name, has, needs in pairs if not _same(name, has, needs)]),
    )


_AT_LEAST = frozenset({"max.message.bytes", "min.compaction.lag.ms"})
"""More than is needed of these does no harm."""


def _same(name: str, has: str, needs: str) -> bool:
    if name == "cleanup.policy":  # a set, which Kafka writes in any order
        return sorted(has.split(",")) == sorted(needs.split(","))
    if name in _AT_LEAST and has.isdecimal():
        return int(has) >= int(needs)
    return has == needs


class Admin:
    """Looks at topics and makes new ones. It never deletes a topic and never changes one."""

    def __init__(self, client: AIOKafkaAdminClient, answer_s_max: float) -> None:
        self._client = client
        self._answer_s_max = answer_s_max

    @classmethod
    @asynccontextmanager
    async def at_work(cls, access: Access, *, answer_s_max: float = ANSWER_S_MAX) -> AsyncIterator[Admin]:
        """
        Connected while the block runs.

        Args:
            answer_s_max: how long each answer may take, the first connection included.

        Raises:
            Unavailable: no broker answers.
        """
        client = AIOKafkaAdminClient(**access.options, request_timeout_ms=round(answer_s_max * 1000))
        try:
            async with _answering(answer_s_max):
                await client.start()
            yield cls(client, answer_s_max)
        finally:
            await client.close()

    async def partitions_of(self, topic: str) -> int | None:
        """
        How many partitions a topic has; None where there is no such topic.

        Raises:
            Unavailable: no answer.
        """
        found = (await self._topics()).get(topic)
        return None if found is None else len(found["partitions"])

    async def missing(self, topics: Sequence[str]) -> list[str]:
        """
        Which of these topics are not there.

        Raises:
            Unavailable: no answer.
        """
        found = await self._topics()
        return [topic for topic in topics if topic not in found]

    async def compare(self, plans: Sequence[TopicPlan]) -> list[Compared]:
        """
        Each topic beside its plan.

        Raises:
            Unavailable: no answer.
        """
        topics = await self._topics()
        settings = await self._settings([plan.name for plan in plans if plan.name in topics])
        return [compare(plan, _found(topics.get(plan.name), settings.get(plan.name, {}))) for plan in plans]

    async def create(self, plans: Sequence[TopicPlan]) -> None:
        """
        Make topics as they are planned, and return once the cluster tells of them. One that somebody else made meanwhile is fine.

        Raises:
            CannotCreateError: the cluster refuses one; others may have been made.
            Unavailable: no answer, or a topic does not show.
        """
        new = [
            NewTopic(plan.name, plan.partitions, plan.replication_factor, topic_configs=plan.settings) for plan in plans
        ]
        async with _answering(self._answer_s_max):
            answer = await self._client.create_topics(new)
        for topic, code, why in answer.topic_errors:
            error = for_code(code)
            if code != 0 and error is not TopicAlreadyExistsError:
                raise CannotCreateError(f"{topic}: {(why or error.__name__).rstrip('.')}.")
        await self._wait_for(plans)

    async def cluster(self) -> Cluster:
        """
        How many brokers there are, and what they understand.

        Raises:
            Unavailable: no answer.
        """
        async with _answering(self._answer_s_max):
            described = await self._client.describe_cluster()
            answer = await self._client._send_request(ApiVersionRequest())  # it has no public way to ask
        return Cluster(
            len(described["brokers"]), {number: (least, greatest) for number, least, greatest in answer.api_versions}
        )

    async def group(self, name: str, topics: Mapping[str, int]) -> Group:
        """
        A consumer group with what it has committed for these topics (each with its number of partitions).

        Raises:
            Unavailable: no answer, or its coordinator is not there yet.
        """
        async with _answering(self._answer_s_max):
            while True:
                try:
                    group = await self._group(name, topics)
                except (GroupCoordinatorNotAvailableError, GroupLoadInProgressError, NotCoordinatorForGroupError):
                    group = None  # in a new cluster the groups' own topic is only being made for who asks first
                if group is not None:
                    return group
                await asyncio.sleep(_LOOK_EVERY_S)

    async def _group(self, name: str, topics: Mapping[str, int]) -> Group | None:
        """None: the coordinator has not loaded what was committed yet."""
        partitions = [TopicPartition(topic, number) for topic, count in topics.items() for number in range(count)]
        coordinator = await self._client.find_coordinator(name)
        (described,) = await self._client.describe_consumer_groups([name], group_coordinator_id=coordinator)
        code, _, state, _, _, members, *_ = described.groups[0]
        if code != 0:
            raise for_code(code)
        commits = await self._client.list_consumer_group_offsets(
            name, group_coordinator_id=coordinator, partitions=partitions
        )
        if any(tp not in commits for tp in partitions):
            return None
        return Group(
            state,
            len(members),
            {(tp.topic, tp.partition): found.offset for tp, found in commits.items() if found.offset >= 0},
        )

    async def _wait_for(self, plans: Sequence[TopicPlan]) -> None:
        """Brokers learn of a new topic one after the other."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + SHOWS_S_MAX
        while not all(one.exists for one in await self.compare(plans)):
            if loop.time() > deadline:
                raise Unavailable("kafka", "the topics were made, but do not show")
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _topics(self) -> dict[str, Any]:
        """All topics. Asking for one by its name might make it, where Kafka is set to."""
        async with _answering(self._answer_s_max):
            described = await self._client.describe_topics()
        return {one["topic"]: one for one in described if one["error_code"] == 0 and one["partitions"]}

    async def _settings(self, topics: Sequence[str]) -> dict[str, dict[str, str]]:
        if not topics:
            return {}
        wanted = [ConfigResource(ConfigResourceType.TOPIC, topic) for topic in topics]
        async with _answering(self._answer_s_max):
            answers = await self._client.describe_configs(wanted)
        settings = {}
        for code, _why, _type, topic, entries in [one for answer in answers for one in answer.resources]:
            if code == 0:  # else it came to be or was deleted just now: it differs until it is looked at again
                settings[topic] = {entry[0]: entry[1] or "" for entry in entries}
        return settings


async def require(access: Access, topics: Sequence[str]) -> None:
    """
    Return if these topics are there.

    Raises:
        Unavailable: one is not, or no broker answers: either may come.
    """
    async with Admin.at_work(access) as admin:
        missing = await admin.missing(topics)
    if missing:
        raise Unavailable(
            "kafka", f"there is no topic {' and no topic '.join(missing)}; `notifier topics --apply` makes it"
        )


def _found(topic: Any, settings: Mapping[str, str]) -> Found | None:  # as aiokafka gives it
    if topic is None:
        return None
    partitions = topic["partitions"]
    in_sync_min = int(settings.get("min.insync.replicas", "1"))
    return Found(
        len(partitions),
        min(len(one["replicas"]) for one in partitions),
        settings,
        leaderless=sum(one["leader"] < 0 for one in partitions),
        lagging=sum(len(one["isr"]) < len(one["replicas"]) for one in partitions),
        short=sum(len(one["isr"]) < in_sync_min for one in partitions),
    )


@asynccontextmanager
async def _answering(answer_s_max: float) -> AsyncIterator[None]:
    """What stops the cluster from answering, as Unavailable."""
    try:
        async with asyncio.timeout(answer_s_max):
            yield
    except (KafkaError, TimeoutError) as error:
        raise Unavailable("kafka", type(error).__name__) from error
