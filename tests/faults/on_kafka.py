"""Kafka in trouble."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor

from notifier.local import Server
from tests.faults.stage import SEEN_WITHIN_S, Stage
from tests.waiting import until


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


async def broker_restarted(stage: Stage) -> None:
    """The only broker goes in order and comes back at once, twice: its groups' offsets are loaded anew."""
    for _ in range(2):
        await asyncio.to_thread(stage.kafka.stop)
        await asyncio.to_thread(stage.kafka.start)
        await stage.at_rest()
        await stage.gone_on()


async def coordinator_moved(stage: Stage) -> None:
    """Of three brokers the one that looks after a group goes in order, and another looks after it; then the other group's."""
    for group, _ in stage.groups.values():
        async with _without(stage, await stage.cluster.coordinator(group), group, Server.stop):
            await stage.gone_on()


async def broker_lost(stage: Stage) -> None:
    """Of three brokers the one that looks after a group is killed, with all that it leads; then the other group's."""
    for group, _ in stage.groups.values():
        async with _without(stage, await stage.cluster.coordinator(group), group, Server.kill):
            await stage.accepted_more(100)
            await stage.gone_on()


async def broker_frozen(stage: Stage) -> None:
    """The one that looks after a group stands still until the others have its work, and goes on as if it had still that."""
    for group, _ in stage.groups.values():
        node = await stage.cluster.coordinator(group)
        broker = stage.brokers[node - 1]
        os.kill(broker.pid, signal.SIGSTOP)
        try:
            await _moves(stage, group, node)
            await stage.accepted_more(100)
        finally:
            os.kill(broker.pid, signal.SIGCONT)
        await stage.all_copied()
        await stage.at_rest()
        await stage.gone_on()


async def majority_lost(stage: Stage) -> None:
    """Two of three brokers are killed, and come back when everybody has noticed: one copy alone is no acknowledgement."""
    marks = stage.marks()
    lost = stage.brokers[1:]
    for broker in lost:
        await asyncio.to_thread(broker.kill)
    for part in stage.consumers:
        await part.said("kafka.unavailable", marks[part.name])
    await stage.part("serve").said("notification.not_stored", marks["serve"])
    for broker in lost:
        broker.spawn()
    for broker in lost:
        await asyncio.to_thread(broker.wait_ready)
    for part in stage.consumers:
        await part.said("kafka.recovered", marks[part.name])
    await stage.all_copied()
    await stage.at_rest()


@asynccontextmanager
async def _without(stage: Stage, node: int, group: str, end: Callable[[Server], None]) -> AsyncIterator[None]:
    """The block begins when another broker looks after the group, and both groups are at rest; then this one comes back."""
    broker = stage.brokers[node - 1]
    await asyncio.to_thread(end, broker)
    await _moves(stage, group, node)
    await stage.at_rest()
    yield
    await asyncio.to_thread(broker.start)
    await stage.all_copied()


async def _moves(stage: Stage, group: str, node: int) -> None:
    async def is_moved() -> bool:
        return await stage.cluster.coordinator(group) != node

    await until(is_moved, SEEN_WITHIN_S, f"another than broker {node} looks after {group}")


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
