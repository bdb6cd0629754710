"""
Orders: a pure fold over evidence (design, section 5).

No clock, no I/O, no settings: time and the channel's policy come with the evidence. `decide` says what one piece of evidence
changes, `derive` what a set of facts amounts to (contract, section 6).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple, assert_never

import msgspec

from notifier.errors import Reason, Unusable
from notifier.evidence import Evidence
from notifier.facts import (
    FACTS_MAX,
    Closed,
    Fact,
    Facts,
    Final,
    Paid,
    Refund,
    RefundTold,
    Registered,
    Released,
    Status,
    Waiting,
    add,
    stated_by,
)
from notifier.statement import ReleaseStatement, Statement

LATE = timedelta(hours=25)
"""AlipayHK sends eight times within 24 h 22 m; what is first seen after 25 h was held up somewhere."""

_TRADE_NO, _REFUND, _AMOUNT = attrgetter("trade_no"), attrgetter("refund"), attrgetter("amount")


class Payment(msgspec.Struct, frozen=True):
    """The money of one trade; `held` says why it does not count."""

    trade_no: str
    amount: int
    currency: str
    at: datetime
    held: Reason | None


class RefundEntry(msgspec.Struct, frozen=True):
    """One refund by its number; `status` is `done` or `failed`, `amount` None while nobody has told it."""

    refund: str
    amount: int | None
    at: datetime
    status: str


class Summary(msgspec.Struct, frozen=True):
    """What facts amount to. Amounts are minor units of `currency`."""

    status: Status
    is_final: bool
    currency: str
    amount: int | None
    paid: int
    refunded: int
    trade_no: str | None
    paid_at: datetime | None
    closed_at: datetime | None
    wallet: str | None
    payment: str | None
    metadata: dict[str, str]
    payments: tuple[Payment, ...]
    refunds: tuple[RefundEntry, ...]
    flags: tuple[str, ...]


class Known(NamedTuple):
    """What is known of an order before the next evidence: its version, its facts, and what they amounted to."""

    version: int
    facts: Facts
    summary: Summary


class Changed(NamedTuple):
    """The evidence added facts: one record, one version higher. `held` sends the evidence to quarantine as well."""

    version: int
    facts: Facts
    summary: Summary
    event_type: str
    flags_added: tuple[str, ...]
    late: bool
    reason: str | None
    held: Reason | None


class Unchanged(NamedTuple):
    """The evidence states nothing new."""


class SetAside(NamedTuple):
    """The evidence is genuine and cannot be applied; the order is untouched."""

    reason: Reason


Decision = Changed | Unchanged | SetAside


def decide(known: Known | None, statement: Statement, evidence: Evidence) -> Decision:
    """
    Say what one piece of evidence changes about an order.

    Facts are only ever added, each under its own identity, so no order of arrival needs a rule of its own: what the facts amount
    to is `derive`'s to say.
    """
    before = known.facts if known else ()
    try:
        stated = stated_by(statement, evidence.policy)
    except Unusable as unusable:
        return SetAside(unusable.reason)
    if known and known.summary.paid:
        # a registration that is read after money was counted holds nothing; it only flags
        stated = [
            msgspec.structs.replace(fact, binds=False) if isinstance(fact, Registered) else fact for fact in stated
        ]
    facts = add(before, stated)
    if facts is before:
        return Unchanged()
    if len(facts) > FACTS_MAX:
        return SetAside(Reason.TOO_MANY_FACTS)

    summary = derive(facts, evidence.policy.currency)
    flags_before = known.summary.flags if known else ()
    flags_added = tuple([flag for flag in summary.flags if flag not in flags_before])
    added = [fact for fact in facts if fact not in before]
    return Changed(
        version=known.version + 1 if known else 1,
        facts=facts,
        summary=summary,
        event_type=_weightiest_change(
            known.summary if known else None,
            summary,
            has_finished=_finishes_paid_trade(before, added),
            has_new_flags=bool(flags_added),
        ),
        flags_added=flags_added,
        late=evidence.received_at - statement.made_at > LATE,
        reason=statement.reason if isinstance(statement, ReleaseStatement) else None,
        held=_held_now(summary, added),
    )


def _held_now(summary: Summary, added: Sequence[Fact]) -> Reason | None:
    """Why a payment that was just told of does not count."""
    held = [payment for payment in summary.payments if payment.held is not None]
    if not held:
        return None
    paid_trades = {fact.trade_no for fact in added if isinstance(fact, Paid)}
    return next((payment.held for payment in held if payment.trade_no in paid_trades), None)


def _finishes_paid_trade(before: Facts, added: Sequence[Fact]) -> bool:
    """Whether a trade that was paid before is final now: told as such even where another trade was final already."""
    finished = {fact.trade_no for fact in added if isinstance(fact, Final)}
    return bool(finished) and any(isinstance(fact, Paid) and fact.trade_no in finished for fact in before)


def _weightiest_change(before: Summary | None, after: Summary, *, has_finished: bool, has_new_flags: bool) -> str:
    """The type of the event: the weightiest thing that changed (contract, section 6)."""
    if before is None or before.status != after.status:
        if before and before.status == "refunded" and after.status == "paid":
            return "order.flagged"  # an order has at most one order.paid
        return f"order.{after.status}"
    if has_finished or (after.is_final and not before.is_final):
        return "order.finalized"
    told = {(refund.refund, refund.status) for refund in before.refunds}
    news = {refund.status for refund in after.refunds if (refund.refund, refund.status) not in told}
    if after.refunded > before.refunded or "done" in news:
        return "order.refunded"
    if "failed" in news:
        return "order.refund_failed"
    return "order.flagged" if has_new_flags else "order.noted"


def derive(facts: Facts, channel_currency: str) -> Summary:
    """
    Status, money and flags of an order, from nothing but its facts.

    Args:
        facts: at least one.
        channel_currency: what an order is counted in whose facts name no channel's currency (a lone refund).
    """
    registered: Registered | None = None
    waiting: list[Waiting] = []
    paid_facts: list[Paid] = []
    closed: list[Closed] = []
    refund_facts: list[Refund] = []
    told: list[RefundTold] = []
    final_trades: set[str] = set()
    released: set[str] = set()
    for fact in facts:
        match fact:
            case Registered():
                registered = fact
            case Waiting():
                waiting.append(fact)
            case Paid():
                paid_facts.append(fact)
            case Final(trade_no=trade_no):
                final_trades.add(trade_no)
            case Closed(trade_no=trade_no):
                closed.append(fact)
                final_trades.add(trade_no)
            case Refund():
                refund_facts.append(fact)
            case RefundTold():
                told.append(fact)
            case Released(trade_no=trade_no):
                released.add(trade_no)
            case _:
                assert_never(fact)

    payments = _payments(paid_facts, registered, released)
    counted = [payment for payment in payments if payment.held is None]
    refunds = _refunds(refund_facts)
    done = [refund for refund in refunds if refund.entry.status == "done"]

    currency = _currency(registered, [*closed, *paid_facts, *waiting], channel_currency)
    opened: list[Closed | Waiting] = [*closed, *waiting]
    notified = {fact.amount for fact in opened if fact.amount is not None and fact.currency == currency}
    amount = _amount(registered, currency, counted, payments, notified)
    paid = sum([payment.amount for payment in counted])
    undone = _undone(closed, told, done) if closed else set()
    refunded = _refunded(counted, done, undone) if done or undone else 0
    held = {payment.held for payment in payments}

    flags = {
        "amount_mismatch": Reason.AMOUNT_MISMATCH in held
        or not notified.union([payment.amount for payment in counted]) <= {amount}
        or (len(paid_facts) > len(payments) and _is_told_with_two_amounts(paid_facts))
        or True in [refund.is_contradicted for refund in refunds],
        "currency_mismatch": True in [_contradicts_currency(fact, registered) for fact in paid_facts],
        "unregistered": Reason.UNREGISTERED in held,
        "paid_twice": len(counted) > 1,
        "paid_and_closed": bool(counted) and not undone.issuperset([fact.trade_no for fact in closed]),
        "refund_exceeds_payment": bool(counted) and refunded > paid,
        "refund_without_payment": bool(done or told) and not counted,
        "refund_amount_unknown": None in [refund.entry.amount for refund in done]
        or False in [fact.with_close for fact in told],
    }
    first = counted[0] if counted else None
    return Summary(
        status=_status(
            has_counted=bool(counted),
            has_closed=bool(closed),
            is_refunded=0 < paid <= refunded,
            has_registration_alone=registered is not None and len(facts) == 1,
        ),
        is_final=first.trade_no in final_trades if first else bool(final_trades),
        currency=currency,
        amount=amount,
        paid=paid,
        refunded=refunded,
        trade_no=first.trade_no if first else None,
        paid_at=first.at if first else None,
        closed_at=closed[0].at if closed else None,
        wallet=registered.wallet if registered else None,
        payment=registered.payment if registered else None,
        metadata=registered.metadata if registered else {},
        payments=payments,
        refunds=tuple([refund.entry for refund in refunds]),
        flags=tuple(sorted([flag for flag, is_raised in flags.items() if is_raised])),
    )


def _status(*, has_counted: bool, has_closed: bool, is_refunded: bool, has_registration_alone: bool) -> Status:
    if has_counted:
        return "refunded" if is_refunded else "paid"
    if has_closed:
        return "closed"
    return "registered" if has_registration_alone else "pending"


def _currency(registered: Registered | None, told: Sequence[Closed | Paid | Waiting], fallback: str) -> str:
    """What the order is counted in; a registration that came after the money does not rename the money."""
    if registered and registered.binds:
        return registered.currency
    return told[0].channel_currency if told else fallback


def _is_told_with_two_amounts(facts: Sequence[Paid]) -> bool:
    """Whether the payment of one trade was told in one currency with different amounts."""
    amounts = {(fact.trade_no, fact.currency, fact.amount) for fact in facts}
    return len(amounts) > len({(trade_no, currency) for trade_no, currency, _ in amounts})


def _contradicts_currency(fact: Paid, registered: Registered | None) -> bool:
    return fact.currency != fact.channel_currency or (registered is not None and fact.currency != registered.currency)


def _may_count(fact: Paid, registered: Registered | None) -> bool:
    return not _contradicts_currency(fact, registered if registered and registered.binds else None)


def _payments(facts: list[Paid], registered: Registered | None, released: set[str]) -> tuple[Payment, ...]:
    """One payment a trade: counted if anything told of it may count, and then the smaller of what was told."""
    payments = []
    for trade_no, group in groupby(facts, _TRADE_NO):
        tellings = list(group)
        eligible = [fact for fact in tellings if _may_count(fact, registered)]
        held = _held(eligible, registered, is_released=trade_no in released)
        smallest = min(eligible or tellings, key=_AMOUNT)
        payments.append(Payment(trade_no, smallest.amount, smallest.currency, tellings[0].at, held))
    return tuple(payments)


def _held(eligible: list[Paid], registered: Registered | None, *, is_released: bool) -> Reason | None:
    """Why a trade's payment does not count; a currency cannot be released, the rest can."""
    if not eligible:
        return Reason.CURRENCY_MISMATCH
    if is_released:
        return None
    if registered is None:
        return Reason.UNREGISTERED if all(fact.registered_only for fact in eligible) else None
    if registered.binds and all(fact.amount != registered.amount for fact in eligible):
        return Reason.AMOUNT_MISMATCH
    return None


def _amount(
    registered: Registered | None,
    currency: str,
    counted: list[Payment],
    payments: tuple[Payment, ...],
    notified: set[int],
) -> int | None:
    """What the order costs: the registered, else what the first counted payment paid, else the smallest notified."""
    if registered and registered.currency == currency:
        return registered.amount
    if counted:
        return counted[0].amount
    held = [payment.amount for payment in payments if payment.held is not Reason.CURRENCY_MISMATCH]
    return min((*notified, *held), default=None)


class _RefundState(NamedTuple):
    entry: RefundEntry
    trade_nos: frozenset[str | None]
    is_contradicted: bool


def _refunds(facts: list[Refund]) -> list[_RefundState]:
    """One refund a number: done wins over failed, the larger of two amounts counts."""
    refunds = []
    for number, group in groupby(facts, _REFUND):
        tellings = list(group)
        done = [fact for fact in tellings if fact.is_done]
        amounts = {fact.amount for fact in done or tellings if fact.amount is not None}
        entry = RefundEntry(number, max(amounts, default=None), tellings[0].at, "done" if done else "failed")
        trade_nos = frozenset(fact.trade_no for fact in done or tellings)
        refunds.append(_RefundState(entry, trade_nos, is_contradicted=bool(done) and len(amounts) > 1))
    return refunds


def _undone(closed: list[Closed], told: list[RefundTold], done: list[_RefundState]) -> set[str]:
    """The trades that were closed with a refund, whether it is told of by number or not; one that names no trade is any's."""
    trades = {fact.trade_no for fact in told}.union(*[refund.trade_nos for refund in done])
    return {fact.trade_no for fact in closed if fact.trade_no in trades or None in trades}


def _refunded(counted: list[Payment], done: list[_RefundState], undone: set[str]) -> int:
    """The known refunds; a trade that was closed with a refund is refunded in whole, whatever its parts were."""
    whole = {payment.trade_no: payment.amount for payment in counted if payment.trade_no in undone}
    parts: defaultdict[str, int] = defaultdict(int)
    apart = 0
    for refund in done:
        amount = refund.entry.amount or 0
        trade_no = min(refund.trade_nos & whole.keys(), key=str, default=None)
        if trade_no is None:
            apart += amount
        else:
            parts[trade_no] += amount
    return apart + sum(max(amount, parts[trade_no]) for trade_no, amount in whole.items())
