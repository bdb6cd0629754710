"""What a genuine message states, and why one is set aside. Ids are those of the list of hostile inputs."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.alipayhk.form import Fields, parse
from notifier.alipayhk.mapi import order_of, read_statement, statement_of
from notifier.errors import Reason, Unusable
from notifier.evidence import USABLE, Evidence, Kind, Policy
from notifier.statement import RefundStatement, TradeStatement, TradeStatus

# The set that cross-border messages have (A1): no payee, no payer, no time of payment.
SHORT = {
    b"notify_id": b"850fd05d0bd794784867a4df048ce5ehgu",
    b"notify_type": b"trade_status_sync",
    b"notify_time": b"2016-05-13 09:19:50",
    b"sign_type": b"RSA",
    b"sign": b"c2lnbg==",
    b"out_trade_no": b"1116051210000575",
    b"trade_no": b"2016051221001003190252818476",
    b"trade_status": b"TRADE_FINISHED",
    b"total_fee": b"20.42",
    b"currency": b"USD",
}
# The full set (A2).
FULL = {
    b"notify_time": b"2013-08-22 14:45:24",
    b"notify_type": b"trade_status_sync",
    b"notify_id": b"64ce1b6ab92d00ede0ee56ade98fdf2f4c",
    b"sign_type": b"RSA",
    b"sign": b"1glihU9DPWee+UJ8",
    b"out_trade_no": b"082215222612710",
    b"subject": "测试".encode(),
    b"payment_type": b"1",
    b"trade_no": b"2013082244524842",
    b"trade_status": b"TRADE_SUCCESS",
    b"seller_id": b"2088501624816263",
    b"seller_email": b"xxx@alipay.com",
    b"buyer_id": b"2160202315385429",
    b"buyer_email": b"canary@example.com",
    b"total_fee": b"1.00",
    b"quantity": b"1",
    b"price": b"1.00",
    b"body": "测试测试".encode(),
    b"gmt_create": b"2013-08-22 14:45:23",
    b"gmt_payment": b"2013-08-22 14:45:24",
    b"is_total_fee_adjust": b"N",
    b"use_coupon": b"N",
    b"discount": b"0.00",
}


def test_the_short_set_is_read() -> None:
    """TRADE_FINISHED is the first paid status of a cross-border trade."""
    assert read_statement(SHORT) == TradeStatement(
        order="1116051210000575",
        trade_no="2016051221001003190252818476",
        status=TradeStatus.FINAL,
        amount_text="20.42",
        currency_text="USD",
        made_at=datetime(2016, 5, 13, 1, 19, 50, tzinfo=UTC),
    )


def test_the_full_set_is_read_and_the_payer_is_not() -> None:
    statement = read_statement(FULL)

    assert statement == TradeStatement(
        order="082215222612710",
        trade_no="2013082244524842",
        status=TradeStatus.PAID,
        amount_text="1.00",
        currency_text=None,
        made_at=datetime(2013, 8, 22, 6, 45, 24, tzinfo=UTC),
        paid_at=datetime(2013, 8, 22, 6, 45, 24, tzinfo=UTC),
        seller_ids=("2088501624816263",),
    )
    assert "canary" not in repr(statement)


def test_times_are_utc_and_a_day_earlier_where_hong_kong_is_ahead() -> None:
    statement = read_statement(SHORT | {b"notify_time": b"2026-01-01 07:59:59"})

    assert statement.made_at == datetime(2025, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert statement.made_at.tzinfo is UTC


UNUSABLE: dict[str, tuple[Fields, Reason]] = {
    "FORM-32 C07 & in a subject": ({b"subject": b"a&b"}, Reason.AMBIGUOUS),
    "C07 fields swallowed by another": ({b"body": b"x&total_fee=9999.00"}, Reason.AMBIGUOUS),
    "FORM-34 an order number out of a body": ({b"trade_status": b"TRADE_SUCCESS&zz=1"}, Reason.AMBIGUOUS),
    "& in a field nobody knows": ({b"unknown": b"&"}, Reason.AMBIGUOUS),
    "& in the payer's data": ({b"buyer_email": b"a&b"}, Reason.AMBIGUOUS),
    "FORM-14 an overlong &": ({b"subject": b"a\xc0\xa6b"}, Reason.UNDECODABLE),
    "FORM-24 one field in GBK": ({b"subject": "测试".encode("gbk")}, Reason.UNDECODABLE),
    "FORM-24 in GBK, one field in UTF-8": (
        {b"charset": b"GBK", b"body": "测试".encode("gbk"), b"subject": "测".encode()},
        Reason.UNDECODABLE,
    ),
    "half a character at the end of a value": ({b"subject": "测".encode()[:-1]}, Reason.UNDECODABLE),
    "half a GBK character at the end of a value": ({b"charset": b"GBK", b"subject": b"\xb2"}, Reason.UNDECODABLE),
    "two halves of a GBK character in two values": (
        {b"charset": b"GBK", b"body": b"\xb2", b"subject": b"\xe2"},
        Reason.UNDECODABLE,
    ),
    "a surrogate": ({b"subject": b"\xed\xa0\x80"}, Reason.UNDECODABLE),
    "HTTP-11 a charset nobody agreed on": ({b"charset": b"utf-7"}, Reason.UNDECODABLE),
    "a charset that Python would know": ({b"charset": b"unicode_escape"}, Reason.UNDECODABLE),
    "a codec that is no charset": ({b"_input_charset": b"zlib"}, Reason.UNDECODABLE),
    "a charset that is not ASCII": ({b"charset": b"\xff"}, Reason.UNDECODABLE),
    "two charsets": ({b"charset": b"GBK", b"_input_charset": b"utf-8"}, Reason.UNDECODABLE),
    "FORM-16 NUL in a value": ({b"subject": b"a\0b"}, Reason.BAD_FIELD),
    "NUL in the order number": ({b"out_trade_no": b"T1\0"}, Reason.BAD_FIELD),
    "protocol B": ({b"out_return_no": b"R1", b"trade_status": b"", b"notify_type": b"x"}, Reason.NOT_HANDLED),
    "C26 no type": ({b"notify_type": b""}, Reason.UNKNOWN_TYPE),
    "another type": ({b"notify_type": b"batch_refund_notify"}, Reason.UNKNOWN_TYPE),
    "a type in another case": ({b"notify_type": b"TRADE_STATUS_SYNC"}, Reason.UNKNOWN_TYPE),
    "no order number": ({b"out_trade_no": b""}, Reason.BAD_FIELD),
    "an order number of 65": ({b"out_trade_no": b"1" * 65}, Reason.BAD_FIELD),
    "an order number with a blank": ({b"out_trade_no": b"T 1"}, Reason.BAD_FIELD),
    "an order number with a line end": ({b"out_trade_no": b"T1\n"}, Reason.BAD_FIELD),
    "an order number that looks like our own key": ({b"out_trade_no": b"~position"}, Reason.BAD_FIELD),
    "an order number in full-width digits": ({b"out_trade_no": "１".encode()}, Reason.BAD_FIELD),
    "an order number with DEL": ({b"out_trade_no": b"T1\x7f"}, Reason.BAD_FIELD),
    "MEAN-17 C18 another status": ({b"trade_status": b"PAID"}, Reason.UNKNOWN_STATUS),
    "MEAN-17 no status": ({b"trade_status": b""}, Reason.UNKNOWN_STATUS),
    "MEAN-17 C18 lower case": ({b"trade_status": b"trade_success"}, Reason.UNKNOWN_STATUS),
    "MEAN-17 a blank behind": ({b"trade_status": b"TRADE_SUCCESS "}, Reason.UNKNOWN_STATUS),
    "another refund status": ({b"refund_status": b"REFUND_PENDING"}, Reason.UNKNOWN_STATUS),
    "no trade number": ({b"trade_no": b""}, Reason.BAD_FIELD),
    "a trade number of 65": ({b"trade_no": b"1" * 65}, Reason.BAD_FIELD),
    "a trade number with a blank": ({b"trade_no": b"2016 1"}, Reason.BAD_FIELD),
    "a trade number with a line end": ({b"trade_no": b"2016\n"}, Reason.BAD_FIELD),
    "a trade number in full-width digits": ({b"trade_no": "２０１６".encode()}, Reason.BAD_FIELD),
    "no time": ({b"notify_time": b""}, Reason.BAD_FIELD),
    "MEAN-34 a day that does not exist": ({b"notify_time": b"2026-02-30 00:00:00"}, Reason.BAD_FIELD),
    "MEAN-34 no leap year": ({b"notify_time": b"2100-02-29 00:00:00"}, Reason.BAD_FIELD),
    "MEAN-34 24:00:00": ({b"notify_time": b"2026-01-01 24:00:00"}, Reason.BAD_FIELD),
    "MEAN-34 a leap second": ({b"notify_time": b"2026-01-01 23:59:60"}, Reason.BAD_FIELD),
    "MEAN-34 a zone": ({b"notify_time": b"2026-01-01 00:00:00+09:00"}, Reason.BAD_FIELD),
    "MEAN-34 T and Z": ({b"notify_time": b"2026-01-01T00:00:00Z"}, Reason.BAD_FIELD),
    "MEAN-34 epoch digits": ({b"notify_time": b"1700000000"}, Reason.BAD_FIELD),
    "MEAN-34 full-width digits": ({b"notify_time": "２０26-01-01 00:00:00".encode()}, Reason.BAD_FIELD),
    "a time before all calendars": ({b"notify_time": b"0001-01-01 00:00:00"}, Reason.BAD_FIELD),
    "the year 0": ({b"notify_time": b"0000-01-01 00:00:00"}, Reason.BAD_FIELD),
    "a time whose blank was lost": ({b"notify_time": b"2018-11-0915:36:17"}, Reason.BAD_FIELD),
    "a time with a line end": ({b"notify_time": b"2026-01-01 00:00:00\n"}, Reason.BAD_FIELD),
    "a time with fractions": ({b"notify_time": b"2026-01-01 00:00:00.0"}, Reason.BAD_FIELD),
    "a payment time that is none": ({b"gmt_payment": b"2026-02-30 00:00:00"}, Reason.BAD_FIELD),
    "a closing time that is none": ({b"gmt_close": b"x"}, Reason.BAD_FIELD),
    "a refund time that is none": ({b"gmt_refund": b"x"}, Reason.BAD_FIELD),
    "a refund number that is none": (
        {b"refund_status": b"REFUND_SUCCESS", b"out_return_no": b"~R1"},
        Reason.BAD_FIELD,
    ),
}


@pytest.mark.parametrize(("changed", "reason"), UNUSABLE.values(), ids=UNUSABLE)
def test_what_fits_no_rule_is_set_aside_with_its_reason(changed: Fields, reason: Reason) -> None:
    with pytest.raises(Unusable) as unusable:
        read_statement(SHORT | changed)

    assert unusable.value.reason is reason


_IN_ORDER: list[tuple[Reason, Fields]] = [
    (Reason.AMBIGUOUS, {b"a": b"&"}),
    (Reason.UNDECODABLE, {b"b": b"\xff"}),
    (Reason.BAD_FIELD, {b"c": b"\0"}),
    (Reason.UNKNOWN_TYPE, {b"notify_type": b"x"}),
    (Reason.BAD_FIELD, {b"out_trade_no": b"~"}),
    (Reason.UNKNOWN_STATUS, {b"trade_status": b"x"}),
    (Reason.BAD_FIELD, {b"trade_no": b"x y"}),
]


@pytest.mark.parametrize("first", range(len(_IN_ORDER)))
def test_where_two_reasons_hold_the_first_in_the_order_of_work_stands(first: int) -> None:
    fields = dict(SHORT)
    for _, fault in _IN_ORDER[first:]:
        fields |= fault

    with pytest.raises(Unusable) as unusable:
        read_statement(fields)

    assert unusable.value.reason is _IN_ORDER[first][0]


USABLE_ONES: dict[str, Fields] = {
    "FORM-21 GBK, as the message signed": {b"charset": b"GBK", b"subject": "测试".encode("gbk")},
    "R8 GBK in the name that requests have": {b"_input_charset": b"gbk", b"subject": "测试".encode("gbk")},
    "GB2312 means GBK": {b"_input_charset": b"GB2312", b"subject": "镕".encode("gbk")},
    "GB18030": {b"charset": b"gb18030", b"subject": "𠮷".encode("gb18030")},
    "a GBK character whose second byte is a letter": {b"charset": b"GBK", b"subject": b"\x81\x40"},
    "UTF-8 by name": {b"charset": b"UTF-8", b"subject": "測試𠮷".encode()},
    "one charset said twice": {b"charset": b"utf8", b"_input_charset": b"UTF-8"},
    "FORM-26 R5 + in a subject": {b"subject": "会员+".encode()},
    "R6 JSON in a value": {b"fund_bill_list": b'[{"amount":"1.00"}]'},
    "R7 backslashes": {b"subject": b'a\\\\b\\"'},
    "C39 line ends in a subject": {b"subject": b"a\r\nERROR paid"},
    "MEAN-39 a payer who is none": {b"buyer_id": b"<script>" + b"x" * 2048},
    "MEAN-41 a formula in a subject": {b"subject": b"=cmd()|' /C calc'!A0"},
    "MEAN-36 paid later than told": {b"gmt_payment": b"2030-01-01 00:00:00"},
    "= in a value": {b"subject": b"a=b=c"},
    "an order number with all that is allowed": {b"out_trade_no": b"!-}#%/_.~" + b"x" * 55},
    "a trade number of one": {b"trade_no": b"1"},
    "29 February of a leap year": {b"notify_time": b"2028-02-29 23:59:59"},
    "C08 empty fields": {b"gmt_refund": b"", b"refund_status": b"", b"gmt_payment": b"", b"out_return_no": b""},
    "MEAN-01 another payee: the fold's to judge": {b"seller_id": b"2088999999999999"},
    "no amount: the fold's to judge": {b"total_fee": b""},
}


@pytest.mark.parametrize("changed", USABLE_ONES.values(), ids=USABLE_ONES)
def test_what_only_looks_odd_is_usable(changed: Fields) -> None:
    statement = read_statement(SHORT | changed)

    assert statement.status is TradeStatus.FINAL
    assert statement.refund is None


@pytest.mark.parametrize(
    "text", ["-0.01", "0", "1e2", "1E400", "9" * 400, "100.00\n", "１.00", "100.001"], ids=lambda text: text[:9]
)
def test_an_amount_stays_text_for_the_fold(text: str) -> None:
    """MEAN-07, 09, 11, 12, 16, FORM-19: nothing is made of it here, so nothing can be rounded."""
    assert read_statement(SHORT | {b"total_fee": text.encode()}).amount_text == text


def test_the_amount_is_total_fee_whatever_else_is_there() -> None:
    """MEAN-14."""
    statement = read_statement(SHORT | {b"rmb_fee": b"150.00", b"total_amount": b"9999.00"})

    assert (statement.amount_text, statement.currency_text) == ("20.42", "USD")


def test_an_empty_currency_is_none() -> None:
    assert read_statement(SHORT | {b"currency": b""}).currency_text is None


STATUSES = {
    b"WAIT_BUYER_PAY": TradeStatus.WAITING,
    b"TRADE_SUCCESS": TradeStatus.PAID,
    b"TRADE_FINISHED": TradeStatus.FINAL,
    b"TRADE_CLOSED": TradeStatus.CLOSED,
}


@pytest.mark.parametrize(("word", "status"), STATUSES.items(), ids=STATUSES.values())
def test_each_status_has_its_word(word: bytes, status: TradeStatus) -> None:
    assert read_statement(SHORT | {b"trade_status": word}).status is status


def test_a_closing_time_is_read() -> None:
    """MEAN-21."""
    statement = read_statement(SHORT | {b"trade_status": b"TRADE_CLOSED", b"gmt_close": b"2016-05-13 09:19:00"})

    assert statement.closed_at == datetime(2016, 5, 13, 1, 19, tzinfo=UTC)


_TOLD_AT = datetime(2016, 5, 13, 1, 19, 50, tzinfo=UTC)
_REFUNDED_AT = datetime(2016, 5, 13, 1, 0, tzinfo=UTC)
REFUNDS: dict[str, tuple[Fields, RefundStatement]] = {
    "done": ({b"refund_status": b"REFUND_SUCCESS"}, RefundStatement(None, is_done=True, at=_TOLD_AT)),
    "failed": ({b"refund_status": b"REFUND_FAIL"}, RefundStatement(None, is_done=False, at=_TOLD_AT)),
    "closed, as it was called once": (
        {b"refund_status": b"REFUND_CLOSED"},
        RefundStatement(None, is_done=False, at=_TOLD_AT),
    ),
    "a time and no word": (
        {b"gmt_refund": b"2016-05-13 09:00:00"},
        RefundStatement(None, is_done=True, at=_REFUNDED_AT),
    ),
    "number, time and amount": (
        {
            b"refund_status": b"REFUND_SUCCESS",
            b"gmt_refund": b"2016-05-13 09:00:00",
            b"out_return_no": b"R1",
            b"return_amount": b"5.00",
            b"refund_amount": b"6.00",
        },
        RefundStatement("R1", is_done=True, at=_REFUNDED_AT, amount_text="5.00"),
    ),
    "the amount by its other name": (
        {b"refund_status": b"REFUND_SUCCESS", b"out_return_no": b"R1", b"refund_amount": b"6.00"},
        RefundStatement("R1", is_done=True, at=_TOLD_AT, amount_text="6.00"),
    ),
}


@pytest.mark.parametrize(("told", "refund"), REFUNDS.values(), ids=REFUNDS)
def test_a_refund_told_on_a_trade_message_is_read(told: Fields, refund: RefundStatement) -> None:
    assert read_statement(SHORT | told).refund == refund


def test_whoever_is_named_as_payee_is_told_to_the_fold() -> None:
    """MEAN-01, C11."""
    statement = read_statement(SHORT | {b"seller_id": b"1", b"partner": b"2", b"partner_id": b"3"})

    assert (statement.seller_ids, statement.partner_ids) == (("1",), ("2", "3"))


ORDERS: dict[str, tuple[Fields, str | None]] = {
    "a good message": ({}, "1116051210000575"),
    "an unknown status": ({b"trade_status": b"x"}, "1116051210000575"),
    "NUL elsewhere": ({b"subject": b"\0"}, "1116051210000575"),
    "undecodable elsewhere": ({b"subject": b"\xff"}, "1116051210000575"),
    "no number": ({b"out_trade_no": b""}, None),
    "a number that is none": ({b"out_trade_no": b"~"}, None),
    "a number that is not ASCII": ({b"out_trade_no": b"T\xff"}, None),
    "ambiguous: the number may be a piece of another field": ({b"subject": b"a&b"}, None),
}


@pytest.mark.parametrize(("changed", "order"), ORDERS.values(), ids=ORDERS)
def test_an_unusable_message_is_filed_under_its_order_if_that_can_be_read(changed: Fields, order: str | None) -> None:
    assert order_of(SHORT | changed) == order


def evidence(body: bytes, kind: Kind = Kind.NOTIFICATION, protocol: str = "mapi") -> Evidence:
    return Evidence(
        kind=kind,
        channel="shop-hkd",
        protocol=protocol,
        received_at=_TOLD_AT,
        key="0123456789abcdef",
        verdict=USABLE,
        policy=Policy(currency="HKD", seller_id=None, partner_id="2088000000000001", orders="open"),
        evidence_id=hashlib.sha256(body).hexdigest(),
        order="1116051210000575",
        body=body,
    )


BODY = (
    b"notify_type=trade_status_sync&notify_time=2016-05-13+09%3A19%3A50&out_trade_no=1116051210000575"
    b"&trade_no=2016051221001003190252818476&trade_status=TRADE_FINISHED&total_fee=20.42&currency=USD"
)


def test_evidence_states_what_its_message_stated() -> None:
    assert statement_of(evidence(BODY)) == read_statement(parse(BODY)) == read_statement(SHORT)


@pytest.mark.parametrize(("kind", "protocol"), [(Kind.RETURN, "mapi"), (Kind.NOTIFICATION, "ams")])
def test_evidence_of_a_kind_that_is_not_built_is_set_aside(kind: Kind, protocol: str) -> None:
    with pytest.raises(Unusable) as unusable:
        statement_of(evidence(BODY, kind, protocol))

    assert unusable.value.reason is Reason.NOT_HANDLED


@given(st.data())
def test_whatever_is_signed_is_a_statement_or_has_a_reason(data: st.DataObject) -> None:
    """L2, and it can't be recalled: no value of any field ends in another exception."""
    name = data.draw(
        st.sampled_from([*FULL, b"charset", b"gmt_close", b"gmt_refund", b"refund_status", b"out_return_no"])
    )
    value = data.draw(
        st.one_of(st.binary(max_size=80), st.text(max_size=30).map(lambda text: text.encode("utf-8", "replace")))
    )
    fields = FULL | {name: value}

    try:
        statement = read_statement(fields)
    except Unusable as unusable:
        assert unusable.reason in Reason  # noqa: PT017 - both ends are good ones
    else:
        assert statement.order == order_of(fields)
        assert statement.made_at.tzinfo is UTC
