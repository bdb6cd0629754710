"""Laws of the form's reader: one opinion on every body, and no other answer than fields or 400."""

from __future__ import annotations

import re
from urllib.parse import quote_plus, unquote_to_bytes, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.alipayhk.form import canonical, names_protocol_fields, parse
from notifier.errors import Rejected


def reference(body: bytes) -> dict[bytes, bytes] | None:
    """The rules of the form, written as plainly as they can be; None where it is refused."""
    segments = body.split(b"&")
    fields: dict[bytes, bytes] = {}
    if len(segments) > 100:
        return None
    for segment in segments:
        name, equals, value = segment.replace(b"+", b" ").partition(b"=")
        if not equals or re.search(rb"%(?![0-9A-Fa-f][0-9A-Fa-f])", segment):
            return None
        name = unquote_to_bytes(name)
        if not re.fullmatch(rb"[A-Za-z0-9_]{1,64}", name) or name.lower() in {known.lower() for known in fields}:
            return None
        if name.lower() in (b"sign", b"sign_type") and not name.islower():
            return None
        fields[name] = unquote_to_bytes(value)
    return fields


def parsed(body: bytes) -> dict[bytes, bytes] | None:
    """What `parse` says, None where it refuses."""
    try:
        return parse(body)
    except Rejected:
        return None


MALFORMED = {
    "FORM-01 a name twice": b"total_fee=0.01&total_fee=9999.00",
    "C09 a second one that is empty": b"total_fee=0.01&total_fee=",
    "FORM-02 twice through an escape": b"total_fee=0.01&%74otal_fee=9999.00",
    "twice, both escaped": b"%74otal_fee=0.01&t%6ftal_fee=9999.00",
    "twice but for case": b"total_fee=0.01&Total_Fee=9999.00",
    "FORM-04 PHP's list": b"a[]=1",
    "FORM-04 PHP's index": b"a[0]=1",
    "FORM-04 a dot": b"a.b=1",
    "PHP's list, escaped": b"a%5B%5D=1",
    "FORM-06 no =": b"a=1&total_fee",
    "FORM-06 nothing but a name": b"total_fee",
    "no name": b"=1",
    "FORM-07 nothing but &": b"&&&",
    "FORM-07 & first": b"&a=1",
    "FORM-07 & last": b"a=1&",
    "FORM-07 & twice": b"a=1&&b=2",
    "an empty body": b"",
    "FORM-12 a bare %": b"a=%",
    "FORM-12 half an escape": b"a=%2",
    "FORM-12 no hex": b"a=%zz",
    "FORM-12 JavaScript's escape": b"a=%u4e2d",
    "FORM-12 half an escape before &": b"a=%2&b=1",
    "FORM-12 in a name": b"a%=1",
    "FORM-12 what would be quoted-printable's soft line end": b"a=x%\n",
    "FORM-12 a carriage return that would swallow what follows": b"a=%\r",
    "FORM-12 two that swallow what another leaves too much": b"a=%\r\n%\r\n%z",
    "FORM-12 full-width digits in an escape": "a=%２６".encode(),
    "FORM-17 NUL in a name": b"a%00=1",
    "a raw NUL in a name": b"a\0=1",
    "a line end after a name": b"a\n=1",
    "an escaped line end after a name": b"a%0a=1",
    "an escaped = in a name": b"a%3Db=1",
    "an escaped & in a name": b"a%26b=1",
    "an escape of an escape in a name": b"a%2562=1",
    "a blank before a name": b"a=1&+b=2",
    "a name that is not ASCII": "ａ=1".encode(),
    "HTTP-44 a byte order mark": b"\xef\xbb\xbfa=1",
    "FORM-29 101 fields": b"&".join(b"a%d=1" % n for n in range(101)),
    "FORM-29 10,000 fields": b"&".join(b"a%d=1" % n for n in range(10_000)),
    "FORM-31 a name of 10 KiB": b"a" * 10_240 + b"=1",
    "a name of 65": b"a" * 65 + b"=1",
    "FORM-36 Sign": b"a=1&Sign=x",
    "FORM-36 SIGN beside sign": b"sign=x&SIGN=y",
    "FORM-36 sign_type in another case": b"a=1&Sign_Type=RSA",
    "C37 the notify_data of another product": b"<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><notify/>",
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
def test_a_form_that_two_readers_may_read_in_two_ways_is_malformed(body: bytes) -> None:
    with pytest.raises(Rejected) as why:
        parse(body)

    assert (why.value.status, why.value.reason) == (400, "malformed")


READ = {
    "one field": (b"a=1", {b"a": b"1"}),
    "an empty value": (b"a=", {b"a": b""}),
    "R4 = in a value: only the first one splits": (b"sign=ab==", {b"sign": b"ab=="}),
    "R4 escaped": (b"sign=ab%3D%3D", {b"sign": b"ab=="}),
    "FORM-11 ; is data": (b"a=1;b=2", {b"a": b"1;b=2"}),
    "FORM-14 an overlong & is no delimiter": (b"a=%C0%A6b=2", {b"a": b"\xc0\xa6b=2"}),
    "FORM-16 NUL in a value": (b"a=%00", {b"a": b"\0"}),
    "FORM-26 an escaped +": (b"subject=a%2Bb", {b"subject": b"a+b"}),
    "FORM-27 + is a blank": (b"t=2026-11-22+09:30:05", {b"t": b"2026-11-22 09:30:05"}),
    "R5 decoded once": (b"subject=%E4%BC%9A%2B&a=%252B", {b"subject": "会+".encode(), b"a": b"%2B"}),
    "FORM-32 an escaped & is data": (b"subject=a%26b%3D1", {b"subject": b"a&b=1"}),
    "an escaped name": (b"%61=1", {b"a": b"1"}),
    "escapes in either case": (b"a=%c3%A9", {b"a": b"\xc3\xa9"}),
    "control bytes": (b"a=%0d%0aERROR&b=\x1b\r\n", {b"a": b"\r\nERROR", b"b": b"\x1b\r\n"}),
    "raw bytes of any charset": (b"a=\xb2\xe2\xff", {b"a": b"\xb2\xe2\xff"}),
    "100 fields": (b"&".join(b"a%d=1" % n for n in range(100)), {b"a%d" % n: b"1" for n in range(100)}),
    "a name of 64": (b"a" * 64 + b"=1", {b"a" * 64: b"1"}),
    "quoted-printable's soft line end is data": (b"a=x%3D%0Ay=\nz%20", {b"a": b"x=\ny=\nz "}),
}


@pytest.mark.parametrize(("body", "fields"), READ.values(), ids=READ)
def test_a_form_is_split_first_and_decoded_once(body: bytes, fields: dict[bytes, bytes]) -> None:
    assert parse(body) == fields
    assert list(parse(body)) == list(fields), "in the order in which they arrived"


_pieces = st.sampled_from(
    rb"& = + % %26 %3d %3D %41 %61 %00 %0A a A _ . sign Sign %73ign %ff &a= &b=1 &c=%26".split()
    + b"\n|\r\n| |=\n|%\n|\xff|\0".split(b"|")
)


@given(st.one_of(st.lists(_pieces, max_size=12).map(b"".join), st.binary(max_size=40)))
def test_the_fast_reading_is_the_plain_one(body: bytes) -> None:
    """What decodes whole bodies at once agrees with the rules written out, on every body."""
    assert parsed(body) == reference(body)


_names = st.from_regex(r"[a-z0-9_]{1,64}", fullmatch=True)


@given(st.dictionaries(_names, st.binary(max_size=20), min_size=1, max_size=20))
def test_what_was_encoded_is_read_again(fields: dict[str, bytes]) -> None:
    assert parse(urlencode(fields).encode()) == {name.encode(): value for name, value in fields.items()}


@given(st.binary(max_size=60))
def test_each_value_is_decoded_as_urllib_would(value: bytes) -> None:
    escaped = quote_plus(value).encode()

    assert parse(b"a=" + escaped) == {b"a": unquote_to_bytes(escaped.replace(b"+", b" "))}


CANONICAL = {
    "sign and sign_type are left out": ({b"b": b"2", b"sign": b"x", b"sign_type": b"RSA", b"a": b"1"}, b"a=1&b=2"),
    "C08 empty values are left out": ({b"a": b"1", b"gmt_refund": b""}, b"a=1"),
    "a blank is no empty value": ({b"a": b" "}, b"a= "),
    "_input_charset comes before letters": ({b"a": b"1", b"_input_charset": b"utf-8"}, b"_input_charset=utf-8&a=1"),
    "capitals come before small letters": ({b"a": b"1", b"B": b"2"}, b"B=2&a=1"),
    "names are sorted, not pairs: in pairs a1= would come before a=": ({b"a1": b"x", b"a": b"y"}, b"a=y&a1=x"),
    "R8 no charset is asked: what is no UTF-8 stays as it is": ({b"a": b"\xb2\xe2\xff"}, b"a=\xb2\xe2\xff"),
    "R6 R7 values stay as they are": ({b"f": b'[{"amount":"1"}]\\"'}, b'f=[{"amount":"1"}]\\"'),
    "nothing at all": ({b"sign": b"x"}, b""),
}


@pytest.mark.parametrize(("fields", "signed"), CANONICAL.values(), ids=CANONICAL)
def test_the_signed_bytes_are_the_non_empty_fields_sorted_by_name(fields: dict[bytes, bytes], signed: bytes) -> None:
    assert canonical(fields) == signed


@given(st.data())
def test_the_signed_bytes_do_not_depend_on_the_order_of_fields(data: st.DataObject) -> None:
    """FORM-39."""
    fields = data.draw(st.dictionaries(_names.map(str.encode), st.binary(max_size=5), max_size=10))
    shuffled = dict(data.draw(st.permutations(list(fields.items()))))

    assert canonical(shuffled) == canonical(fields)


QUERIES = {
    "no query": (b"", False),
    "a merchant's own": (b"shop=7&lang=zh-hk&utm_source=x", False),
    "C10 an amount": (b"total_fee=9999.00", True),
    "behind a merchant's own": (b"shop=7&out_trade_no=A1", True),
    "without a value": (b"sign", True),
    "in capitals": (b"TOTAL_FEE=1", True),
    "escaped": (b"%74otal_fee=1", True),
    "escaped in capitals": (b"%54OTAL_FEE=1", True),
    "behind a ;": (b"shop=7;trade_status=TRADE_SUCCESS", True),
    "with blanks around": (b"+total_fee+=1", True),
    "malformed escapes beside it": (b"%zz=%&notify_id=1", True),
    "malformed escapes alone": (b"%zz=%", False),
    "a name in a value": (b"next=total_fee", False),
    "the beginning of a name": (b"total=1", False),
}


@pytest.mark.parametrize(("query", "names_one"), QUERIES.values(), ids=QUERIES)
def test_a_query_may_hold_anything_but_names_of_alipayhk(query: bytes, names_one: bool) -> None:
    assert names_protocol_fields(query) is names_one
