"""Orders: the table of cases, and the laws of the fold (contract, section 6; design, sections 5 and 8)."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier import order
from notifier.errors import Reason
from notifier.facts import FACTS_MAX, Refund
from notifier.order import Changed, Decision, Known, SetAside, Summary, Unchanged
from tests.histories import (
    HISTORIES,
    OPEN,
    POLICIES,
    REGISTERED,
    START,
    UNREGISTERED_HISTORIES,
    evidence_of,
    fold,
    fold_all,
    notification,
    notifications,
    registration,
    release,
)
from tests.oracle import Message, Policy

CASES = tomllib.loads((Path(__file__).parent / "order_cases.toml").read_text("utf-8"), parse_float=Decimal)["case"]

_LINE = re.compile(
    r"(?P<trade_no>T\d) (?P<trade_status>[A-Z_]+) (?P<total_fee>[0-9e.]+)(?: (?P<currency>[A-Z]{3}))?"
    r"(?P<refund> refund(?: (?P<out_return_no>R\d))?(?: (?P<return_amount>[0-9.]+))?(?P<failed> failed)?)?"
)


def _message(line: str) -> Message:
    words = line.split()
    if words[0] == "register":
        return registration(int(Decimal(words[1]) * 100), words[2] if len(words) > 2 else "HKD")
    if words[0] == "release":
        return release(words[1])
    match = _LINE.fullmatch(line)
    assert match, line
    told = {name: text or "" for name, text in match.groupdict().items()}
    is_refund, is_failed = told.pop("refund"), told.pop("failed")
    if is_refund:
        told["refund_status"] = "REFUND_FAIL" if is_failed else "REFUND_SUCCESS"
    return notification(**told)


def _outcome(decision: Decision) -> str:
    match decision:
        case Unchanged():
            return "-"
        case SetAside(reason=reason):
            return f"quarantine: {reason.value}"
        case Changed(event_type=event_type, held=held):
            kind = event_type.removeprefix("order.")
            return f"{kind} + quarantine: {held.value}" if held else kind


def _major(minor: int | None) -> Decimal | None:
    return None if minor is None else Decimal(minor) / 100


@pytest.mark.parametrize("case", [pytest.param(case, id=case["name"]) for case in CASES])
def test_the_table_of_cases(case: dict[str, Any]) -> None:
    policy = REGISTERED if case.get("channel") == "registered" else OPEN

    folded = fold([_message(line) for line in case["messages"]], policy)

    assert folded.known is not None
    end = folded.known.summary
    assert [_outcome(decision) for decision in folded.decisions] == case["events"]
    assert (end.status, end.is_final) == (case["status"], case.get("is_final", False))
    assert (_major(end.amount), _major(end.paid), _major(end.refunded)) == (
        case.get("amount"),
        case.get("paid", 0),
        case.get("refunded", 0),
    )
    assert end.currency == case.get("currency", "HKD")
    assert list(end.flags) == case.get("flags", [])
    assert [f"{one.trade_no} {one.held.value}" for one in end.payments if one.held] == case.get("held", [])
    assert [
        f"{one.refund} {'?' if one.amount is None else f'{_major(one.amount):.2f}'} {one.status}" for one in end.refunds
    ] == case.get("refunds", [])


def _timeless(summary: Summary) -> Summary:
    """Without what is excepted from the law: when things happened depends on who told of them first."""
    return msgspec.structs.replace(
        summary,
        paid_at=None,
        closed_at=None,
        payments=tuple(msgspec.structs.replace(one, at=START) for one in summary.payments),
        refunds=tuple(msgspec.structs.replace(one, at=START) for one in summary.refunds),
    )


def _end(known: Known | None) -> tuple[list[tuple[str, ...]], Summary] | None:
    return known and ([fact.identity for fact in known.facts], _timeless(known.summary))


@given(st.data(), st.one_of(st.none(), st.just(registration()), st.just(registration(10000))), POLICIES)
def test_the_end_does_not_depend_on_how_the_news_arrives(
    data: st.DataObject, registered: Message | None, policy: Policy
) -> None:
    """After the same registration, the same news in any order, repeated or not, ends in the same state (S5)."""
    news = data.draw(UNREGISTERED_HISTORIES)
    repeated = data.draw(st.lists(st.sampled_from(news), max_size=4)) if news else []
    arrivals = data.draw(st.permutations(news + repeated))
    first = [registered] if registered else []

    one, other = fold([*first, *news], policy), fold([*first, *arrivals], policy)

    assert _end(one.known) == _end(other.known)


@given(st.data())
def test_nor_on_which_settings_stood_when_a_payment_was_told_first(data: st.DataObject) -> None:
    """The policy is part of the evidence: told under two policies, a payment ends the same whichever came first."""
    dollars: Policy = {**OPEN, "currency": "USD"}
    told = data.draw(st.lists(st.tuples(notifications(), st.sampled_from((OPEN, REGISTERED, dollars))), max_size=8))
    arrivals = data.draw(st.permutations(told))

    assert _end(fold_all(told).known) == _end(fold_all(arrivals).known)


@given(HISTORIES, POLICIES)
def test_repetition_adds_nothing(messages: list[Message], policy: Policy) -> None:
    once = fold(messages, policy)

    again = fold(messages, policy, known=once.known)

    assert again.records == []
    assert again.known == once.known


@given(HISTORIES, POLICIES)
def test_replay_gives_the_same_bytes(messages: list[Message], policy: Policy) -> None:
    """Every event, id and version: from nothing, and from any state on the way (S11)."""
    whole = fold(messages, policy)
    middle = len(messages) // 2
    start = fold(messages[:middle], policy)

    assert fold(messages, policy).records == whole.records
    rest = fold(messages[middle:], policy, known=start.known, first_offset=middle)
    assert start.records + rest.records == whole.records


@given(HISTORIES, POLICIES)
def test_each_evidence_that_adds_a_fact_makes_one_record_one_version_higher(
    messages: list[Message], policy: Policy
) -> None:
    folded = fold(messages, policy)
    changes = [decision for decision in folded.decisions if isinstance(decision, Changed)]

    assert [change.version for change in changes] == list(range(1, len(changes) + 1))
    assert len(folded.records) == len(changes)
    grown = [set[tuple[str, ...]](), *({fact.identity for fact in change.facts} for change in changes)]
    for before, after in pairwise(grown):
        assert before < after


@given(HISTORIES, POLICIES)
def test_a_fact_never_vanishes_and_never_changes(messages: list[Message], policy: Policy) -> None:
    changes = [decision for decision in fold(messages, policy).decisions if isinstance(decision, Changed)]

    for before, after in pairwise(changes):
        assert [fact for fact in before.facts if fact not in after.facts] == []


WAYS = {
    "registered": {"pending", "paid", "closed"},
    "pending": {"paid", "closed"},
    "closed": {"paid"},
    "paid": {"refunded"},
    "refunded": {"paid"},
}
REFUND_CAME_WITH_OR_BEFORE_ITS_PAYMENT = {("registered", "refunded"), ("pending", "refunded"), ("closed", "refunded")}
"""
The contract's ways pass through `paid`. Where the refund was read before its payment, or one message tells of both, that moment
does not exist: the payment's evidence is one record, and the end must not depend on the order of arrival.
"""


@given(HISTORIES, POLICIES)
def test_status_moves_only_along_the_contracts_ways(messages: list[Message], policy: Policy) -> None:
    changes = [decision for decision in fold(messages, policy).decisions if isinstance(decision, Changed)]

    for before, after in pairwise(changes):
        move = (before.summary.status, after.summary.status)
        if move[0] == move[1] or move[1] in WAYS[move[0]]:
            continue
        assert move in REFUND_CAME_WITH_OR_BEFORE_ITS_PAYMENT
        assert before.summary.paid == 0 < after.summary.paid <= after.summary.refunded


@given(HISTORIES, POLICIES)
def test_money_is_what_the_distinct_genuine_successes_brought(messages: list[Message], policy: Policy) -> None:
    """S4: `paid` is the sum of what counts, a trade once; every genuine payment is listed, counted or held."""
    folded = fold(messages, policy)
    usable = [
        content
        for (kind, content), decision in zip(messages, folded.decisions, strict=True)
        if kind == "notification" and not isinstance(decision, SetAside)
    ]
    told = {content["trade_no"] for content in usable if content["trade_status"] in ("TRADE_SUCCESS", "TRADE_FINISHED")}

    end = folded.known.summary if folded.known else None
    if end is None:
        assert not usable
        return
    assert {one.trade_no for one in end.payments} == told
    assert len(end.payments) == len(told)
    assert end.paid == sum(one.amount for one in end.payments if one.held is None)
    assert all(one.currency == end.currency for one in end.payments if one.held is None)
    assert len({one.refund for one in end.refunds}) == len(end.refunds)
    parts = sum(one.amount or 0 for one in end.refunds if one.status == "done")
    assert parts <= end.refunded
    if "TRADE_CLOSED" not in {content["trade_status"] for content in usable}:
        assert end.refunded == parts


@given(HISTORIES, POLICIES)
def test_an_order_is_told_paid_at_most_once_and_each_event_tells_the_weightiest_thing_that_changed(
    messages: list[Message], policy: Policy
) -> None:
    decisions = fold(messages, policy).decisions
    changes = [decision for decision in decisions if isinstance(decision, Changed)]
    types = Counter(change.event_type for change in changes)

    assert types["order.paid"] <= 1
    assert types["order.registered"] <= 1
    before: Summary | None = None
    for change in changes:
        after = change.summary
        if before is None or before.status != after.status:
            came_back = before is not None and (before.status, after.status) == ("refunded", "paid")
            assert change.event_type == ("order.flagged" if came_back else f"order.{after.status}")
        elif change.event_type == "order.flagged":
            assert change.flags_added
        elif change.event_type == "order.noted":
            assert not change.flags_added
            # a payment of a smaller number may make the order one that is not final yet; never one that is
            assert after.is_final <= before.is_final
            assert after.refunded <= before.refunded
        else:
            assert change.event_type in ("order.finalized", "order.refunded", "order.refund_failed")
        before = after


@given(HISTORIES, POLICIES)
def test_flags_added_are_those_that_were_not_there(messages: list[Message], policy: Policy) -> None:
    before: tuple[str, ...] = ()
    for decision in fold(messages, policy).decisions:
        if isinstance(decision, Changed):
            assert set(decision.flags_added) == set(decision.summary.flags) - set(before)
            assert list(decision.summary.flags) == sorted(decision.summary.flags)
            before = decision.summary.flags


@given(HISTORIES, POLICIES)
def test_what_is_held_counts_nothing_and_is_also_set_aside(messages: list[Message], policy: Policy) -> None:
    for decision in fold(messages, policy).decisions:
        if not isinstance(decision, Changed):
            continue
        end = decision.summary
        if end.payments and all(one.held for one in end.payments):
            assert end.paid == 0
            assert end.status in ("pending", "closed")
        for one in end.payments:
            if one.held:
                assert one.held.value in end.flags
        if decision.held:
            assert decision.held in {one.held for one in end.payments}


def test_an_order_of_256_facts_takes_no_more_and_says_so() -> None:
    """One fact less than the bound, then a message of two, which is taken whole or not at all, then one of one."""
    filling = [notification(trade_no=f"W{number}", trade_status="WAIT_BUYER_PAY") for number in range(FACTS_MAX - 1)]
    two_facts = notification(trade_no="T1", trade_status="TRADE_FINISHED")
    one_fact = notification(trade_no="T2")

    folded = fold([*filling, two_facts, one_fact, notification(trade_no="T3"), filling[0]])

    assert folded.known is not None
    assert len(folded.known.facts) == FACTS_MAX
    assert folded.decisions[-4] == SetAside(Reason.TOO_MANY_FACTS)
    assert isinstance(folded.decisions[-3], Changed)
    assert folded.decisions[-2] == SetAside(Reason.TOO_MANY_FACTS)
    assert folded.decisions[-1] == Unchanged()


@pytest.mark.parametrize(
    ("held_up", "is_late"),
    [
        pytest.param(timedelta(hours=24, minutes=22), False, id="AlipayHK's last resend"),
        pytest.param(timedelta(hours=25), False, id="25 hours to the second"),
        pytest.param(timedelta(hours=25, microseconds=1), True, id="more than 25 hours"),
        pytest.param(timedelta(hours=-1), False, id="a clock of ours that is behind"),
    ],
)
def test_what_is_first_seen_more_than_25_hours_after_it_was_made_is_late(held_up: timedelta, is_late: bool) -> None:
    statement, read = evidence_of(notification(), received_at=START)
    read = msgspec.structs.replace(read, received_at=statement.made_at + held_up)

    decision = order.decide(None, statement, read)

    assert isinstance(decision, Changed)
    assert decision.late is is_late
    assert decision.summary.flags == ()


PAID_AT = datetime(2026, 11, 22, 9, 30, 4, tzinfo=UTC)
MADE_AT = datetime(2026, 11, 22, 9, 30, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("messages", "at"),
    [
        pytest.param([notification(gmt_payment="2026-11-22 17:30:04")], PAID_AT, id="its own time"),
        pytest.param([notification()], MADE_AT, id="without one, when the message was made"),
        pytest.param(
            [notification(), notification(gmt_payment="2026-11-22 17:30:04")], MADE_AT, id="the first telling stands"
        ),
        pytest.param(
            [notification(), notification(total_fee="1.00", gmt_payment="2026-11-22 17:30:04")],
            MADE_AT,
            id="also where a second one tells another amount",
        ),
        pytest.param(
            [notification(), notification(total_fee="1.00", currency="USD", gmt_payment="2026-11-22 17:30:04")],
            MADE_AT,
            id="or another currency",
        ),
    ],
)
def test_when_a_payment_was_made_is_what_was_told_first(messages: list[Message], at: datetime) -> None:
    end = fold(messages).known

    assert end is not None
    assert [one.at for one in end.summary.payments] == [at]
    assert end.summary.paid_at == at


def test_paid_at_is_of_the_payment_that_trade_no_names() -> None:
    """The smallest trade number that counts; a held one with a smaller number does not name the order."""
    end = fold(
        [
            registration(),
            notification(trade_no="T3", gmt_payment="2026-11-22 17:30:03"),
            notification(trade_no="T2", gmt_payment="2026-11-22 17:30:02"),
            notification(trade_no="T1", gmt_payment="2026-11-22 17:30:01", total_fee="1.00"),
        ]
    ).known

    assert end is not None
    assert end.summary.trade_no == "T2"
    assert end.summary.paid_at == datetime(2026, 11, 22, 9, 30, 2, tzinfo=UTC)
    assert [one.trade_no for one in end.summary.payments] == ["T1", "T2", "T3"]


@pytest.mark.parametrize(
    ("gmt", "at"),
    [("2026-11-22 17:40:00", datetime(2026, 11, 22, 9, 40, tzinfo=UTC)), ("", MADE_AT)],
    ids=["its own time", "without one, when the message was made"],
)
def test_closes_and_refunds_follow_the_same_rule(gmt: str, at: datetime) -> None:
    """The refund fails first; that it is done in the end does not change when it was first told."""
    failed = notification(refund_status="REFUND_FAIL", out_return_no="R1", gmt_refund=gmt)
    closed = notification(trade_status="TRADE_CLOSED", gmt_close=gmt)
    later = "2026-11-23 17:30:05"
    done = notification(
        trade_status="TRADE_CLOSED",
        refund_status="REFUND_SUCCESS",
        out_return_no="R1",
        gmt_refund=later,
        gmt_close=later,
        notify_time=later,
    )

    end = fold([failed, closed, done]).known

    assert end is not None
    assert end.summary.closed_at == at
    assert [(one.at, one.status) for one in end.summary.refunds] == [(at, "done")]


def test_of_several_closed_trades_the_one_with_the_smallest_number_says_when() -> None:
    end = fold(
        [
            notification(trade_no="T2", trade_status="TRADE_CLOSED", gmt_close="2026-11-22 17:40:00"),
            notification(trade_no="T1", trade_status="TRADE_CLOSED", gmt_close="2026-11-22 17:41:00"),
        ]
    ).known

    assert end is not None
    assert end.summary.closed_at == datetime(2026, 11, 22, 9, 41, tzinfo=UTC)


def _decisions(messages: Sequence[Message]) -> list[str]:
    return [_outcome(decision) for decision in fold(messages).decisions]


@pytest.mark.parametrize(
    ("changed", "outcome"),
    [
        pytest.param({"seller_id": "2088999999999999"}, "quarantine: payee_mismatch", id="another payee"),
        pytest.param({"partner": "2088999999999999"}, "quarantine: payee_mismatch", id="another account"),
        pytest.param(
            {"seller_id": "2088999999999999", "total_fee": "1e2", "currency": "hkd"},
            "quarantine: payee_mismatch",
            id="the payee is judged first",
        ),
        pytest.param({"currency": "hkd"}, "quarantine: bad_field", id="a currency is three capitals"),
        pytest.param({"currency": "HKDX"}, "quarantine: bad_field", id="three, not four"),
        pytest.param({"total_fee": "128.000"}, "quarantine: bad_field", id="more decimals than HKD has"),
        pytest.param({"total_fee": ""}, "quarantine: bad_field", id="paid, but what"),
        pytest.param({"total_fee": "", "trade_status": "WAIT_BUYER_PAY"}, "noted", id="waiting need not say what for"),
        pytest.param(
            {"refund_status": "REFUND_SUCCESS", "out_return_no": "R1", "return_amount": "-1"},
            "quarantine: bad_field",
            id="a refund that is no amount",
        ),
        pytest.param({"currency": "JPY", "total_fee": "128"}, "flagged + quarantine: currency_mismatch", id="yen"),
    ],
)
def test_what_cannot_be_applied_leaves_the_order_untouched(changed: dict[str, str], outcome: str) -> None:
    start = notification(trade_status="WAIT_BUYER_PAY")

    assert _decisions([start, notification(**changed)]) == ["pending", outcome]


def test_a_release_says_why() -> None:
    decisions = fold([notification(), release()], REGISTERED).decisions

    assert [decision.reason for decision in decisions if isinstance(decision, Changed)] == [None, "asked the payer"]


def test_a_refund_that_names_no_trade_is_evidence_for_any_close() -> None:
    """A refund's own notification (protocol B) names the order alone."""
    known = fold([notification(), notification(trade_status="TRADE_CLOSED")]).known
    assert known is not None

    facts = (*known.facts, Refund("R1", is_done=True, amount=None, at=START, trade_no=None))

    assert order.derive(facts, "HKD").status == "refunded"
