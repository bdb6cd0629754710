"""
What a piece of evidence states, in this project's words.

AlipayHK's words stop where its messages are parsed (`notifier.alipayhk`); from there on these values travel. What needs more
than the message to judge (payee, currency, amount) is still text here: it is the fold's to judge, under the policy of the channel
at the moment the evidence arrived.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec


class TradeStatus(StrEnum):
    """How AlipayHK says that a trade stands."""

    WAITING = "waiting"
    PAID = "paid"
    FINAL = "final"
    """Paid, and nothing more will change but refunds. On forex trades it is the first paid status that is seen."""
    CLOSED = "closed"


class RefundStatement(msgspec.Struct, frozen=True):
    """A refund that a message tells of. `number` is the merchant's `out_return_no`; messages about trades mostly lack it."""

    number: str | None
    is_done: bool
    at: datetime
    amount_text: str | None = None


class TradeStatement(msgspec.Struct, frozen=True):
    """A message about one trade of one order."""

    order: str
    trade_no: str
    status: TradeStatus
    amount_text: str | None
    currency_text: str | None
    made_at: datetime
    """When AlipayHK made the message; a resend may carry a newer time."""
    paid_at: datetime | None = None
    closed_at: datetime | None = None
    refund: RefundStatement | None = None
    seller_ids: tuple[str, ...] = ()
    """Who is named as payee; compared with the channel's `seller_id` and `partner_id`."""
    partner_ids: tuple[str, ...] = ()
    """Whose account is named; compared with the channel's `partner_id` alone."""


class RegistrationStatement(msgspec.Struct, frozen=True):
    """The merchant announced an order before it was paid; amount in minor units."""

    order: str
    amount: int
    currency: str
    made_at: datetime
    wallet: str | None = None
    payment: str | None = None
    metadata: dict[str, str] = {}


class ReleaseStatement(msgspec.Struct, frozen=True):
    """An operator's word: the held payment of this trade counts."""

    order: str
    trade_no: str
    made_at: datetime
    reason: str


Statement = TradeStatement | RegistrationStatement | ReleaseStatement
