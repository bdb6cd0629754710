"""What goes wrong before a notification is in the inbox."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

from notifier.clock import SystemClock
from notifier.demo.world.accounts import Account
from notifier.evidence import rfc3339
from tests.alarms.product import SEEN_WITHIN_S, Product
from tests.alarms.see import next_round

CONNECTIONS = 910
"""More than a process takes (`notifier.door.http.Limits`)."""

BURST = 1200
HOUR_S, DAY_S = 3600.0, 86_400.0


@asynccontextmanager
async def swapped_key(product: Product) -> AsyncIterator[None]:
    """AlipayHK signs with another key than the settings have: nothing of the channel is believed."""
    await product.tell(*(product.order("ferry") for _ in range(30)), forgery="key of another")
    yield


@asynccontextmanager
async def forgeries(product: Product) -> AsyncIterator[None]:
    """Every second request of a channel is forged, and goes on to be."""
    for _ in range(2):
        await product.tell(*(product.order("market") for _ in range(15)))
        await product.tell(*(product.order("market") for _ in range(15)), forgery="sign missing")
        await next_round(product.scrapes)
    yield


@asynccontextmanager
async def too_many_connections(product: Product) -> AsyncIterator[None]:
    """Somebody opens connections and says nothing."""
    public, opened = product.settings.ingress.public, list[asyncio.StreamWriter]()
    try:
        for _ in range(CONNECTIONS):
            with suppress(ConnectionError):
                opened.append((await asyncio.open_connection(public.host, public.port))[1])
        yield
    finally:
        for writer in opened:
            writer.close()


@asynccontextmanager
async def key_that_ends_soon(product: Product) -> AsyncIterator[None]:
    """A key's `not_after` comes near. Mended as the runbook says: the time is moved."""
    before = _keys(product.accounts["peak"])
    after = f'keys = [{{file = "keys/peak.pem", not_after = "{rfc3339(SystemClock().now() + timedelta(days=10))}"}}]'
    product.rewrite((before, after))
    product.hang_up("serve")
    yield
    product.rewrite((after, before))
    product.hang_up("serve")


def _keys(account: Account) -> str:
    return f'keys = ["keys/{account.key_file}"]'


@asynccontextmanager
async def silence_after_a_busy_week(product: Product) -> AsyncIterator[None]:
    """
    A week in which it is busy at this hour, and then nobody comes. The clock of the process is put forward; scrapes are recorded
    at the time that it has.
    """
    await product.tell(product.order("market"))
    # ten minutes into the next hour: the hours of a day are what it compares
    first_s = HOUR_S - product.scrapes.now() % HOUR_S + 600.0
    for at_s in (first_s, first_s + 6 * DAY_S):
        product.put_clock(at_s)
        await next_round(product.scrapes)
        await product.tell(*(product.order("market") for _ in range(BURST)))
        await next_round(product.scrapes)
    marks, at_s = product.marks(), first_s + 7 * DAY_S
    async with asyncio.timeout(SEEN_WITHIN_S):
        while not product.lines("channel.silent", marks):
            product.put_clock(at_s)
            at_s += 30.0
            await asyncio.sleep(1.0)
    yield
