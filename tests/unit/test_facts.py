"""Facts: what makes one the same fact when it is told again, and what is never touched."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from notifier.errors import Reason, Unusable
from notifier.evidence import Policy
from notifier.facts import (
    Closed,
    Fact,
    Facts,
    Final,
    Paid,
    Refund,
    RefundTold,
    Registered,
    Released,
    Waiting,
    add,
    stated_by,
)
from notifier.statement import RefundStatement, RegistrationStatement, ReleaseStatement, TradeStatement, TradeStatus
from tests.histories import PARTNER, START

LATER = START.replace(hour=12)
OPEN = Policy("HKD", None, PARTNER, "open")

PAID = Paid("T1", 12800, "HKD", START, "HKD", registered_only=False)
REFUND = Refund("R1", is_done=True, amount=500, at=START, trade_no="T1")
CLOSED = Closed("T1", 12800, "HKD", "HKD", START)
WAITING = Waiting("T1", 12800, "HKD", "HKD")


def _changed(fact: Fact, **changed: object) -> Fact:
    return msgspec.structs.replace(fact, **changed)


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        pytest.param(PAID, _changed(PAID, at=LATER), True, id="a resend with another time"),
        pytest.param(PAID, _changed(PAID, amount=1), False, id="another amount is a contradiction, kept beside it"),
        pytest.param(PAID, _changed(PAID, currency="USD"), False, id="another currency likewise"),
        pytest.param(PAID, _changed(PAID, trade_no="T2"), False, id="another trade"),
        pytest.param(PAID, _changed(PAID, registered_only=True), False, id="told under another policy"),
        pytest.param(PAID, _changed(PAID, channel_currency="USD"), False, id="told under another currency's policy"),
        pytest.param(WAITING, _changed(WAITING, amount=None), False, id="waiting for it is not known how much"),
        pytest.param(WAITING, CLOSED, False, id="waiting is not closed"),
        pytest.param(CLOSED, _changed(CLOSED, at=LATER), True, id="a close told again"),
        pytest.param(REFUND, _changed(REFUND, at=LATER), True, id="a refund told again"),
        pytest.param(REFUND, _changed(REFUND, is_done=False), False, id="the refund failed before it was done"),
        pytest.param(REFUND, _changed(REFUND, amount=None), False, id="its amount was not told at first"),
        pytest.param(REFUND, _changed(REFUND, trade_no="T2"), False, id="one refund told about two trades"),
        pytest.param(Final("T1"), Final("T1"), True, id="final twice"),
        pytest.param(RefundTold("T1", with_close=True), RefundTold("T1", with_close=False), False, id="with its close"),
        pytest.param(Released("T1", "a"), Released("T1", "b"), True, id="released twice, for another reason"),
        pytest.param(
            Registered(12800, "HKD", binds=True),
            Registered(100, "HKD", binds=False),
            True,
            id="registered once for all",
        ),
    ],
)
def test_what_is_the_same_fact(one: Fact, other: Fact, is_same: bool) -> None:
    assert len(add((one,), [other])) == (1 if is_same else 2)


FACTS: st.SearchStrategy[Fact] = st.one_of(
    st.builds(
        Paid,
        st.sampled_from("AB"),
        st.integers(1, 2),
        st.just("HKD"),
        st.sampled_from((START, LATER)),
        st.just("HKD"),
        st.booleans(),
    ),
    st.builds(Final, st.sampled_from("AB")),
    st.builds(
        Closed,
        st.sampled_from("AB"),
        st.none() | st.integers(1, 2),
        st.just("HKD"),
        st.just("HKD"),
        st.sampled_from((START, LATER)),
    ),
    st.builds(
        Refund,
        st.sampled_from("RS"),
        st.booleans(),
        st.none() | st.integers(1, 2),
        st.sampled_from((START, LATER)),
        st.sampled_from((None, "A")),
    ),
    st.builds(Released, st.sampled_from("AB"), st.just("x")),
)


def _all(stated: list[Fact]) -> Facts:
    known: Facts = ()
    for fact in stated:
        known = add(known, [fact])
    return known


@given(st.lists(FACTS), st.lists(FACTS))
def test_what_is_known_is_never_touched(first: list[Fact], then: list[Fact]) -> None:
    known = _all(first)

    grown = add(known, then)

    assert [fact for fact in known if fact not in grown] == []
    assert [fact.identity for fact in grown] == sorted({fact.identity for fact in (*known, *then)})
    assert add(grown, then) is grown


@given(st.lists(FACTS))
def test_a_payment_a_close_and_a_refund_each_have_the_time_of_their_first_telling(stated: list[Fact]) -> None:
    first: dict[tuple[str, str], object] = {}
    for fact in stated:
        if isinstance(fact, Paid | Closed):
            first.setdefault((type(fact).__name__, fact.trade_no), fact.at)
        elif isinstance(fact, Refund):
            first.setdefault(("Refund", fact.refund), fact.at)

    for fact in _all(stated):
        if isinstance(fact, Paid | Closed):
            assert fact.at == first[type(fact).__name__, fact.trade_no]
        elif isinstance(fact, Refund):
            assert fact.at == first["Refund", fact.refund]


TRADE = TradeStatement("T20260001", "T1", TradeStatus.PAID, "128.00", None, made_at=START)


def _trade(status: TradeStatus, **changed: Any) -> TradeStatement:
    return replace(TRADE, status=status, **changed)


DONE = RefundStatement("R1", is_done=True, at=LATER, amount_text="5.00")


@pytest.mark.parametrize(
    ("statement", "facts"),
    [
        pytest.param(_trade(TradeStatus.WAITING), [WAITING], id="waiting"),
        pytest.param(
            _trade(TradeStatus.WAITING, amount_text=None), [_changed(WAITING, amount=None)], id="waiting for what"
        ),
        pytest.param(_trade(TradeStatus.PAID), [PAID], id="paid"),
        pytest.param(_trade(TradeStatus.PAID, paid_at=LATER), [_changed(PAID, at=LATER)], id="paid at its own time"),
        pytest.param(_trade(TradeStatus.PAID, currency_text="HKD"), [PAID], id="the channel's currency, said aloud"),
        pytest.param(_trade(TradeStatus.FINAL), [PAID, Final("T1")], id="final is paid, too"),
        pytest.param(_trade(TradeStatus.CLOSED), [CLOSED], id="closed"),
        pytest.param(_trade(TradeStatus.CLOSED, closed_at=LATER), [_changed(CLOSED, at=LATER)], id="closed at a time"),
        pytest.param(
            _trade(TradeStatus.PAID, refund=DONE),
            [PAID, Refund("R1", is_done=True, amount=500, at=LATER, trade_no="T1")],
            id="a refund with a number",
        ),
        pytest.param(
            _trade(TradeStatus.PAID, refund=RefundStatement(None, is_done=True, at=LATER, amount_text="5.00")),
            [PAID, RefundTold("T1", with_close=False)],
            id="one without: how much it was belongs to no refund",
        ),
        pytest.param(
            _trade(TradeStatus.CLOSED, refund=RefundStatement(None, is_done=True, at=LATER)),
            [CLOSED, RefundTold("T1", with_close=True)],
            id="closed with a refund",
        ),
        pytest.param(
            _trade(TradeStatus.PAID, refund=RefundStatement("R1", is_done=False, at=LATER)),
            [PAID, Refund("R1", is_done=False, amount=None, at=LATER, trade_no="T1")],
            id="a refund that failed",
        ),
        pytest.param(
            _trade(TradeStatus.PAID, refund=RefundStatement(None, is_done=False, at=LATER)),
            [PAID],
            id="a nameless failure states nothing",
        ),
        pytest.param(
            RegistrationStatement("T20260001", 12800, "HKD", START),
            [Registered(12800, "HKD", binds=True)],
            id="registered",
        ),
        pytest.param(ReleaseStatement("T20260001", "T1", START, "why"), [Released("T1", "why")], id="released"),
    ],
)
def test_what_a_statement_states(
    statement: TradeStatement | RegistrationStatement | ReleaseStatement, facts: list[Fact]
) -> None:
    assert stated_by(statement, OPEN) == facts


SELLER = Policy("HKD", "2088000000000777", PARTNER, "open")


@pytest.mark.parametrize(
    ("policy", "sellers", "partners", "is_ours"),
    [
        pytest.param(OPEN, (), (), True, id="nobody is named: the key alone proves the account"),
        pytest.param(OPEN, (PARTNER,), (PARTNER,), True, id="we are named"),
        pytest.param(OPEN, ("2088999999999999",), (), False, id="another payee"),
        pytest.param(OPEN, (), ("2088999999999999",), False, id="another account"),
        pytest.param(OPEN, (), (PARTNER, "2088999999999999"), False, id="two accounts, one of them not ours"),
        pytest.param(SELLER, ("2088000000000777",), (PARTNER,), True, id="the payee is named by its own number"),
        pytest.param(SELLER, (PARTNER,), (), True, id="or by the account's"),
        pytest.param(SELLER, (), ("2088000000000777",), False, id="a payee's number is no account's"),
    ],
)
def test_another_payee_than_ours_is_refused(
    policy: Policy, sellers: tuple[str, ...], partners: tuple[str, ...], is_ours: bool
) -> None:
    statement = _trade(TradeStatus.PAID, seller_ids=sellers, partner_ids=partners)

    if is_ours:
        assert stated_by(statement, policy) == [PAID]
    else:
        with pytest.raises(Unusable) as unusable:
            stated_by(statement, policy)
        assert unusable.value.reason is Reason.PAYEE_MISMATCH
