"""
A simulated AlipayHK: it signs what it has to tell, POSTs it, and sends again whatever is not answered `success`.

Its day is sped up: the resends of 24 hours come within minutes, and carry the times that they would have had.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

import aiohttp

from notifier.alipayhk.compose import compose
from notifier.alipayhk.form import canonical
from notifier.alipayhk.mapi import PROTOCOL
from notifier.clock import Clock
from notifier.demo.history import Message, Post
from notifier.demo.world.accounts import Account
from notifier.demo.world.forgeries import KINDS
from notifier.demo.world.lives import Sending
from notifier.evidence import evidence_id

RESENT_AFTER_S = (120, 600, 600, 3600, 7200, 21_600, 54_000)
"""AlipayHK's seven gaps between eight tries, in its own seconds (alipayhk.md, 2.7)."""

SPED_UP = 400
"""So many of its seconds pass in one of ours between resends: the first comes after 0.3 s, the third after 3 s."""

IN_FLIGHT_MAX = 64
"""POSTs that wait for an answer at once; beyond it sending falls behind its rate."""

ANSWER_S = 10.0
_TICK_S = 0.02
_AHEAD_OF_UTC = timedelta(hours=8)
_FORM = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}


class AlipayHK:
    """AlipayHK's notification service, and the forger who knows its paths. An async context manager."""

    def __init__(self, url: str, accounts: Sequence[Account], clock: Clock) -> None:
        """`url` is the public listener's."""
        self._url = url
        self._accounts = {account.channel: account for account in accounts}
        self._clock = clock
        self._room = asyncio.Semaphore(IN_FLIGHT_MAX)
        self._session: aiohttp.ClientSession | None = None
        self.posts: list[Post] = []
        self.first_sent_at: dict[str, float] = {}
        """When each piece of evidence was first sent, by its id, on the event loop's clock."""

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            self._url,
            connector=aiohttp.TCPConnector(limit=IN_FLIGHT_MAX),
            timeout=aiohttp.ClientTimeout(total=ANSWER_S),
            trust_env=False,
            headers=_FORM,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._session is not None
        await self._session.close()

    async def send_all(self, plan: Sequence[Sending], *, rate: float) -> None:
        """
        Send the plan at `rate` entries a second, however long answers take; return once each has its `success`.

        What AlipayHK gives up after eight tries stays without one.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        sent = 0
        async with asyncio.TaskGroup() as tasks:
            while sent < len(plan):
                due = min(len(plan), int((loop.time() - began) * rate) + 1)
                for sending in plan[sent:due]:
                    await self._room.acquire()
                    tasks.create_task(self._send(sending))
                sent = due
                await asyncio.sleep(_TICK_S)

    async def _send(self, sending: Sending) -> None:
        message, account = sending.message, self._accounts[sending.message.order.channel]
        now = self._clock.now()
        try:
            if sending.forgery is not None:
                fields = fields_of(message, account, now, now)
                body = KINDS[sending.forgery](fields, account)
                await self._post(message, account, body, forgery=sending.forgery)
                return
            body, named = _compose(message, account, now, now)
            if sending.is_twice:
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._post(message, account, body, named))
                    second = both.create_task(self._post(message, account, body, named))
                is_heard = second.result()
            else:
                is_heard = await self._post(message, account, body, named)
        finally:
            self._room.release()
        if sending.is_resent or not is_heard:
            await self._resend(message, account, now)

    async def _resend(self, message: Message, account: Account, first_at: datetime) -> None:
        """Again and again, with the time that each try would have had, until `success` is heard."""
        at = first_at
        for gap_s in RESENT_AFTER_S:
            await asyncio.sleep(gap_s / SPED_UP)
            at += timedelta(seconds=gap_s)
            async with self._room:
                if await self._post(message, account, *_compose(message, account, first_at, at)):
                    return

    async def _post(
        self, message: Message, account: Account, body: bytes, named: str = "", forgery: str | None = None
    ) -> bool:
        """POST once; whether the answer was `success`. `named` is the id of the evidence, which a forgery has none of."""
        assert self._session is not None, "it is open"
        if named:
            self.first_sent_at.setdefault(named, asyncio.get_running_loop().time())
        status: int | None = None
        is_success = False
        try:
            async with self._session.post(account.path, data=body) as response:
                is_success = (await response.read()) == b"success" and response.status == 200
                status = response.status
        except (aiohttp.ClientError, TimeoutError):
            status = None  # it will be sent again
        self.posts.append(Post(message, account.channel, body, forgery, named, status, is_success))
        return is_success


def _compose(message: Message, account: Account, first_at: datetime, sent_at: datetime) -> tuple[bytes, str]:
    """A signed body, and the id of the evidence that it is."""
    fields = fields_of(message, account, first_at, sent_at)
    signed = canonical({name.encode(): value.encode() for name, value in fields.items()})
    return compose(fields, account.sign_type, account.key), evidence_id(account.channel, PROTOCOL, signed)


def fields_of(message: Message, account: Account, first_at: datetime, sent_at: datetime) -> dict[str, str]:
    """
    What a notification says, in the fields that AlipayHK uses (alipayhk.md, 2.2).

    A resend has the time at which it was sent; what it tells of happened when it was first sent.
    """
    happened = _gmt8(first_at)
    fields = {
        "notify_id": message.notify_id,
        "notify_type": "trade_status_sync",
        "notify_time": _gmt8(sent_at),
        "out_trade_no": message.order.number,
        "trade_no": message.trade_no,
        "trade_status": message.status,
        "total_fee": _decimal(message.amount),
        "currency": "HKD",
    }
    if not account.is_brief:
        fields |= {
            "subject": "山頂纜車來回票 + 蠟像館",
            "payment_type": "1",
            "seller_id": account.partner_id,
            "seller_email": "tickets@merchant.example",
            "buyer_id": "2160220000000001",
            "buyer_email": "buyer@example.com",
            "price": _decimal(message.amount),
            "quantity": "1",
            "body": "",  # sent and not signed
        }
    if message.status in ("TRADE_SUCCESS", "TRADE_FINISHED") and not account.is_brief:
        fields["gmt_payment"] = happened
    if message.status == "TRADE_CLOSED":
        fields["gmt_close"] = happened
    if message.refund is not None:
        fields |= {"refund_status": "REFUND_SUCCESS", "gmt_refund": happened}
        if message.refund.number is not None:
            fields |= {"out_return_no": message.refund.number, "return_amount": _decimal(message.refund.amount)}
    return fields


def _decimal(amount: int) -> str:
    return f"{amount // 100}.{amount % 100:02}"


def _gmt8(at: datetime) -> str:
    return (at + _AHEAD_OF_UTC).strftime("%Y-%m-%d %H:%M:%S")
