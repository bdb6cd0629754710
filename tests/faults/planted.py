"""Records that somebody else writes into a topic of ours: a later release, an owner that was late, a stranger."""

from __future__ import annotations

from aiokafka import AIOKafkaProducer
from msgspec import json

from notifier.kafka.access import Access
from notifier.kafka.reader import Reader
from notifier.record import Record, Stored
from tests.waiting import until

THERE_WITHIN_S = 60.0


async def records_of(access: Access, topic: str, partition: int, key: bytes) -> list[Stored]:
    """The records of a key in a topic, once there is one."""
    reader = Reader(access)
    found: list[Stored] = []

    async def is_there() -> bool:
        found.clear()
        start, end = await reader.bounds(topic, partition)
        async for chunk in reader.read(topic, partition, start, end):
            found.extend(stored for stored in chunk.records if stored.record.key == key)
        return bool(found)

    try:
        await until(is_there, THERE_WITHIN_S, f"{topic} has a record of {key.decode()}")
    finally:
        await reader.close()
    return found


def again(record: Record, *, version: int, state_version: int) -> Record:
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


async def append(access: Access, topic: str, partition: int, *records: Record) -> None:
    """Append records as they are."""
    producer = AIOKafkaProducer(**access.options, acks="all", linger_ms=5)
    await producer.start()
    try:
        sent = [
            await producer.send(topic, one.value, one.key, partition=partition, headers=list(one.headers))
            for one in records
        ]
        for each in sent:
            await each
    finally:
        await producer.stop()
