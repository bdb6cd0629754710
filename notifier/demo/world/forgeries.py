"""
What a forger tries: each kind takes the fields of a message and gives a body that must be refused.

All know the path and what genuine messages look like; none has the channel's key. Kinds that alter a signed message are given one
that was signed with it, as somebody has it who saw a message on its way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import urlencode

from notifier.alipayhk import form
from notifier.alipayhk.compose import compose
from notifier.demo.world.accounts import Account

_BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


Forge = Callable[[Mapping[str, str], Account], bytes]


def _amount_changed(fields: Mapping[str, str], account: Account) -> bytes:
    return _encoded(_signed(fields, account) | {"total_fee": "9999.00"})


def _status_changed(fields: Mapping[str, str], account: Account) -> bytes:
    """The message about an unpaid trade, made to say that it was paid."""
    waiting = {**fields, "trade_status": "WAIT_BUYER_PAY"}
    return _encoded(_signed(waiting, account) | {"trade_status": "TRADE_FINISHED"})


def _order_changed(fields: Mapping[str, str], account: Account) -> bytes:
    """The payment of a cheap order, told for another."""
    cheap = {**fields, "out_trade_no": "CHEAP1", "total_fee": "0.01"}
    return _encoded(_signed(cheap, account) | {"out_trade_no": fields["out_trade_no"]})


def _key_of_another(fields: Mapping[str, str], account: Account) -> bytes:
    return compose(
        fields, account.sign_type, account.forgers_keys.md5 if account.sign_type == "MD5" else account.forgers_keys.rsa
    )


def _sign_missing(fields: Mapping[str, str], account: Account) -> bytes:
    return _encoded({**fields, "sign_type": account.sign_type})


def _sign_type_changed(fields: Mapping[str, str], account: Account) -> bytes:
    """The message asks for an algorithm whose key the forger has."""
    if account.sign_type == "MD5":
        return compose(fields, "RSA", account.forgers_keys.rsa)
    return compose(fields, "MD5", account.forgers_keys.md5)


def _sign_altered(fields: Mapping[str, str], account: Account) -> bytes:
    """A second form of a genuine signature, which a lenient reader takes for the first: base64's unused bits, capitals of hex."""
    signed = _signed(fields, account)
    sign = signed["sign"]
    if account.sign_type == "MD5":
        return _encoded(signed | {"sign": sign.upper()})
    text = sign.rstrip("=")
    # 256 bytes leave four bits of the last symbol unused; the lowest of them is turned over
    last = _BASE64[_BASE64.index(text[-1]) ^ 1]
    return _encoded(signed | {"sign": text[:-1] + last + "=" * (len(sign) - len(text))})


def _field_twice(fields: Mapping[str, str], account: Account) -> bytes:
    return compose(fields, account.sign_type, account.key) + b"&total_fee=9999.00"


def _field_added(fields: Mapping[str, str], account: Account) -> bytes:
    """A field that nobody signed."""
    return compose(fields, account.sign_type, account.key) + b"&refund_status=REFUND_SUCCESS"


KINDS: Mapping[str, Forge] = {
    "amount changed": _amount_changed,
    "status changed": _status_changed,
    "order changed": _order_changed,
    "key of another": _key_of_another,
    "sign missing": _sign_missing,
    "sign_type changed": _sign_type_changed,
    "sign altered": _sign_altered,
    "field twice": _field_twice,
    "field added": _field_added,
}
"""By what was done."""


def _signed(fields: Mapping[str, str], account: Account) -> dict[str, str]:
    body = compose(fields, account.sign_type, account.key)
    return {name.decode(): value.decode() for name, value in form.parse(body).items()}


def _encoded(fields: Mapping[str, str]) -> bytes:
    return urlencode(fields).encode("ascii")
