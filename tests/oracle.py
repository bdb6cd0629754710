"""
What an order must be, worked out a second time from contract section 6 alone: no code of `notifier` or `consumers` is used.

It reads a whole history at once and keeps ledgers instead of facts, so that a mistake in the fold is not repeated in it. Where
the contract leaves room, the reading taken is:

* what belongs to a trade (closed, refunded in whole) is judged trade by trade, also where an order has several: a trade that was
  closed with evidence of a refund is refunded in whole, and the order is `refunded` once that reaches all that was paid;
* an order is paid and closed when money counts and any trade was closed without such evidence;
* `is_final` is about the trade that `trade_no` names; while no money counts, any trade that is final at AlipayHK makes it so;
* a trade that is told twice counts if any one telling of it may count, and then the smaller of those that may;
* amounts are compared in the order's currency only; an amount in another one is none that could agree or disagree;
* a payment that was released keeps `amount_mismatch` (it still contradicts the registration) and loses `unregistered`;
* `refund_exceeds_payment` needs a payment: without one the flag is `refund_without_payment`;
* a refund that failed and was done later has the amount that the done messages say;
* a refund told in another currency than the channel's has no amount in the order's: it is unknown until told in that.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Literal, TypedDict

Kind = Literal["notification", "registration", "release"]
Message = tuple[Kind, dict[str, str]]
"""A notification's fields in AlipayHK's words; a registration's `amount` (minor units) and `currency`; a release's `trade_no`."""


class Policy(TypedDict):
    """The channel's settings."""

    currency: str
    seller_id: str | None
    partner_id: str
    orders: Literal["open", "registered"]


class ExpectedPayment(TypedDict):
    """An entry of `payments`, without its time."""

    trade_no: str
    amount: int
    currency: str
    held: str | None


class ExpectedRefund(TypedDict):
    """An entry of `refunds`, without its time."""

    refund: str
    amount: int | None
    status: str


class Expected(TypedDict):
    """The members of the order object that do not depend on when news arrived."""

    status: str
    is_final: bool
    currency: str
    amount: int | None
    paid: int
    refunded: int
    trade_no: str | None
    payments: list[ExpectedPayment]
    refunds: list[ExpectedRefund]
    flags: list[str]


def as_expected(order: dict[str, object]) -> dict[str, object]:
    """An order object (contract, section 6) reduced to what can be expected of it."""
    seen = {name: order[name] for name in Expected.__annotations__}
    for name in ("payments", "refunds"):
        entries = order[name]
        assert isinstance(entries, list)
        seen[name] = [{member: value for member, value in entry.items() if member != "at"} for entry in entries]
    return seen


DECIMALS = {"HKD": 2, "USD": 2, "CNY": 2, "JPY": 0, "KWD": 3}
MAXIMUM = 10**15 - 1

Money = tuple[str, int]
"""Currency and minor units."""


class _Ledgers:
    """What the messages said, sorted by what it is about."""

    def __init__(self) -> None:
        self.is_empty = True
        self.has_only_registration = True
        self.registration: Money | None = None
        self.is_binding = True
        self.paid: dict[str, list[Money]] = {}
        self.notified: list[Money] = []
        self.finished: set[str] = set()
        self.closed: set[str] = set()
        self.refunds: dict[str, list[tuple[bool, int | None, str]]] = {}
        self.told_apart: set[str] = set()
        self.told_with_close: set[str] = set()
        self.released: set[str] = set()


def expected(policy: Policy, messages: Sequence[Message]) -> Expected | None:
    """The order after these messages, in their order of arrival; None where none of them was usable."""
    ledgers = _Ledgers()
    for kind, content in messages:
        if kind == "registration":
            if ledgers.registration is None:
                ledgers.is_binding = _total(policy, ledgers)["paid"] == 0
                ledgers.registration = (content["currency"], int(content["amount"]))
            ledgers.is_empty = False
        elif kind == "release":
            ledgers.released.add(content["trade_no"])
            ledgers.is_empty = ledgers.has_only_registration = False
        elif is_usable(policy, content):
            _enter(policy, content, ledgers)
            ledgers.is_empty = ledgers.has_only_registration = False
    return None if ledgers.is_empty else _total(policy, ledgers)


def is_usable(policy: Policy, fields: dict[str, str]) -> bool:
    """Whether a notification is about us, and its currency and amounts can be read."""
    ours = (policy["seller_id"] or policy["partner_id"], policy["partner_id"])
    if fields.get("seller_id", ours[0]) not in ours or fields.get("partner", ours[1]) != ours[1]:
        return False
    currency = fields.get("currency") or policy["currency"]
    if not re.fullmatch("[A-Z]{3}", currency):
        return False
    if fields["trade_status"] in ("TRADE_SUCCESS", "TRADE_FINISHED") and "total_fee" not in fields:
        return False
    named = [fields["total_fee"]] if "total_fee" in fields else []
    if _tells_refund(fields) and "out_return_no" in fields:
        named += [fields[name] for name in ("return_amount", "refund_amount") if name in fields][:1]
    return all(_minor(text, currency) is not None for text in named)


def _tells_refund(fields: dict[str, str]) -> bool:
    return "refund_status" in fields or "gmt_refund" in fields


def _minor(text: str, currency: str) -> int | None:
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        return None
    minor = Decimal(text).scaleb(DECIMALS[currency])
    if minor != minor.to_integral_value() or not 0 < minor <= MAXIMUM:
        return None
    _, _, fraction = text.partition(".")
    return int(minor) if len(fraction) <= DECIMALS[currency] else None


def _enter(policy: Policy, fields: dict[str, str], ledgers: _Ledgers) -> None:
    trade, status = fields["trade_no"], fields["trade_status"]
    currency = fields.get("currency") or policy["currency"]
    amount = _minor(fields["total_fee"], currency) if "total_fee" in fields else None
    if status in ("TRADE_SUCCESS", "TRADE_FINISHED"):
        assert amount is not None
        ledgers.paid.setdefault(trade, []).append((currency, amount))
    elif amount is not None:
        ledgers.notified.append((currency, amount))
    if status == "TRADE_FINISHED":
        ledgers.finished.add(trade)
    if status == "TRADE_CLOSED":
        ledgers.closed.add(trade)

    if not _tells_refund(fields):
        return
    is_done = fields.get("refund_status", "REFUND_SUCCESS") == "REFUND_SUCCESS"
    if "out_return_no" in fields:
        said = fields.get("return_amount") or fields.get("refund_amount")
        told = (is_done, _minor(said, currency) if said and currency == policy["currency"] else None, trade)
        ledgers.refunds.setdefault(fields["out_return_no"], []).append(told)
    elif is_done and status == "TRADE_CLOSED":
        ledgers.told_with_close.add(trade)
    elif is_done:
        ledgers.told_apart.add(trade)


def _total(policy: Policy, ledgers: _Ledgers) -> Expected:
    binding = ledgers.registration if ledgers.is_binding else None
    currency = binding[0] if binding else policy["currency"]
    payments = [_payment(policy, ledgers, binding, trade, tellings) for trade, tellings in sorted(ledgers.paid.items())]
    counted = {entry["trade_no"]: entry["amount"] for entry in payments if entry["held"] is None}
    paid = sum(counted.values())

    refunds: list[ExpectedRefund] = []
    refund_trades = ledgers.told_apart | ledgers.told_with_close
    has_two_amounts = any(
        len(set(tellings)) > len({code for code, _ in tellings}) for tellings in ledgers.paid.values()
    )
    parts: list[tuple[set[str], int]] = []
    for number, told in sorted(ledgers.refunds.items()):
        done = [entry for entry in told if entry[0]]
        amounts = {amount for _, amount, _ in done or told if amount is not None}
        amount = max(amounts) if amounts else None
        refunds.append({"refund": number, "amount": amount, "status": "done" if done else "failed"})
        if done:
            trades = {trade for _, _, trade in done}
            refund_trades = refund_trades | trades
            parts.append((trades, amount or 0))
            has_two_amounts = has_two_amounts or len(amounts) > 1
    undone = ledgers.closed & refund_trades
    refunded = _refunded(counted, undone, parts)

    amount = _amount(ledgers, payments, counted, currency)
    any_done = bool(parts or ledgers.told_apart or ledgers.told_with_close)
    unknown = any(entry["status"] == "done" and entry["amount"] is None for entry in refunds)
    named = [value for code, value in ledgers.notified if code == currency]
    held = {entry["held"] for entry in payments}
    finals = ledgers.finished | ledgers.closed
    asked = {policy["currency"]} if ledgers.registration is None else {policy["currency"], ledgers.registration[0]}
    flags = {
        "amount_mismatch": has_two_amounts
        or "amount_mismatch" in held
        or any(value != amount for value in [*named, *counted.values()]),
        "currency_mismatch": any({code} != asked for tellings in ledgers.paid.values() for code, _ in tellings),
        "unregistered": "unregistered" in held,
        "paid_twice": len(counted) >= 2,
        "paid_and_closed": paid > 0 and bool(ledgers.closed - undone),
        "refund_exceeds_payment": 0 < paid < refunded,
        "refund_without_payment": any_done and paid == 0,
        "refund_amount_unknown": unknown or bool(ledgers.told_apart),
    }
    return {
        "status": _status(ledgers, paid, refunded),
        "is_final": min(counted) in finals if counted else bool(finals),
        "currency": currency,
        "amount": amount,
        "paid": paid,
        "refunded": refunded,
        "trade_no": min(counted, default=None),
        "payments": payments,
        "refunds": refunds,
        "flags": sorted(name for name, is_raised in flags.items() if is_raised),
    }


def _payment(
    policy: Policy, ledgers: _Ledgers, binding: Money | None, trade: str, tellings: list[Money]
) -> ExpectedPayment:
    right = [
        telling
        for telling in tellings
        if telling[0] == policy["currency"] and (binding is None or telling[0] == binding[0])
    ]
    held: str | None = None
    if not right:
        held = "currency_mismatch"
    elif trade in ledgers.released:
        held = None
    elif binding is not None and binding not in right:
        held = "amount_mismatch"
    elif ledgers.registration is None and policy["orders"] == "registered":
        held = "unregistered"
    amount, currency = min((amount, code) for code, amount in right or tellings)
    return {"trade_no": trade, "amount": amount, "currency": currency, "held": held}


def _amount(ledgers: _Ledgers, payments: list[ExpectedPayment], counted: dict[str, int], currency: str) -> int | None:
    if ledgers.registration is not None and ledgers.registration[0] == currency:
        return ledgers.registration[1]
    if counted:
        return counted[min(counted)]
    notified = [value for code, value in ledgers.notified if code == currency]
    notified += [entry["amount"] for entry in payments if entry["held"] != "currency_mismatch"]
    return min(notified, default=None)


def _refunded(counted: dict[str, int], undone: set[str], parts: list[tuple[set[str], int]]) -> int:
    """Each refund of a trade that went back in whole is a part of that whole; the others add up."""
    total = 0
    of_whole = {trade: 0 for trade in counted if trade in undone}
    for trades, amount in parts:
        within = sorted(trades & of_whole.keys())
        if within:
            of_whole[within[0]] += amount
        else:
            total += amount
    return total + sum(max(counted[trade], amount) for trade, amount in of_whole.items())


def _status(ledgers: _Ledgers, paid: int, refunded: int) -> str:
    if paid:
        return "refunded" if refunded >= paid else "paid"
    if ledgers.closed:
        return "closed"
    return "registered" if ledgers.has_only_registration else "pending"
