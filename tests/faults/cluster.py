"""Kafka as an operator sees and handles it: ends, commits, groups, topic settings, the cleaner."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError
from aiokafka.protocol.admin import DeleteGroupsRequest
from aiokafka.protocol.group import LeaveGroupRequest

from notifier.kafka.access import Access
from notifier.topics import TopicPlan
from tests.waiting import until

ANSWER_WITHIN_S = 40.0
"""A broker that comes back has no answer for a while, which is no fault of what is tested."""
ASKED_AGAIN_AFTER_S = 5.0
"""Another broker, where there are several."""
SEEN_WITHIN_S = 60.0

_T = TypeVar("_T")


@dataclass(slots=True)
class Cluster:
    """Its brokers, with their data folders: only there does the cleaner say how far it has come."""

    admin: AIOKafkaAdminClient
    consumer: AIOKafkaConsumer
    data: Sequence[Path]
    partitions: int
    settings: dict[str, dict[str, str]]
    """Of each topic: a topic's settings can only be written whole."""

    async def ends(self, topic: str) -> list[int]:
        """Where each partition ends."""
        tps = self._of(topic)
        found = await _patiently(lambda: self.consumer.end_offsets(tps))
        return [found[tp] for tp in tps]

    async def committed(self, group: str, topic: str) -> list[int]:
        """What a group has committed of each partition; 0 for nothing."""
        tps = self._of(topic)
        found = await _patiently(lambda: self.admin.list_consumer_group_offsets(group, partitions=tps))
        return [max(found[tp].offset, 0) if tp in found else 0 for tp in tps]

    async def members(self, group: str) -> dict[str, str]:
        """The members of a group while it is at rest, client ids by member ids; none while it rebalances."""
        (answer,) = await _patiently(lambda: self.admin.describe_consumer_groups([group]))
        (described,) = answer.groups
        state, members = described[2], described[5]
        return {member[0]: member[1] for member in members} if state == "Stable" else {}

    async def until_members(self, group: str, count: int, *, but: Mapping[str, str] | None = None) -> None:
        """Return once a group rests with so many members, all of them others than `but`."""

        async def is_so() -> bool:
            members = await self.members(group)
            return len(members) == count and not members.keys() & (but or {}).keys()

        await until(is_so, SEEN_WITHIN_S, f"{group} has {count} members")

    async def until_empty(self, group: str) -> None:
        """Return once a group has no member at all."""

        async def is_so() -> bool:
            (answer,) = await _patiently(lambda: self.admin.describe_consumer_groups([group]))
            return str(answer.groups[0][2]) in ("Empty", "Dead")

        await until(is_so, SEEN_WITHIN_S, f"{group} is empty")

    async def coordinator(self, group: str) -> int:
        """The node that looks after a group now."""
        return int(await _patiently(lambda: self.admin.find_coordinator(group)))

    async def until_all_copied(self, topics: Sequence[str]) -> None:
        """Return once every copy of these topics' partitions has all of it."""

        async def is_so() -> bool:
            described = await _patiently(lambda: self.admin.describe_topics(list(topics)))
            return all(len(one["isr"]) == len(one["replicas"]) for topic in described for one in topic["partitions"])

        await until(is_so, SEEN_WITHIN_S, "every copy is in sync")

    async def kick(self, group: str) -> None:
        """Say in the name of each member that it leaves: its next heartbeat or commit is refused."""
        coordinator = await self.admin.find_coordinator(group)
        for member in await self.members(group):
            # aiokafka's admin client has no call for it
            await self.admin._send_request(LeaveGroupRequest(group, member), coordinator)

    async def forget_group(self, group: str) -> None:
        """As Kafka does with a group that was idle for a week."""
        coordinator = await self.admin.find_coordinator(group)
        # likewise
        answer = await self.admin._send_request(DeleteGroupsRequest([group]), coordinator)
        assert answer.results == [(group, 0)], answer

    async def configure(self, topic: str, **settings: str) -> None:
        """Change settings of a topic (dots are written as underscores); the others stay as they were planned."""
        self.settings[topic] |= {name.replace("_", "."): value for name, value in settings.items()}
        resource = ConfigResource(ConfigResourceType.TOPIC, topic, dict(self.settings[topic]))
        (answer,) = await self.admin.alter_configs([resource])
        assert all(entry[0] == 0 for entry in answer.resources), answer

    async def truncate(self, topic: str, below: Sequence[int]) -> None:
        """Delete what lies below an offset in each partition."""
        await self.admin.delete_records(
            {tp: RecordsToDelete(offset) for tp, offset in zip(self._of(topic), below, strict=True) if offset}
        )

    async def compact(self, topic: str) -> None:
        """Let the cleaner run over all but each partition's last segment, as it would after weeks; return when it has."""
        before = self.settings[topic]["min.compaction.lag.ms"]
        await self.configure(topic, min_compaction_lag_ms="0")
        wanted = [await asyncio.to_thread(self._last_segments, data, topic) for data in self.data]

        async def is_cleaned() -> bool:
            cleaned = [await asyncio.to_thread(_cleaned, data, topic) for data in self.data]
            return all(
                of_broker.get(partition, 0) >= offset
                for of_broker, last in zip(cleaned, wanted, strict=True)
                for partition, offset in last.items()
            )

        await until(is_cleaned, SEEN_WITHIN_S, f"the cleaner has been through {topic}")
        await self.configure(topic, min_compaction_lag_ms=before)

    def _last_segments(self, data: Path, topic: str) -> dict[int, int]:
        return {
            partition: max(int(file.stem) for file in (data / f"{topic}-{partition}").glob("*.log"))
            for partition in self._range
        }

    @property
    def _range(self) -> range:
        return range(self.partitions)

    def _of(self, topic: str) -> list[TopicPartition]:
        return [TopicPartition(topic, partition) for partition in self._range]


def _cleaned(data: Path, topic: str) -> dict[int, int]:
    """What a broker notes for itself: a line for each partition with the first offset that is not clean."""
    try:
        lines = (data / "cleaner-offset-checkpoint").read_text().splitlines()[2:]
    except FileNotFoundError:
        return {}
    return {int(partition): int(offset) for name, partition, offset in map(str.split, lines) if name == topic}


async def _patiently(ask: Callable[[], Awaitable[_T]]) -> _T:
    async with asyncio.timeout(ANSWER_WITHIN_S):
        while True:
            try:
                return await ask()
            except (KafkaError, ConnectionError):
                await asyncio.sleep(0.1)


@asynccontextmanager
async def connected(access: Access, data: Sequence[Path], plans: Sequence[TopicPlan]) -> AsyncIterator[Cluster]:
    """The cluster, for a block, with the topics as they were planned."""
    patience = {"request_timeout_ms": round(ASKED_AGAIN_AFTER_S * 1000)}
    admin = AIOKafkaAdminClient(**access.options, **patience)
    consumer = AIOKafkaConsumer(**access.options, **patience, enable_auto_commit=False)
    await admin.start()
    try:
        await consumer.start()
        try:
            settings = {plan.name: dict(plan.settings) for plan in plans}
            yield Cluster(admin, consumer, data, plans[0].partitions, settings)
        finally:
            await consumer.stop()
    finally:
        await admin.close()
