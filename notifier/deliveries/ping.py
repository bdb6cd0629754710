"""
A test webhook: signed and shaped as every other one, and about nothing.

A receiver that decodes it strictly finds every member that it expects, and one that acts on it finds nothing to act on: the type
is none of an order's, the version is below every order's first, the channel has a name that no channel can have, and the currency
is the one that ISO 4217 keeps for tests.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from notifier.events import OrderObject
from notifier.evidence import rfc3339

TYPE = "ping"
NOBODY = "~ping"
"""Channels are named with a-z, 0-9 and -."""
CURRENCY = "XTS"
"""ISO 4217: reserved for testing purposes."""

_ABOUT_NOTHING = OrderObject(
    channel=NOBODY,
    order=NOBODY,
    version=0,
    status="pending",
    is_final=False,
    currency=CURRENCY,
    amount=None,
    paid=0,
    refunded=0,
    trade_no=None,
    paid_at=None,
    closed_at=None,
    wallet=None,
    payment=None,
    metadata={},
    payments=(),
    refunds=(),
    settlements=(),
    flags=(),
)


class _Webhook(msgspec.Struct):
    type: str
    timestamp: str
    data: OrderObject
    id: str
    version: int
    flags_added: tuple[str, ...]


def ping_id(lot: bytes) -> str:
    """Its id, which no event has: those begin with `evt_`. `lot`: 16 bytes, others each time."""
    return f"ping_{lot.hex()}"


def body(webhook_id: str, at: datetime) -> bytes:
    """What is sent."""
    return msgspec.json.encode(_Webhook(TYPE, rfc3339(at), _ABOUT_NOTHING, webhook_id, 0, ()))
