"""
Protocol A, the legacy gateway's `trade_status_sync`: what a verified message states.

Every field is judged by what AlipayHK publishes about it; what fits no rule is set aside with its reason, never guessed. Nothing
looks at buyer data. What needs more than the message (payee, currency, amount) stays text for the fold to judge.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from functools import lru_cache

from notifier.alipayhk import form
from notifier.alipayhk.form import Fields
from notifier.errors import Reason, Unusable
from notifier.evidence import Evidence, Kind
from notifier.statement import RefundStatement, TradeStatement, TradeStatus

PROTOCOL = "mapi"

_STATUSES = {
    b"WAIT_BUYER_PAY": TradeStatus.WAITING,
    b"TRADE_SUCCESS": TradeStatus.PAID,
    b"TRADE_FINISHED": TradeStatus.FINAL,
    b"TRADE_CLOSED": TradeStatus.CLOSED,
}
_REFUND_IS_DONE = {b"REFUND_SUCCESS": True, b"REFUND_FAIL": False, b"REFUND_CLOSED": False}

# All of them write ASCII as ASCII. The label gb2312 means GBK, as everywhere (WHATWG Encoding, section 4.2).
_CODECS = {"utf-8": "utf-8", "utf8": "utf-8", "gbk": "gbk", "gb2312": "gbk", "gb18030": "gb18030"}
_CHARSET_FIELDS = (b"charset", b"_input_charset")

_NUMBER = re.compile(rb"[!-}][!-~]{0,63}")
"""A merchant's number of an order or refund: printable ASCII without blank, not beginning with `~` (contract, section 6)."""

_TRADE_NO = re.compile(rb"[0-9A-Za-z_-]{1,64}")
_TIME = re.compile(rb"[12][0-9]{3}-[01][0-9]-[0-3][0-9] (?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]")
_AHEAD_OF_UTC = timedelta(hours=8)


def read_statement(fields: Fields) -> TradeStatement:
    """
    Read what a message states. Its signature was verified before: what is unusable here is genuine nevertheless.

    Raises:
        Unusable: with the first reason in this order of work. ambiguous; undecodable; bad_field (NUL); not_handled (protocol B);
            unknown_type; bad_field (order number); unknown_status; bad_field (trade number, times, refund number).
    """
    codec = _charset(fields)
    given = fields.get  # an empty field is one that is not there
    if given(b"out_return_no") and not given(b"trade_status"):
        raise Unusable(
            Reason.NOT_HANDLED
        )  # protocol B, known by this field and not by its type (alipayhk.md, section 3.3)
    if given(b"notify_type") != b"trade_status_sync":
        raise Unusable(Reason.UNKNOWN_TYPE)
    order = _full_match(_NUMBER, given(b"out_trade_no"))
    status = _STATUSES.get(given(b"trade_status", b""))
    if status is None:
        raise Unusable(Reason.UNKNOWN_STATUS)
    refund_is_done = _refund_is_done(fields)
    trade_no = _full_match(_TRADE_NO, given(b"trade_no"))
    made_at = _time(given(b"notify_time", b""))
    refunded_at = _time_or_none(given(b"gmt_refund"))
    return TradeStatement(
        order,
        trade_no,
        status,
        _text(given(b"total_fee"), codec),
        _text(given(b"currency"), codec),
        made_at,
        _time_or_none(given(b"gmt_payment")),
        _time_or_none(given(b"gmt_close")),
        None if refund_is_done is None else _refund(fields, codec, is_done=refund_is_done, at=refunded_at or made_at),
        _all_of(fields, codec, b"seller_id"),
        _all_of(fields, codec, b"partner", b"partner_id"),
    )


def order_of(fields: Fields) -> str | None:
    """
    The order that an unusable message is filed under, or None.

    An ambiguous message names none: what it calls the order may be a piece of another field. In any other the number counts if it
    can be read, whatever else is wrong.
    """
    if b"&" in _joined_values(fields):
        return None
    number = fields.get(b"out_trade_no", b"")
    return number.decode("ascii") if _NUMBER.fullmatch(number) else None


def statement_of(evidence: Evidence) -> TradeStatement:
    """
    What a notification out of the inbox states; it was verified when it was taken.

    Raises:
        Unusable: see `read_statement`; not_handled for evidence of other kinds and protocols, which come with later versions.
    """
    if evidence.kind is not Kind.NOTIFICATION or evidence.protocol != PROTOCOL:
        raise Unusable(Reason.NOT_HANDLED)
    return read_statement(form.parse(evidence.body))


def _charset(fields: Fields) -> str:
    """
    The charset that the message itself signed, once it is certain that each of its values is text in it.

    The signed string joins values raw, so one signature fits several sets of fields as soon as a value holds `&` (a total of
    0.01 was turned into 9999.00 that way). AlipayHK sends such a message only where the merchant put `&` into a subject; it
    can't be told from a forged one, and its fields mean nothing.

    Raises:
        Unusable: ambiguous, undecodable, bad_field (NUL).
    """
    values = _joined_values(fields)
    if b"&" in values:
        raise Unusable(Reason.AMBIGUOUS)
    codec = _codec(fields)
    try:
        values.decode(codec)
    except UnicodeDecodeError:
        raise Unusable(Reason.UNDECODABLE) from None
    if values.count(b"\0") != len(fields) - 1:  # one of them has a NUL of its own
        raise Unusable(Reason.BAD_FIELD)
    return codec


def _joined_values(fields: Fields) -> bytes:
    """
    All values, to be judged at once.

    No charset in use has a character that runs on over a NUL. A signature that was verified is ASCII without `&`.
    """
    return b"\0".join(fields.values())


def _codec(fields: Fields) -> str:
    """Only what was signed names the charset: the header of the request was not. AlipayHK's default is UTF-8."""
    labels = [label for name in _CHARSET_FIELDS if (label := fields.get(name))]
    if not labels:
        return "utf-8"
    codecs = {_CODECS.get(label.lower().decode("ascii", "replace"), "") for label in labels}
    codec = codecs.pop()
    if not codec or codecs:
        raise Unusable(Reason.UNDECODABLE)
    return codec


def _refund_is_done(fields: Fields) -> bool | None:
    """Whether the refund that the message tells of was done; None where it tells of none."""
    status = fields.get(b"refund_status")
    if not status:
        return True if fields.get(b"gmt_refund") else None
    try:
        return _REFUND_IS_DONE[status]
    except KeyError:
        raise Unusable(Reason.UNKNOWN_STATUS) from None


def _refund(fields: Fields, codec: str, *, is_done: bool, at: datetime) -> RefundStatement:
    number = fields.get(b"out_return_no")
    return RefundStatement(
        number=_full_match(_NUMBER, number) if number else None,
        is_done=is_done,
        at=at,
        amount_text=_text(fields.get(b"return_amount") or fields.get(b"refund_amount"), codec),
    )


def _text(value: bytes | None, codec: str) -> str | None:
    return value.decode(codec) if value else None


def _all_of(fields: Fields, codec: str, *names: bytes) -> tuple[str, ...]:
    return tuple([value.decode(codec) for name in names if (value := fields.get(name))])


def _full_match(pattern: re.Pattern[bytes], value: bytes | None) -> str:
    """ASCII, whatever the charset: each writes it so."""
    if value is None or not pattern.fullmatch(value):
        raise Unusable(Reason.BAD_FIELD)
    return value.decode("ascii")


def _time_or_none(value: bytes | None) -> datetime | None:
    return _time(value) if value else None


@lru_cache(maxsize=256)
def _time(value: bytes) -> datetime:
    """AlipayHK's times name no zone and are GMT+8. They are whole seconds, so messages that come together share them."""
    try:
        return datetime.fromisoformat(_full_match(_TIME, value) + "Z") - _AHEAD_OF_UTC
    except ValueError:  # a day that the calendar does not have
        raise Unusable(Reason.BAD_FIELD) from None
