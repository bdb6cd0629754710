"""Faults that take days or weeks, made small."""

from __future__ import annotations

import asyncio

from notifier.demo.history import Message, Order, TradeWord
from notifier.demo.world.lives import Sending
from notifier.topics import partition_of
from tests.faults.planted import again, append, records_of
from tests.faults.stage import Stage


async def groups_deleted(stage: Stage) -> None:
    """No consumer ran for a week: Kafka has forgotten both groups."""
    await _without_consumers(stage)
    for group, _ in stage.groups.values():
        await stage.cluster.forget_group(group)
    await _with_consumers(stage)


async def inbox_truncated(stage: Stage) -> None:
    """Retention has taken all evidence that was done, and Redis is empty: orders are known from their own log alone."""
    await _without_consumers(stage)
    group, inbox = stage.groups["orders"]
    await stage.cluster.truncate(inbox, await stage.cluster.committed(group, inbox))
    await stage.redis.flushall()
    await _with_consumers(stage)


async def compacted(stage: Stage) -> None:
    """All that was superseded is compacted away, and Redis is built anew from what is left."""
    for topic in (stage.topics.orders, stage.topics.deliveries):
        await stage.cluster.compact(topic)
    marks = stage.marks()
    await stage.redis.flushall()
    await _without_consumers(stage)
    await _with_consumers(stage)
    await stage.one_of_each_said("view.repaired", marks)


async def newer_state_version(stage: Stage) -> None:
    """
    A record of a later release: its partition is left alone, the others go on.

    The later release is then taken back: it writes what this one can read, and the process that waits is started again.
    """
    order = Order("peak", "NEWER0001")
    key = f"{order.channel}/{order.number}".encode()
    partition = partition_of(key, stage.cluster.partitions)
    stage.put_there.add(order.number)
    group, inbox = stage.groups["orders"]
    await stage.alipayhk.send_all([_told(order, "WAIT_BUYER_PAY")], rate=100)
    first = (await records_of(stage.access, stage.topics.orders, partition, key))[0].record
    marks = stage.marks()
    await append(stage.access, stage.topics.orders, partition, again(first, version=2, state_version=99))
    await stage.alipayhk.send_all([_told(order, "TRADE_SUCCESS")], rate=100)
    stuck_at = (await records_of(stage.access, inbox, partition, key))[-1].offset
    holder = next(
        stage.part(name) for name, partitions in (await stage.held_by("orders")).items() if partition in partitions
    )
    await holder.said("partition.stuck", marks[holder.name], partition=partition, reason="newer_state_version")

    others = [number for number in range(stage.cluster.partitions) if number != partition]
    await stage.committed_upto(group, inbox, await stage.cluster.ends(inbox), others)
    committed = (await stage.cluster.committed(group, inbox))[partition]
    assert committed <= stuck_at, "what is not understood is not done"

    await append(stage.access, stage.topics.orders, partition, again(first, version=3, state_version=1))
    await holder.end()
    await holder.start()
    await stage.gone_on()


def _told(order: Order, status: TradeWord) -> Sending:
    return Sending(Message(order, f"2026{7:024}", f"newer{status:_>30}", status, 4200))


async def _without_consumers(stage: Stage) -> None:
    await asyncio.gather(*(part.end() for part in stage.consumers))
    for group, _ in stage.groups.values():
        await stage.cluster.until_empty(group)


async def _with_consumers(stage: Stage) -> None:
    await asyncio.gather(*(part.start() for part in stage.consumers))
    await stage.at_rest()
