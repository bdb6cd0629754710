"""What goes wrong between evidence and orders."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from notifier.demo.history import Order
from tests.alarms.injected.sitecustomize import BUG_IN_ANSWER, BUG_IN_FOLD
from tests.alarms.product import Product


@asynccontextmanager
async def told_twice(product: Product) -> AsyncIterator[None]:
    """AlipayHK did not hear `success`, and tells it again."""
    order = product.order("peak")
    await product.tell(order)
    await product.tell(order)
    yield


@asynccontextmanager
async def third_resend(product: Product) -> AsyncIterator[None]:
    """AlipayHK tells now of a payment an hour ago."""
    assert await product.tell_oddly(product.order("peak"), ago=timedelta(hours=1)) == 200
    yield


@asynccontextmanager
async def unknown_word(product: Product) -> AsyncIterator[None]:
    """AlipayHK signs a status that this version does not know. Looked at as the runbook says."""
    assert await product.tell_oddly(product.order("peak"), trade_status="TRADE_ODD") == 200
    yield
    (line,) = product.lines("evidence.quarantined", {}, reason="unknown_status")
    assert "TRADE_ODD" in await product.command("quarantine", "show", f"{line['partition']}-{line['offset']}")


@asynccontextmanager
async def bug_in_the_fold(product: Product) -> AsyncIterator[None]:
    """The fold raises for one order."""
    await product.tell(Order("peak", BUG_IN_FOLD))
    yield


@asynccontextmanager
async def bug_in_an_answer(product: Product) -> AsyncIterator[None]:
    """Showing one order raises."""
    order, marks = Order("peak", BUG_IN_ANSWER), product.marks()
    await product.tell(order)
    await product.folded(order, marks)
    async with product.asking() as session, session.get(f"{product.internal}/v1/orders/peak/{order.number}") as answer:
        assert answer.status == 500
    yield
