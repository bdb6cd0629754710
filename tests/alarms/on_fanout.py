"""What goes wrong between orders and merchants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from notifier.record import Record
from tests.alarms.product import CROWD, PARTITIONS_AT_WORK, SEEN_WITHIN_S, Product
from tests.faults.planted import append

WAITING = 1010
"""More than `NotifierDeliveriesWaiting` lets wait."""
STRANGERS = Record(b"x", b"not ours", ())
PATIENT, IMPATIENT = "first_retry_s = 0.5", "give_up_after_s = 1.0\nfirst_retry_s = 0.5"


@asynccontextmanager
async def starts_without_a_place(product: Product) -> AsyncIterator[None]:
    """There are orders in each partition, and fan-out was never there."""
    orders, marks = [product.order("peak", partition) for partition in PARTITIONS_AT_WORK], product.marks()
    await product.tell(*orders)
    await product.said("order.changed", marks, count=len(orders))
    await product.parts["fanout"].start()
    yield


@asynccontextmanager
async def merchant_gone(product: Product) -> AsyncIterator[None]:
    """A merchant's system answers 410. Mended as the runbook says: once it may be called again, it is resumed."""
    product.sink.answers["shop"] = 410
    await product.tell(product.order("peak"))
    yield
    del product.sink.answers["shop"]
    await product.command("endpoints", "resume", "shop")


@asynccontextmanager
async def all_fail(product: Product) -> AsyncIterator[None]:
    """Ten of thirteen merchants fail at once."""
    product.sink.answers |= dict.fromkeys(CROWD, 500)
    await product.tell(product.order("market"), status="TRADE_CLOSED")
    yield
    for name in CROWD:
        del product.sink.answers[name]


@asynccontextmanager
async def calm(product: Product) -> AsyncIterator[None]:
    """They are well again, and something comes for them now and then."""
    async with asyncio.timeout(SEEN_WITHIN_S):
        while not product.lines("endpoints.recovered", {}):
            await product.tell(product.order("market"), status="TRADE_CLOSED")
            await asyncio.sleep(1.0)
    yield


@asynccontextmanager
async def merchant_fails_for_long(product: Product) -> AsyncIterator[None]:
    """A merchant's system answers 500 while a thousand orders are told of."""
    product.sink.answers["tickets"] = 500
    await product.tell(*(product.order("ferry") for _ in range(WAITING)))
    yield


@asynccontextmanager
async def no_more_patience(product: Product) -> AsyncIterator[None]:
    """The settings give a merchant that fails a second instead of three days; then, three days again."""
    product.rewrite((PATIENT, IMPATIENT))
    product.hang_up("fanout")
    yield
    product.rewrite((IMPATIENT, PATIENT))
    product.hang_up("fanout")


@asynccontextmanager
async def redriven(product: Product) -> AsyncIterator[None]:
    """Dead letters again, as the runbook of `delivery.exhausted` says."""
    del product.sink.answers["tickets"]
    await product.command("deliveries", "redrive", "--endpoint", "tickets")
    yield


@asynccontextmanager
async def compacted_away(product: Product) -> AsyncIterator[None]:
    """What waits for a merchant is superseded, and Kafka's cleaner takes it; a process that does not hold it calls again."""
    order = product.order("peak")
    await product.cluster.configure(product.topics.orders, segment_ms="500", min_cleanable_dirty_ratio="0.001")
    product.sink.answers["shop"] = 500
    marks = product.marks()
    await product.tell(order)
    await product.said("delivery.attempted", marks, endpoint="shop", order=order.number, outcome="failed")
    await product.tell(order, status="TRADE_SUCCESS")
    await product.tell(order, status="TRADE_FINISHED")
    await product.parts["fanout"].end()
    # the cleaner leaves the last segment alone: what is superseded must lie before it
    await asyncio.sleep(0.6)
    await product.tell(product.order("peak", product.partition_of(order)))
    await product.said("order.changed", marks, count=4)
    await product.cluster.compact(product.topics.orders)
    del product.sink.answers["shop"]
    await product.parts["fanout"].start()
    yield


@asynccontextmanager
async def rubbish_among_orders(product: Product) -> AsyncIterator[None]:
    """Somebody else writes into the orders topic."""
    await append(product.access, product.topics.orders, 1, STRANGERS)
    yield


@asynccontextmanager
async def rubbish_where_work_is_done(product: Product) -> AsyncIterator[None]:
    """The same, and orders come in that partition: whoever works there sees it with what it folds next."""
    await append(product.access, product.topics.orders, 1, STRANGERS)
    for _ in range(2):
        order, marks = product.order("peak", 1), product.marks()
        await product.tell(order)
        await product.folded(order, marks)
    yield


@asynccontextmanager
async def rubbish_among_commands(product: Product) -> AsyncIterator[None]:
    """Somebody else writes into the commands topic."""
    await append(product.access, product.topics.commands, 1, STRANGERS)
    yield
