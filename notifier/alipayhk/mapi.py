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
    "WAIT_BUYER_PAY": TradeStatus.WAITING,
    "TRADE_SUCCESS": TradeStatus.PAID,
    "TRADE_FINISHED": TradeStatus.FINAL,
    "TRADE_CLOSED": TradeStatus.CLOSED,
}
_REFUND_IS_DONE = {"REFUND_SUCCESS": True, "REFUND_FAIL": False, "REFUND_CLOSED": False}

# All of them write ASCII as ASCII. The label gb2312 means GBK, as everywhere (WHATWG Encoding, section 4.2).
_CODECS = {"utf-8": "utf-8", "utf8": "utf-8", "gbk": "gbk", "gb2312": "gbk", "gb18030": "gb18030"}
_CHARSET_FIELDS = (b"charset", b"_input_charset")

_NUMBER = re.compile(r"[!-}][!-~]{0,63}")
"""A merchant's number of an order or refund: printable ASCII without blank, not beginning with `~` (contract, section 6)."""

_TRADE_NO = re.compile(r"[0-9A-Za-z_-]{1,64}")
_TIME = re.compile(r"[12][0-9]{3}-[01][0-9]-[0-3][0-9] (?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]")
_AHEAD_OF_UTC = timedelta(hours=8)


def read_statement(fields: Fields) -> TradeStatement:
    """
    Read what a message states. Its signature was verified before: what is unusable here is genuine nevertheless.

    Raises:
        Unusable: with the first reason in this order of work. ambiguous; undecodable; bad_field (NUL); not_handled (protocol B);
            unknown_type; bad_field (order number); unknown_status; bad_field (trade number, times, refund number).
    """
    texts = _texts(fields)
    if b"out_return_no" in texts and b"trade_status" not in texts:
        raise Unusable(
            Reason.NOT_HANDLED
        )  # protocol B, known by this field and not by its type (alipayhk.md, section 3.3)
    if texts.get(b"notify_type") != "trade_status_sync":
        raise Unusable(Reason.UNKNOWN_TYPE)
    order = _full_match(_NUMBER, texts.get(b"out_trade_no"))
    status = _STATUSES.get(texts.get(b"trade_status", ""))
    if status is None:
        raise Unusable(Reason.UNKNOWN_STATUS)
    refund_is_done = _refund_is_done(texts)
    trade_no = _full_match(_TRADE_NO, texts.get(b"trade_no"))
    made_at = _time(texts.get(b"notify_time"))
    refunded_at = _time_or_none(texts.get(b"gmt_refund"))
    return TradeStatement(
        order=order,
        trade_no=trade_no,
        status=status,
        amount_text=texts.get(b"total_fee"),
        currency_text=texts.get(b"currency"),
        made_at=made_at,
        paid_at=_time_or_none(texts.get(b"gmt_payment")),
        closed_at=_time_or_none(texts.get(b"gmt_close")),
        refund=None if refund_is_done is None else _refund(texts, is_done=refund_is_done, at=refunded_at or made_at),
        seller_ids=_all_of(texts, b"seller_id"),
        partner_ids=_all_of(texts, b"partner", b"partner_id"),
    )


def order_of(fields: Fields) -> str | None:
    """
    The order that an unusable message is filed under, or None.

    An ambiguous message names none: what it calls the order may be a piece of another field. In any other the number counts if it
    can be read, whatever else is wrong.
    """
    if b"&" in _joined_values(fields):
        return None
    number = fields.get(b"out_trade_no", b"").decode("ascii", "replace")
    return number if _NUMBER.fullmatch(number) else None


def statement_of(evidence: Evidence) -> TradeStatement:
    """
    What a notification out of the inbox states; it was verified when it was taken.

    Raises:
        Unusable: see `read_statement`; not_handled for evidence of other kinds and protocols, which come with later versions.
    """
    if evidence.kind is not Kind.NOTIFICATION or evidence.protocol != PROTOCOL:
        raise Unusable(Reason.NOT_HANDLED)
    return read_statement(form.parse(evidence.body))


def _texts(fields: Fields) -> dict[bytes, str]:
    """
    The fields as text, empty ones left out, in the charset that the message itself signed.

    The signed string joins values raw, so one signature fits several sets of fields as soon as a value holds `&` (a total of
    0.01 was turned into 9999.00 that way). AlipayHK sends such a message only where the merchant put `&` into a subject; it
    can't be told from a forged one, and its fields mean nothing.
    """
    values = _joined_values(fields)
    if b"&" in values:
        raise Unusable(Reason.AMBIGUOUS)
    try:
        texts = values.decode(_codec(fields)).split("\0")
    except UnicodeDecodeError:
        raise Unusable(Reason.UNDECODABLE) from None
    if len(texts) != len(fields):  # one of them has a NUL of its own
        raise Unusable(Reason.BAD_FIELD)
    return {name: text for name, text in zip(fields, texts, strict=True) if text}


def _joined_values(fields: Fields) -> bytes:
    """
    All values, to be judged and decoded at once.

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


def _refund_is_done(texts: dict[bytes, str]) -> bool | None:
    """Whether the refund that the message tells of was done; None where it tells of none."""
    status = texts.get(b"refund_status")
    if status is None:
        return True if b"gmt_refund" in texts else None
    try:
        return _REFUND_IS_DONE[status]
    except KeyError:
        raise Unusable(Reason.UNKNOWN_STATUS) from None


def _refund(texts: dict[bytes, str], *, is_done: bool, at: datetime) -> RefundStatement:
    number = texts.get(b"out_return_no")
    return RefundStatement(
        number=None if number is None else _full_match(_NUMBER, number),
        is_done=is_done,
        at=at,
        amount_text=texts.get(b"return_amount") or texts.get(b"refund_amount"),
    )


def _full_match(pattern: re.Pattern[str], text: str | None) -> str:
    if text is None or not pattern.fullmatch(text):
        raise Unusable(Reason.BAD_FIELD)
    return text


def _time_or_none(text: str | None) -> datetime | None:
    return None if text is None else _time(text)


@lru_cache(maxsize=256)
def _time(text: str | None) -> datetime:
    """AlipayHK's times name no zone and are GMT+8. They are whole seconds, so messages that come together share them."""
    try:
        return datetime.fromisoformat(_full_match(_TIME, text) + "Z") - _AHEAD_OF_UTC
    except ValueError:  # a day that the calendar does not have
        raise Unusable(Reason.BAD_FIELD) from None


def _all_of(texts: dict[bytes, str], *names: bytes) -> tuple[str, ...]:
    return tuple([texts[name] for name in names if name in texts])
