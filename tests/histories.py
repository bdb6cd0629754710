"""
Histories of one order, drawn by Hypothesis, and the fold over them as the orders job does it.

A history is a list of messages in AlipayHK's words (`tests.oracle.Message`). There are few trades, amounts and refunds to draw
from, so that contradictions and repetitions are common.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from urllib.parse import urlencode

from hypothesis import strategies as st

from notifier import events, evidence, order
from notifier.alipayhk import form, mapi
from notifier.errors import Reason, Unusable
from notifier.evidence import Evidence, Kind
from notifier.order import Changed, Decision, Known, SetAside
from notifier.record import Record
from notifier.statement import RegistrationStatement, ReleaseStatement, Statement
from tests.oracle import Message, Policy

CHANNEL = "shop-hkd"
ORDER = "T20260001"
PARTNER = "2088000000000001"
START = datetime(2026, 11, 22, 9, 30, 5, tzinfo=UTC)
OPEN: Policy = {"currency": "HKD", "seller_id": None, "partner_id": PARTNER, "orders": "open"}
REGISTERED: Policy = {"currency": "HKD", "seller_id": None, "partner_id": PARTNER, "orders": "registered"}


def fields(**changed: str) -> dict[str, str]:
    """A notification of a payment of HK$128.00; a field given as "" is left out."""
    plain = {
        "notify_type": "trade_status_sync",
        "notify_time": "2026-11-22 17:30:05",
        "out_trade_no": ORDER,
        "trade_no": "T1",
        "trade_status": "TRADE_SUCCESS",
        "total_fee": "128.00",
    }
    return {name: value for name, value in (plain | changed).items() if value}


def notification(**changed: str) -> Message:
    """The message with these fields."""
    return "notification", fields(**changed)


def registration(amount: int = 12800, currency: str = "HKD") -> Message:
    """The merchant's announcement."""
    return "registration", {"amount": str(amount), "currency": currency}


def release(trade_no: str = "T1") -> Message:
    """An operator's word."""
    return "release", {"trade_no": trade_no}


def evidence_of(
    message: Message, policy: Policy = OPEN, *, received_at: datetime = START
) -> tuple[Statement, Evidence]:
    """
    What the orders job reads of a message: through the inbox's record and AlipayHK's form, as in production.

    Raises:
        Unusable: the message itself states nothing.
    """
    kind, content = message
    body = urlencode(content).encode()
    read = Evidence(
        kind={
            "notification": Kind.NOTIFICATION,
            "registration": Kind.REGISTRATION,
            "release": Kind.OPERATOR,
        }[kind],
        channel=CHANNEL,
        protocol="mapi",
        received_at=received_at,
        key="a" * 64,
        verdict=evidence.USABLE,
        policy=evidence.Policy(**policy),
        evidence_id=evidence.evidence_id(CHANNEL, "mapi", form.canonical(form.parse(body))),
        order=ORDER,
        body=body,
    )
    read = evidence.from_record(evidence.to_record(read))
    match kind:
        case "notification":
            return mapi.statement_of(read), read
        case "registration":
            stated = RegistrationStatement(ORDER, int(content["amount"]), content["currency"], received_at)
            return stated, read
        case "release":
            return ReleaseStatement(ORDER, content["trade_no"], received_at, "asked the payer"), read


class Folded(NamedTuple):
    """What a history came to: its orders records, what is known at the end, and each decision on the way."""

    records: list[Record]
    known: Known | None
    decisions: list[Decision]

    @property
    def aside(self) -> list[Reason]:
        """Why evidence went to quarantine, in order of arrival."""
        reasons = []
        for decision in self.decisions:
            if isinstance(decision, SetAside):
                reasons.append(decision.reason)
            elif isinstance(decision, Changed) and decision.held is not None:
                reasons.append(decision.held)
        return reasons


def fold(
    messages: Iterable[Message], policy: Policy = OPEN, *, known: Known | None = None, first_offset: int = 0
) -> Folded:
    """Decide one message after the other; what is known between two is read back from the record, as from the log."""
    return fold_all(((message, policy) for message in messages), known=known, first_offset=first_offset)


def fold_all(told: Iterable[tuple[Message, Policy]], *, known: Known | None = None, first_offset: int = 0) -> Folded:
    """The same where the channel's settings change in between."""
    records: list[Record] = []
    decisions: list[Decision] = []
    for offset, (message, policy) in enumerate(told, first_offset):
        received_at = START + timedelta(seconds=offset)
        try:
            statement, read = evidence_of(message, policy, received_at=received_at)
        except Unusable as unusable:
            decisions.append(SetAside(unusable.reason))
            continue
        decision = order.decide(known, statement, read)
        decisions.append(decision)
        if isinstance(decision, Changed):
            records.append(events.to_record(decision, read, ORDER, offset))
            known = events.known_from(records[-1])
    return Folded(records, known, decisions)


TRADES = ("T1", "T2", "T3")
AMOUNTS = ("128.00", "128", "100.00", "28")


def _sometimes(values: Sequence[str]) -> st.SearchStrategy[str]:
    return st.just("") | st.sampled_from(values)


_REFUNDS: st.SearchStrategy[dict[str, str]] = st.one_of(
    st.just({}),
    st.just({}),
    st.fixed_dictionaries(
        {
            "refund_status": st.sampled_from(("REFUND_SUCCESS", "REFUND_SUCCESS", "REFUND_FAIL", "REFUND_CLOSED")),
            "gmt_refund": _sometimes(("2026-11-23 10:00:00",)),
            "out_return_no": _sometimes(("R1", "R2")),
            "return_amount": _sometimes(("128.00", "100", "28.00")),
            "refund_amount": _sometimes(("5.00",)),
        }
    ),
)


@st.composite
def notifications(draw: st.DrawFn, *, trades: Sequence[str] = TRADES) -> Message:
    """One notification, now and then an unusable one."""
    drawn = {
        "trade_no": draw(st.sampled_from(trades)),
        "trade_status": draw(
            st.sampled_from(("WAIT_BUYER_PAY", "TRADE_SUCCESS", "TRADE_SUCCESS", "TRADE_FINISHED", "TRADE_CLOSED"))
        ),
        "total_fee": draw(st.sampled_from((*AMOUNTS, *AMOUNTS, "", "1e2"))),
        "currency": draw(st.sampled_from(("", "", "", "HKD", "HKD", "HKD", "USD"))),
        "seller_id": draw(st.sampled_from(("", "", "", PARTNER, PARTNER, "2088999999999999"))),
        "notify_time": draw(st.sampled_from(("2026-11-22 17:30:05", "2026-11-22 17:34:05", "2026-11-20 17:30:05"))),
        "gmt_payment": draw(_sometimes(("2026-11-22 17:30:04",))),
        "gmt_close": draw(_sometimes(("2026-11-22 17:30:03",))),
        **draw(_REFUNDS),
    }
    return notification(**drawn)


POLICIES = st.sampled_from((OPEN, OPEN, REGISTERED))
REGISTRATIONS = st.builds(
    registration, st.sampled_from((12800, 12800, 10000)), st.sampled_from(("HKD",) * 5 + ("USD",))
)
RELEASES = st.builds(release, st.sampled_from(TRADES))
MESSAGES: st.SearchStrategy[Message] = st.one_of(
    *[notifications()] * 6, notifications(trades=("T1",)), REGISTRATIONS, RELEASES
)
HISTORIES = st.lists(MESSAGES, max_size=10)
UNREGISTERED_HISTORIES = st.lists(
    st.one_of(*[notifications()] * 4, *[notifications(trades=("T1",))] * 4, RELEASES), max_size=9
)
