"""A piece of evidence in a row: what it is, and what it tells, in this project's words and without the buyer."""

from __future__ import annotations

from notifier.errors import Rejected, Unusable
from notifier.evidence import Evidence, Kind, rfc3339
from notifier.money import minor_units
from notifier.reading import statement_of
from notifier.release import read_word
from notifier.statement import RegistrationStatement, ReleaseStatement, TradeStatement

_NAMES = (
    "id channel order kind received_at evidence_id verdict inbox_partition inbox_offset "
    "told trade_no amount currency refund by why"
).split()


def place(partition: int, offset: int) -> str:
    """How a piece of evidence is called on the command line: where it lies in the inbox."""
    return f"{partition}-{offset}"


def unreadable(partition: int, offset: int) -> dict[str, object]:
    """The row of what cannot be read: all that is known is where it lies."""
    known = {"id": place(partition, offset), "inbox_partition": partition, "inbox_offset": offset}
    return dict.fromkeys(_NAMES) | known


def row(evidence: Evidence, partition: int, offset: int) -> dict[str, object]:
    """Flat, with the contract's names (section 6); `told` and what follows it is what the evidence states, if it can be read."""
    return unreadable(partition, offset) | {
        "channel": evidence.channel,
        "order": evidence.order,
        "kind": evidence.kind.value,
        "received_at": rfc3339(evidence.received_at),
        "evidence_id": evidence.evidence_id,
        "verdict": evidence.verdict,
        **_told(evidence),
    }


def _told(evidence: Evidence) -> dict[str, object]:
    try:
        statement = statement_of(evidence)
    except (Unusable, Rejected):  # the fold says so too
        return {}
    match statement:
        case TradeStatement():
            currency = statement.currency_text or evidence.policy.currency
            return {
                "told": statement.status.value,
                "trade_no": statement.trade_no,
                "amount": _amount(statement.amount_text, currency),
                "currency": currency,
                "refund": statement.refund.number if statement.refund else None,
            }
        case RegistrationStatement():
            return {"told": "registered", "amount": statement.amount, "currency": statement.currency}
        case ReleaseStatement():
            by = read_word(evidence).by if evidence.kind is Kind.OPERATOR else None
            return {"told": "released", "trade_no": statement.trade_no, "by": by, "why": statement.reason}


def _amount(text: str | None, currency: str) -> int | None:
    try:
        return minor_units(text, currency) if text is not None else None
    except ValueError:
        return None
