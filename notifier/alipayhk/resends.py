"""
Whether a notification is one that AlipayHK had to send again and again.

It sends until it is answered `success`: eight times within 25 hours, with gaps of 2, 10, 10 minutes, 1, 2, 6, 15 hours (some of
its pages have 4, 10, 15 or 4, 10, 10 first; alipayhk.md, section 2.7). Nothing in a message counts the attempts, `notify_id`
stays and `notify_time` seems to be that of the attempt. So what tells is how long after the event itself it came: the second
resend after 12 to 14 minutes, the third after 22 to 29.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from notifier.statement import TradeStatement, TradeStatus

THIRD_RESEND = timedelta(minutes=18)
"""Between the latest second resend and the earliest third, so that clocks may differ by some minutes."""

LAST_RESEND = timedelta(hours=25)
"""What comes after it is none of this schedule; the event that follows from it is marked `late`."""


def resent_late(statement: TradeStatement, received_at: datetime) -> timedelta | None:
    """How long after the event a third or later resend came; None for any other notification."""
    since = received_at - _happened_at(statement)
    return since if THIRD_RESEND <= since <= LAST_RESEND else None


def _happened_at(statement: TradeStatement) -> datetime:
    """When what the message tells of happened; where it does not say, when it was made: then a resend may look like a first."""
    if statement.refund is not None:
        return statement.refund.at
    match statement.status:
        case TradeStatus.PAID:
            return statement.paid_at or statement.made_at
        case TradeStatus.CLOSED:
            return statement.closed_at or statement.made_at
        case TradeStatus.WAITING | TradeStatus.FINAL:  # paid long before its refund window ends
            return statement.made_at
