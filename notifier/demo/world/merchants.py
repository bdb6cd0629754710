"""
The merchants' systems: small web servers that verify what they get, as a merchant should, and write everything down.

One of them has a bad day: it answers 500 for a while, then nothing at all, then it is well again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from notifier.clock import Clock
from notifier.demo.history import Merchant, Webhook
from notifier.local.ports import HOST
from notifier.webhooks import Secret, Unverified, verify

HEARD_WITHOUT_ASKING = frozenset(
    "order.registered order.pending order.paid order.finalized order.closed order.refunded order.refund_failed "
    "order.flagged order.settled order.discrepancy".split()
)
"""What an endpoint hears whose settings name no events (contract, section 3)."""

MONEY = frozenset(("order.paid", "order.refunded", "order.closed"))

MERCHANTS = (
    Merchant("peak-shop", frozenset(("peak",)), HEARD_WITHOUT_ASKING),
    Merchant("ferry-tickets", frozenset(("ferry",)), HEARD_WITHOUT_ASKING),
    Merchant("market-books", frozenset(("market", "peak")), MONEY),
)
"""Two of them share a channel, and one hears of money alone, so that its lanes have gaps."""

FAILING = "ferry-tickets"

_BODY_BYTES_MAX = 512 * 1024
_STOP_S = 1.0


@dataclass(frozen=True, slots=True)
class BadDay:
    """When a merchant fails, in seconds from its first webhook: 500, then from `hangs_at` no answer, and well at `ends_at`."""

    fails_at: float
    hangs_at: float
    ends_at: float

    def at(self, since_s: float) -> Trouble | None:
        """What is wrong then."""
        if self.fails_at <= since_s < self.hangs_at:
            return Trouble(hangs_s=0.0)
        if self.hangs_at <= since_s < self.ends_at:
            return Trouble(hangs_s=self.ends_at - since_s)
        return None


@dataclass(frozen=True, slots=True)
class Trouble:
    """A 500, at once or after so long that nobody waits for it."""

    hangs_s: float


@dataclass(slots=True)
class Sink:
    """One merchant's system. What it was sent is in `webhooks`, shared by all, in the order in which it was answered."""

    merchant: Merchant
    secret: Secret = field(repr=False)
    bad_day: BadDay | None
    clock: Clock
    webhooks: list[Webhook]
    first_at: float | None = None

    async def receive(self, request: web.BaseRequest) -> web.Response:
        """Take one webhook."""
        now = asyncio.get_running_loop().time()
        if self.first_at is None:
            self.first_at = now
        body = await request.read()
        fault: str | None = None
        try:
            verify([self.secret], request.headers, body, self.clock.now().timestamp())
        except Unverified as unverified:
            fault = str(unverified)
        trouble = self.bad_day.at(now - self.first_at) if self.bad_day is not None else None
        status = 204 if fault is None else 401
        # written down before it is answered: the next one of the lane comes after this answer
        webhook_id = request.headers.get("webhook-id", "")
        is_accepted = fault is None and trouble is None
        self.webhooks.append(Webhook(self.merchant.name, webhook_id, body, fault, is_accepted, now))
        if trouble is not None:
            await asyncio.sleep(trouble.hangs_s)  # whoever called has long gone
            status = 500
        return web.Response(status=status)


@asynccontextmanager
async def open_shops(
    secrets: Sequence[Secret], webhooks: list[Webhook], bad_day: Callable[[str], BadDay | None], clock: Clock
) -> AsyncIterator[dict[str, str]]:
    """The merchants' systems, listening while the block runs; the URL of each by its name. `secrets` are in their order."""
    async with AsyncExitStack() as stack:
        urls = {}
        for merchant, secret in zip(MERCHANTS, secrets, strict=True):
            sink = Sink(merchant, secret, bad_day(merchant.name), clock, webhooks)
            app = web.Application(client_max_size=_BODY_BYTES_MAX)
            app.router.add_post("/hooks", sink.receive)
            runner = web.AppRunner(app, access_log=None, auto_decompress=False, shutdown_timeout=_STOP_S)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, HOST, 0).start()
            urls[merchant.name] = f"http://{HOST}:{runner.addresses[0][1]}/hooks"
        yield urls
