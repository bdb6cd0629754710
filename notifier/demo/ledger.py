"""What became of each order in AlipayHK's own books: the other side of the comparison, in its own terms and without our code."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from notifier.demo.history import Message, Order, Post

_PAID = ("TRADE_SUCCESS", "TRADE_FINISHED")


@dataclass(frozen=True, slots=True)
class Account:
    """One order. Amounts are in minor units of HKD."""

    status: str
    paid: int
    refunded: int


def accounts(posts: Iterable[Post]) -> dict[Order, Account]:
    """The books, as far as AlipayHK heard `success` for what it told. Who believed a forgery finds it missing here."""
    told: defaultdict[Order, list[Message]] = defaultdict(list)
    for post in posts:
        if post.forgery is None and post.is_success:
            told[post.message.order].append(post.message)
    return {order: _account(messages) for order, messages in told.items()}


def _account(messages: list[Message]) -> Account:
    paid = {message.trade_no: message.amount for message in messages if message.status in _PAID}
    parts: dict[str, int] = {}
    whole = 0
    is_closed = False
    for message in messages:
        is_closed = is_closed or message.status == "TRADE_CLOSED"
        if message.refund is None:
            continue
        if message.refund.number is not None:
            parts[message.refund.number] = message.refund.amount
        else:
            whole = paid.get(message.trade_no, 0)
    refunded = whole or sum(parts.values())
    if paid:
        return Account("refunded" if refunded >= sum(paid.values()) else "paid", sum(paid.values()), refunded)
    return Account("closed" if is_closed else "pending", 0, refunded)
