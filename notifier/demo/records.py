"""
Records and webhooks as a stranger reads them: by the contract's names, not by the types of those who wrote them.

What can't be read is no reason to stop counting, so each reader gives None for it.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from notifier.demo.history import Entry, Order
from notifier.record import Record


class _Event(msgspec.Struct, frozen=True):
    id: str
    type: str
    version: int
    flags_added: tuple[str, ...]
    evidence_id: str


class State(msgspec.Struct, frozen=True):
    """The order object (contract, section 6), as far as it is counted here."""

    channel: str
    order: str
    version: int
    status: str
    currency: str
    paid: int
    refunded: int


class _Value(msgspec.Struct, frozen=True):
    event: _Event
    order: msgspec.Raw


@dataclass(frozen=True, slots=True)
class Event:
    """One record of the orders topic."""

    record: Record
    id: str
    type: str
    version: int
    flags_added: tuple[str, ...]
    evidence_id: str
    time: str
    state: State
    data: object
    """The whole order object, to be compared."""

    @property
    def order(self) -> Order:
        """Whose event it is."""
        return Order(self.state.channel, self.state.order)


class Body(msgspec.Struct, frozen=True):
    """A webhook's body (contract, section 7)."""

    type: str
    timestamp: str
    data: msgspec.Raw
    id: str
    version: int
    flags_added: tuple[str, ...]


class Delivery(msgspec.Struct, frozen=True):
    """A record of the deliveries topic."""

    event_id: str
    endpoint: str
    outcome: str


_value = msgspec.json.Decoder(_Value).decode
_state = msgspec.json.Decoder(State).decode
_body = msgspec.json.Decoder(Body).decode
_delivery = msgspec.json.Decoder(Delivery).decode


def read_event(entry: Entry) -> Event | None:
    """A record of the orders topic."""
    record = entry.stored.record
    try:
        value = _value(record.value)
        return Event(
            record=record,
            id=value.event.id,
            type=value.event.type,
            version=value.event.version,
            flags_added=value.event.flags_added,
            evidence_id=value.event.evidence_id,
            time=(record.header("ce_time") or b"").decode("ascii"),
            state=_state(value.order),
            data=msgspec.json.decode(value.order),
        )
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def read_body(body: bytes) -> tuple[Body, State] | None:
    """A webhook's body, and the order object in it."""
    try:
        read = _body(body)
        return read, _state(read.data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def read_delivery(entry: Entry) -> Delivery | None:
    """A record of the deliveries topic that is about a delivery; None for an endpoint's own and for positions, too."""
    try:
        return _delivery(entry.stored.record.value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
