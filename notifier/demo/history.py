"""What happened in a demo, as it was seen from outside: what AlipayHK was answered, what the topics hold, what merchants got."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from notifier.record import Stored

TradeWord = Literal["WAIT_BUYER_PAY", "TRADE_SUCCESS", "TRADE_FINISHED", "TRADE_CLOSED"]


class Order(NamedTuple):
    """An order is known by its channel and its number; the same number in two channels is two orders."""

    channel: str
    number: str


@dataclass(frozen=True, slots=True)
class Refund:
    """What a message tells of a refund: with a number and an amount in minor units, or neither (then it is the whole trade)."""

    number: str | None = None
    amount: int = 0


@dataclass(frozen=True, slots=True)
class Message:
    """One thing that AlipayHK has to tell, however often it sends it. The amount is in minor units of HKD."""

    order: Order
    trade_no: str
    notify_id: str
    status: TradeWord
    amount: int
    refund: Refund | None = None


@dataclass(frozen=True, slots=True)
class Post:
    """One POST and what came of it."""

    message: Message
    channel: str
    """Whose path it was sent to; a forged one may tell of another channel's order."""
    body: bytes
    forgery: str | None
    """Its kind; None: genuine."""
    evidence_id: str
    """Empty for a forgery: it is no evidence."""
    status: int | None
    """None: no answer came."""
    is_success: bool
    """Answered 200 and exactly `success`."""


@dataclass(frozen=True, slots=True)
class Merchant:
    """One merchant's system: what it was promised to hear."""

    name: str
    channels: frozenset[str]
    types: frozenset[str]

    def wants(self, channel: str, event_type: str, flags_added: tuple[str, ...]) -> bool:
        """Is an event for this merchant? Who hears of flags hears of them under any type (contract, section 3, `events`)."""
        hears_of_it = event_type in self.types or (bool(flags_added) and "order.flagged" in self.types)
        return channel in self.channels and hears_of_it


@dataclass(frozen=True, slots=True)
class Webhook:
    """One POST that a merchant got."""

    merchant: str
    webhook_id: str
    body: bytes
    fault: str | None
    """Why it is not to be believed; None: its signature is good."""
    is_accepted: bool
    """Answered 2xx."""
    arrived_at: float
    """On the event loop's clock, in seconds."""


class Entry(NamedTuple):
    """A record where it lies."""

    partition: int
    stored: Stored


@dataclass(frozen=True, slots=True)
class History:
    """Everything that the invariants are counted from. Lists are in the order in which things happened; topics by partition."""

    posts: tuple[Post, ...]
    inbox: tuple[Entry, ...]
    orders: tuple[Entry, ...]
    deliveries: tuple[Entry, ...]
    quarantine: tuple[Entry, ...]
    commands: tuple[Entry, ...]
    merchants: tuple[Merchant, ...]
    webhooks: tuple[Webhook, ...]
