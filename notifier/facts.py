"""
Facts: the single things that evidence states about an order, each with an identity of its own.

Facts are only ever added. A repetition states facts that are already there, so it adds nothing; late news cannot undo earlier
news. What the facts amount to is `notifier.order.derive`'s to say.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Literal, assert_never

import msgspec

from notifier.errors import Reason, Unusable
from notifier.evidence import Policy
from notifier.money import is_currency, minor_units
from notifier.statement import RegistrationStatement, ReleaseStatement, Statement, TradeStatement, TradeStatus

FACTS_MAX = 256
"""An order has a handful; a bound keeps one order from growing without end (contract, section 6)."""


class _Fact(msgspec.Struct, frozen=True, tag_field="fact"):
    """A fact's identity is what makes it the same fact when it is told again; `at` never belongs to it."""


class Registered(_Fact, frozen=True, tag="registered"):
    """The merchant announced the order. `binds` unless a counted payment was there before: then it holds nothing, it flags."""

    amount: int
    currency: str
    binds: bool
    wallet: str | None = None
    payment: str | None = None
    metadata: dict[str, str] = {}

    @property
    def identity(self) -> tuple[str, ...]:
        """An order is registered once."""
        return ("registered",)


class Waiting(_Fact, frozen=True, tag="waiting"):
    """A trade was opened and waits for the payer."""

    trade_no: str
    amount: int | None
    currency: str
    channel_currency: str

    @property
    def identity(self) -> tuple[str, ...]:
        """One trade, one notified amount, under one policy."""
        return ("waiting", self.trade_no, self.currency, str(self.amount), self.channel_currency)


class Paid(_Fact, frozen=True, tag="paid"):
    """A trade was paid. The last two fields are the channel's policy when this was told."""

    trade_no: str
    amount: int
    currency: str
    at: datetime
    channel_currency: str
    registered_only: bool

    @property
    def identity(self) -> tuple[str, ...]:
        """
        One trade, one amount, under one policy.

        The same trade told with another amount is another fact, and a contradiction. Told under another policy it is another
        fact too: whether it counts must not depend on which policy it was told under first.
        """
        policy = (self.channel_currency, str(self.registered_only))
        return ("paid", self.trade_no, self.currency, str(self.amount), *policy)


class Final(_Fact, frozen=True, tag="final"):
    """A paid trade is final at AlipayHK."""

    trade_no: str

    @property
    def identity(self) -> tuple[str, ...]:
        """One trade."""
        return ("final", self.trade_no)


class Closed(_Fact, frozen=True, tag="closed"):
    """A trade was closed: timed out, cancelled, or refunded in whole."""

    trade_no: str
    amount: int | None
    currency: str
    channel_currency: str
    at: datetime

    @property
    def identity(self) -> tuple[str, ...]:
        """One trade, one notified amount, under one policy."""
        return ("closed", self.trade_no, self.currency, str(self.amount), self.channel_currency)


class Refund(_Fact, frozen=True, tag="refund"):
    """A refund with a number of its own ended, well or not; `amount` is None where nobody told it in the channel's currency."""

    refund: str
    is_done: bool
    amount: int | None
    at: datetime
    trade_no: str | None

    @property
    def identity(self) -> tuple[str, ...]:
        """One refund, one end, one amount, told about one trade."""
        return ("refund", self.refund, str(self.is_done), str(self.amount), self.trade_no or "")


class RefundTold(_Fact, frozen=True, tag="refund_told"):
    """A message about a trade tells of a refund that has no number: how much was refunded is known only with a close."""

    trade_no: str
    with_close: bool

    @property
    def identity(self) -> tuple[str, ...]:
        """One trade, with its close or apart from it."""
        return ("refund_told", self.trade_no, str(self.with_close))


class Released(_Fact, frozen=True, tag="released"):
    """An operator said that the held payment of this trade counts."""

    trade_no: str
    reason: str

    @property
    def identity(self) -> tuple[str, ...]:
        """One trade is released once."""
        return ("released", self.trade_no)


Fact = Registered | Waiting | Paid | Final | Closed | Refund | RefundTold | Released
Facts = tuple[Fact, ...]
"""Sorted by identity, so that the same set is the same bytes however it came together."""


def add(known: Facts, stated: Iterable[Fact]) -> Facts:
    """
    The known facts and those of the stated ones that are new.

    What is known is never touched. When a payment, a close or a refund is told again with another amount, the new fact takes over
    the time of the first telling: their `at` is that of the first evidence that told them.
    """
    facts = {fact.identity: fact for fact in known}
    count = len(facts)
    for fact in stated:
        identity = fact.identity
        if identity not in facts:
            facts[identity] = _with_first_time(fact, known)
    if len(facts) == count:
        return known
    return tuple([facts[identity] for identity in sorted(facts)])


def _with_first_time(fact: Fact, known: Facts) -> Fact:
    for earlier in known:
        if isinstance(fact, Paid) and isinstance(earlier, Paid) and earlier.trade_no == fact.trade_no:
            return msgspec.structs.replace(fact, at=earlier.at)
        if isinstance(fact, Closed) and isinstance(earlier, Closed) and earlier.trade_no == fact.trade_no:
            return msgspec.structs.replace(fact, at=earlier.at)
        if isinstance(fact, Refund) and isinstance(earlier, Refund) and earlier.refund == fact.refund:
            return msgspec.structs.replace(fact, at=earlier.at)
    return fact


def stated_by(statement: Statement, policy: Policy) -> list[Fact]:
    """
    The facts that a statement states, read under the channel's policy.

    Raises:
        Unusable: payee_mismatch, or bad_field for an amount or a currency that is none.
    """
    match statement:
        case TradeStatement():
            return _stated_by_trade(statement, policy)
        case RegistrationStatement(amount=amount, currency=currency, wallet=wallet, payment=payment, metadata=metadata):
            return [Registered(amount, currency, binds=True, wallet=wallet, payment=payment, metadata=metadata)]
        case ReleaseStatement(trade_no=trade_no, reason=reason):
            return [Released(trade_no, reason)]
        case _:
            assert_never(statement)


def _stated_by_trade(trade: TradeStatement, policy: Policy) -> list[Fact]:
    _judge_payee(trade, policy)
    currency = trade.currency_text or policy.currency
    if not is_currency(currency):
        raise Unusable(Reason.BAD_FIELD)
    amount = _amount(trade.amount_text, currency)

    facts: list[Fact] = []
    match trade.status:
        case TradeStatus.WAITING:
            facts.append(Waiting(trade.trade_no, amount, currency, policy.currency))
        case TradeStatus.PAID | TradeStatus.FINAL:
            if amount is None:
                raise Unusable(Reason.BAD_FIELD)
            at = trade.paid_at or trade.made_at
            facts.append(
                Paid(
                    trade.trade_no, amount, currency, at, policy.currency, registered_only=policy.orders == "registered"
                )
            )
            if trade.status is TradeStatus.FINAL:
                facts.append(Final(trade.trade_no))
        case TradeStatus.CLOSED:
            facts.append(Closed(trade.trade_no, amount, currency, policy.currency, trade.closed_at or trade.made_at))
        case _:
            assert_never(trade.status)

    refund = trade.refund
    if refund is not None and refund.number is not None:
        refunded = _amount(refund.amount_text, currency)
        # the money that counts is the channel's; what went back in another currency is not an amount of it, so it is not known
        known = refunded if currency == policy.currency else None
        facts.append(Refund(refund.number, refund.is_done, known, refund.at, trade.trade_no))
    elif refund is not None and refund.is_done:
        facts.append(RefundTold(trade.trade_no, with_close=trade.status is TradeStatus.CLOSED))
    return facts


def _judge_payee(trade: TradeStatement, policy: Policy) -> None:
    for given in trade.seller_ids:
        if given not in (policy.partner_id, policy.seller_id):
            raise Unusable(Reason.PAYEE_MISMATCH)
    for given in trade.partner_ids:
        if given != policy.partner_id:
            raise Unusable(Reason.PAYEE_MISMATCH)


def _amount(text: str | None, currency: str) -> int | None:
    if text is None:
        return None
    try:
        return minor_units(text, currency)
    except ValueError:
        raise Unusable(Reason.BAD_FIELD) from None


Status = Literal["registered", "pending", "paid", "closed", "refunded"]
