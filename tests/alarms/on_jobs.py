"""What goes wrong with the jobs' partitions and with what they believe."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from notifier.demo.history import Order
from tests.alarms.product import PARTITIONS_AT_WORK, STANDS_STILL, Product
from tests.faults.planted import again, append, records_of

LATE_ROUNDS = 3
"""Of five late records each; the alert wants more than ten."""
FLUSHES = 16
"""Of five partitions of two logs each; the alert wants more than 150."""
MANY_RECORDS = 20_000
"""More than what is read in less than a second (`consumers.rebuilding`)."""


def _key(order: Order) -> bytes:
    return f"{order.channel}/{order.number}".encode()


@asynccontextmanager
async def later_release(product: Product) -> AsyncIterator[None]:
    """A record of a later release lies in one partition, and evidence about its order comes. It stays so."""
    order, marks = product.order("peak", STANDS_STILL), product.marks()
    await product.tell(order)
    await product.folded(order, marks)
    (first,) = await records_of(product.access, product.topics.orders, STANDS_STILL, _key(order))
    later = again(first.record, version=5, state_version=99)
    await append(product.access, product.topics.orders, STANDS_STILL, later)
    # whoever works there sees it with what it folds next
    for _ in range(2):
        other, marks = product.order("peak", STANDS_STILL), product.marks()
        await product.tell(other)
        await product.folded(other, marks)
    await product.tell(order, status="TRADE_SUCCESS")
    product.notes["later_release"] = first.record
    yield


@asynccontextmanager
async def waits_for_a_minute(product: Product) -> AsyncIterator[None]:
    """That partition has stood still for more than a minute. Mended as its line says: old and new are not mixed any more."""
    yield
    taken_back = again(product.notes["later_release"], version=6, state_version=1)
    await append(product.access, product.topics.orders, STANDS_STILL, taken_back)
    await product.parts["orders"].end()
    await product.parts["orders"].start()


@asynccontextmanager
async def late_records(product: Product) -> AsyncIterator[None]:
    """An owner that was late writes older records behind newer ones, again and again."""
    for _ in range(LATE_ROUNDS):
        orders, marks = [product.order("peak", partition) for partition in PARTITIONS_AT_WORK], product.marks()
        await product.tell(*orders)
        await product.tell(*orders, status="TRADE_SUCCESS")
        await product.said("order.changed", marks, count=2 * len(orders))
        for order in orders:
            partition = product.partition_of(order)
            first, *_ = await records_of(product.access, product.topics.orders, partition, _key(order))
            await append(product.access, product.topics.orders, partition, first.record)
        # whoever works there sees it with what it folds next
        for _ in range(2):
            others, before = [product.order("peak", partition) for partition in PARTITIONS_AT_WORK], product.marks()
            await product.tell(*others)
            await product.said("order.changed", before, count=len(others))
        await product.said("log.healed", marks, count=len(orders))
    yield


@asynccontextmanager
async def redis_loses_all(product: Product) -> AsyncIterator[None]:
    """Redis is emptied again and again while orders come in every partition."""
    for _ in range(FLUSHES):
        marks = product.marks()
        await product.redis.flushall()
        await product.tell(*(product.order("peak", partition) for partition in PARTITIONS_AT_WORK))
        for topic in (product.topics.orders, product.topics.deliveries):
            await product.said("view.repaired", marks, count=len(PARTITIONS_AT_WORK), topic=topic)
    yield


@asynccontextmanager
async def much_to_read(product: Product) -> AsyncIterator[None]:
    """One partition's log has grown long (one record thousands of times, as it may lie there), and Redis is emptied."""
    order, marks = product.order("peak"), product.marks()
    partition = product.partition_of(order)
    await product.tell(order)
    await product.folded(order, marks)
    (first,) = await records_of(product.access, product.topics.orders, partition, _key(order))
    await append(product.access, product.topics.orders, partition, *([first.record] * MANY_RECORDS))
    await product.redis.flushall()
    await product.tell(product.order("peak", partition))
    yield


@asynccontextmanager
async def frozen_job(product: Product) -> AsyncIterator[None]:
    """Fan-out stands still (SIGSTOP): it says nothing, nor how it is."""
    product.parts["fanout"].freeze()
    yield
    product.parts["fanout"].thaw()


@asynccontextmanager
async def refused_appends(product: Product) -> AsyncIterator[None]:
    """Kafka takes nothing that is longer than 100 bytes; then it does again."""
    topic = product.topics.orders
    before = product.cluster.settings[topic]["max.message.bytes"]
    await product.cluster.configure(topic, max_message_bytes="100")
    await product.tell(product.order("peak"))
    yield
    await product.cluster.configure(topic, max_message_bytes=before)
