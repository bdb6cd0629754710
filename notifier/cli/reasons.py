"""Why genuine evidence was set aside, in words, and what to do about it."""

from __future__ import annotations

from typing import NamedTuple

from notifier.errors import Reason


class Words(NamedTuple):
    """A reason for people."""

    meaning: str
    action: str


REASONS = {
    Reason.AMBIGUOUS: Words(
        "A value in it holds `&`, so its signature fits more than one reading, and one of them may be a forger's.",
        "Look the trade up at AlipayHK. Have the merchant leave `&` out of subjects and bodies.",
    ),
    Reason.UNDECODABLE: Words(
        "Its text is not in the charset that it names.",
        "Look the trade up at AlipayHK, and report the charset.",
    ),
    Reason.BAD_FIELD: Words(
        "A field is not what AlipayHK's documents say: order number, trade number, a time, an amount or a currency.",
        "Look the trade up at AlipayHK, and report the field.",
    ),
    Reason.UNKNOWN_TYPE: Words(
        "AlipayHK sent a type of notification that this version does not know.",
        "Nothing was applied. If it is about money, look the trade up at AlipayHK; report the type.",
    ),
    Reason.UNKNOWN_STATUS: Words(
        "The trade or its refund has a status that this version does not know.",
        "Nothing was applied. Look the trade up at AlipayHK; report the status.",
    ),
    Reason.NOT_HANDLED: Words(
        "A kind of message that this version keeps and does not act on yet, such as a refund's own notification.",
        "None: it can be applied once a later version knows it. If it can't wait, look it up at AlipayHK.",
    ),
    Reason.REQUEST_TIME: Words(
        "Its time of sending is too far from ours.",
        "Compare this machine's clock with the time. If the clock is right, look the trade up at AlipayHK.",
    ),
    Reason.PAYEE_MISMATCH: Words(
        "The money went to another account than the channel's.",
        "Compare the channel's partner_id and seller_id with the fields below. If they are right, this is not your money.",
    ),
    Reason.AMOUNT_MISMATCH: Words(
        "Another amount was paid than the merchant announced, so the payment was held.",
        "Ask the merchant. Counted after all: release it. Else refund it at AlipayHK.",
    ),
    Reason.CURRENCY_MISMATCH: Words(
        "It was paid in another currency than the order's, so the payment was held, for good: it can't be released.",
        "Ask the merchant; refund it at AlipayHK, or correct the channel's currency for what comes next.",
    ),
    Reason.UNREGISTERED: Words(
        'Nobody announced this order, and the channel takes no others (orders = "registered"), so the payment was held.',
        "Ask the merchant. It frees itself when the order is announced; counted without that: release it.",
    ),
    Reason.TOO_MANY_FACTS: Words(
        "The order has had more news than any real order has; one order can't grow without end.",
        "Look at the order: something sends the same news in ever new words.",
    ),
    Reason.INTERNAL_ERROR: Words(
        "A bug of this program. The order is as it was before.",
        "Report `error` and `where` of the log's line evidence.failed. It can be folded again once the bug is mended.",
    ),
}
