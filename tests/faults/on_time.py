"""Faults that take days or weeks, made small."""

from __future__ import annotations

import asyncio

from aiokafka import AIOKafkaProducer
from msgspec import json

from notifier.demo.history import Message, Order, TradeWord
from notifier.demo.world.lives import Sending
from notifier.kafka.reader import Reader
from notifier.record import Record, Stored
from notifier.topics import partition_of
from tests.faults.stage import Stage
from tests.waiting import until


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
    first = (await _records(stage, stage.topics.orders, partition, key))[0].record
    marks = stage.marks()
    await _append(stage, partition, _again(first, version=2, state_version=99))
    await stage.alipayhk.send_all([_told(order, "TRADE_SUCCESS")], rate=100)
    stuck_at = (await _records(stage, inbox, partition, key))[-1].offset
    holder = next(
        stage.part(name) for name, partitions in (await stage.held_by("orders")).items() if partition in partitions
    )
    await holder.said("partition.stuck", marks[holder.name], partition=partition, reason="newer_state_version")

    others = [number for number in range(stage.cluster.partitions) if number != partition]
    await stage.committed_upto(group, inbox, await stage.cluster.ends(inbox), others)
    committed = (await stage.cluster.committed(group, inbox))[partition]
    assert committed <= stuck_at, "what is not understood is not done"

    await _append(stage, partition, _again(first, version=3, state_version=1))
    await holder.end()
    await holder.start()
    await stage.gone_on()


def _told(order: Order, status: TradeWord) -> Sending:
    return Sending(Message(order, f"2026{7:024}", f"newer{status:_>30}", status, 4200))


async def _records(stage: Stage, topic: str, partition: int, key: bytes) -> list[Stored]:
    """The records of an order in a topic, once there is one."""
    reader = Reader(stage.access)
    found: list[Stored] = []

    async def is_there() -> bool:
        found.clear()
        start, end = await reader.bounds(topic, partition)
        async for chunk in reader.read(topic, partition, start, end):
            found.extend(stored for stored in chunk.records if stored.record.key == key)
        return bool(found)

    try:
        await until(is_there, 60.0, f"{topic} has a record of {key.decode()}")
    finally:
        await reader.close()
    return found


def _again(record: Record, *, version: int, state_version: int) -> Record:
    """The same event as if it were another version, in the state of another release."""
    value = json.decode(record.value)
    id_ = f"evt_{version:032x}"
    value["event"] |= {"version": version, "id": id_}
    value["order"]["version"] = version
    value["state_version"] = state_version
    if state_version != 1:
        value["facts"] = {"of": "a later release"}
    changed = {"ce_id": id_.encode(), "ce_orderversion": str(version).encode()}
    return Record(
        record.key,
        json.encode(value),
        tuple((name, changed.get(name, content)) for name, content in record.headers),
    )


async def _append(stage: Stage, partition: int, record: Record) -> None:
    producer = AIOKafkaProducer(**stage.access.options, acks="all")
    await producer.start()
    try:
        await producer.send_and_wait(
            stage.topics.orders, record.value, record.key, partition=partition, headers=list(record.headers)
        )
    finally:
        await producer.stop()


async def _without_consumers(stage: Stage) -> None:
    await asyncio.gather(*(part.end() for part in stage.consumers))
    for group, _ in stage.groups.values():
        await stage.cluster.until_empty(group)


async def _with_consumers(stage: Stage) -> None:
    await asyncio.gather(*(part.start() for part in stage.consumers))
    await stage.at_rest()
