"""Notifications as AlipayHK sends them: the full set of fields of the legacy gateway, about 1 KB each."""

from __future__ import annotations

import base64
import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from urllib.parse import urlencode

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from notifier.alipayhk.compose import compose

PARTNER = "2088000000000001"
_AT = datetime(2026, 11, 22, 17, 30, 0)  # noqa: DTZ001 - AlipayHK's times name no zone
_UNSIGNED = base64.b64encode(bytes(range(256))).decode()  # as long as a signature of 2048 bits


def fields(order: str, status: str, *, after_s: int = 0) -> dict[str, str]:
    """The fields of a message about one order, made so many seconds after the trade was opened."""
    number = order.rjust(12, "0")
    made_at = f"{_AT + timedelta(seconds=after_s):%Y-%m-%d %H:%M:%S}"
    paid = {} if status == "WAIT_BUYER_PAY" else {"gmt_payment": f"{_AT + timedelta(seconds=20):%Y-%m-%d %H:%M:%S}"}
    return {
        "notify_time": made_at,
        "notify_type": "trade_status_sync",
        "notify_id": f"64ce1b6ab92d00ede0ee56{number}",
        "out_trade_no": order,
        "subject": "一杯凍檸茶 Iced lemon tea, less sugar",
        "payment_type": "1",
        "trade_no": f"2026112222001400{number}",
        "trade_status": status,
        "seller_id": PARTNER,
        "seller_email": "pay@shop.example.com",
        "buyer_id": "2160202315385429",
        "buyer_email": "852-5*****12",
        "total_fee": "128.00",
        "currency": "HKD",
        "quantity": "1",
        "price": "128.00",
        "body": "Order of the app, Causeway Bay",
        "gmt_create": f"{_AT:%Y-%m-%d %H:%M:%S}",
        **paid,
        "is_total_fee_adjust": "N",
        "use_coupon": "N",
        "discount": "0.00",
    }


def signed(order: str, key: RSAPrivateKey) -> bytes:
    """A genuine message: the order was paid."""
    return compose(fields(order, "TRADE_SUCCESS", after_s=21), "RSA2", key)


def stored(order: str, status: str, *, after_s: int) -> bytes:
    """A message as it lies in the inbox, where nobody verifies it again: its signature is only as long as one."""
    return urlencode(fields(order, status, after_s=after_s) | {"sign_type": "RSA2", "sign": _UNSIGNED}).encode()


def history(orders: int, seed: int) -> Iterator[tuple[str, str, int]]:
    """
    What comes about so many orders, four messages each, mixed as they would arrive: order, status, and when it was made.

    Each is opened, paid and final, and of each something is told again: that it was paid (a resend with a newer `notify_time`),
    or that it is final, byte for byte.
    """
    drawn = random.Random(seed)
    arrivals: list[tuple[float, tuple[str, str, int]]] = []
    for number in range(orders):
        order = f"T{number:08d}"
        resend = ("TRADE_SUCCESS", 141) if number % 2 else ("TRADE_FINISHED", 30)
        at = float(number)
        for status, after_s in (("WAIT_BUYER_PAY", 0), ("TRADE_SUCCESS", 21), ("TRADE_FINISHED", 30), resend):
            at += drawn.expovariate(1 / 40)
            arrivals.append((at, (order, status, after_s)))
    arrivals.sort()
    return (message for _, message in arrivals)
