"""Kafka in trouble."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor

from tests.faults.stage import Stage


async def kafka_down(stage: Stage) -> None:
    """The broker is killed, stays away until everybody has said so, and comes back."""
    marks = stage.marks()
    await asyncio.to_thread(stage.kafka.kill)
    for part in stage.consumers:
        await part.said("kafka.unavailable", marks[part.name])
    await stage.part("serve").said("notification.not_stored", marks["serve"])
    await asyncio.to_thread(stage.kafka.start)
    for part in stage.consumers:
        await part.said("kafka.recovered", marks[part.name])
    await stage.at_rest()


async def coordinator_moved(stage: Stage) -> None:
    """The broker goes in order and comes back at once, twice: coordinators are looked for and load their offsets anew."""
    for _ in range(2):
        await asyncio.to_thread(stage.kafka.stop)
        await asyncio.to_thread(stage.kafka.start)
        await stage.at_rest()
        await stage.gone_on()


async def rebalance_storm(stage: Stage) -> None:
    """A stranger joins each group and leaves it again, ten times: each time all partitions are handed back and given anew."""
    reads = {
        "orders": [stage.topics.inbox],
        "fanout": [stage.topics.orders, stage.topics.commands],
    }
    for _ in range(10):
        for job, topics in reads.items():
            group, _ = stage.groups[job]
            await visit(stage, group, topics)
    await stage.at_rest()


class _Given(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka ships no types
    def __init__(self) -> None:
        self.partitions = asyncio.Event()

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        if assigned:
            self.partitions.set()

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """It has done nothing with them."""


async def visit(stage: Stage, group: str, topics: list[str]) -> None:
    """Be a member of a group until given a share of its partitions."""
    visitor = AIOKafkaConsumer(
        **stage.access.options,
        group_id=group,
        enable_auto_commit=False,
        partition_assignment_strategy=(RangePartitionAssignor,),
        session_timeout_ms=round(stage.session_timeout_s * 1000),
        heartbeat_interval_ms=500,
        rebalance_timeout_ms=30_000,
    )
    given = _Given()
    await visitor.start()
    try:
        visitor.subscribe(topics=topics, listener=given)
        async with asyncio.timeout(60):
            await given.partitions.wait()
    finally:
        await visitor.stop()


async def producer_poisoned(stage: Stage) -> None:
    """For a while the topics take no record larger than a hundred bytes: appends are refused, producers replaced."""
    topics = (stage.topics.inbox, stage.topics.orders, stage.topics.deliveries)
    before = {topic: stage.cluster.settings[topic]["max.message.bytes"] for topic in topics}
    # from the end to the beginning: else nothing would come that the next job could fail at
    for topic, part in zip(reversed(topics), ("fanout", "orders", "serve"), strict=True):
        marks = stage.marks()
        await stage.cluster.configure(topic, max_message_bytes="100")
        if part == "serve":
            await stage.part(part).said("notification.not_stored", marks[part])
        else:
            await stage.one_said(part, "producer.replaced", marks)
    for topic in topics:
        await stage.cluster.configure(topic, max_message_bytes=before[topic])
    await stage.gone_on()


async def commit_refused(stage: Stage) -> None:
    """All members are thrown out of their groups, three times: commits of the generation before are refused."""
    for _ in range(3):
        before = {group: await stage.cluster.members(group) for group, _ in stage.groups.values()}
        for group in before:
            await stage.cluster.kick(group)
        for group, members in before.items():
            await stage.cluster.until_members(group, 2, but=members)
        await stage.gone_on()
