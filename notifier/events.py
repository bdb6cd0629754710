"""
Events: one record of the orders topic, and the body of the webhook that tells it (contract, sections 6 and 7).

CloudEvents 1.0, Kafka binding, binary mode: attributes are `ce_` headers, the data is JSON. The record carries the order's whole
new state, so one write makes both the event and the state durable.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

import msgspec

from notifier.evidence import Evidence, rfc3339
from notifier.facts import Facts, Status
from notifier.order import Changed, Known, Payment, RefundEntry, Summary
from notifier.record import Record
from notifier.versioned import reader

STATE_VERSION = 1
"""Of the shape of `facts`. A process that meets a higher one than it knows must not touch that order."""

VERSION_MAX = 2**32 - 1
"""What a view's pointers can name; each version of an order is a fact, and there are far fewer."""

DATA_SCHEMA = "urn:alipayhk-notifier:schema:order-event:1"


class OrderEvent(msgspec.Struct, frozen=True):
    """What happened, beside the state that it led to."""

    id: str
    type: str
    version: int
    flags_added: tuple[str, ...]
    late: bool
    cause: str
    evidence_id: str
    inbox_offset: int
    reason: str | None


class OrderObject(msgspec.Struct, frozen=True):
    """The order as subscribers and merchants see it. Amounts are minor units of `currency`."""

    channel: str
    order: str
    version: int
    status: Status
    is_final: bool
    currency: str
    amount: int | None
    paid: int
    refunded: int
    trade_no: str | None
    paid_at: datetime | None
    closed_at: datetime | None
    wallet: str | None
    payment: str | None
    metadata: dict[str, str]
    payments: tuple[Payment, ...]
    refunds: tuple[RefundEntry, ...]
    settlements: tuple[dict[str, Any], ...]  # nothing settles an order yet; the member is there for readers
    flags: tuple[str, ...]


class OrderRecord(msgspec.Struct, frozen=True):
    """The value of one record of the orders topic. `facts` is the state itself, private to this project."""

    event: OrderEvent
    order: OrderObject
    facts: Facts
    state_version: int


class _Cause(msgspec.Struct):
    event: OrderEvent


class _Told(msgspec.Struct):
    """What a webhook needs of a record: the order's bytes stay as they are."""

    event: OrderEvent
    order: msgspec.Raw


class _Webhook(msgspec.Struct):
    type: str
    timestamp: str
    data: msgspec.Raw
    id: str
    version: int
    flags_added: tuple[str, ...]


_encode = msgspec.json.Encoder().encode
_read = reader(OrderRecord, STATE_VERSION)
_decode_cause = msgspec.json.Decoder(_Cause).decode
_decode_told = msgspec.json.Decoder(_Told).decode


def event_id(channel: str, order: str, version: int, evidence_id: str) -> str:
    """`evt_` and 32 hex characters, a function of these four alone: a replay gives the same id."""
    named = b"\0".join((channel.encode(), order.encode(), str(version).encode(), evidence_id.encode()))
    return f"evt_{hashlib.sha256(named).hexdigest()[:32]}"


def to_record(change: Changed, evidence: Evidence, order: str, inbox_offset: int) -> Record:
    """The orders record of one change."""
    event = OrderEvent(
        id=event_id(evidence.channel, order, change.version, evidence.evidence_id),
        type=change.event_type,
        version=change.version,
        flags_added=change.flags_added,
        late=change.late,
        cause=evidence.kind.value,
        evidence_id=evidence.evidence_id,
        inbox_offset=inbox_offset,
        reason=change.reason,
    )
    value = _encode(
        OrderRecord(
            event, _order_object(evidence.channel, order, change.version, change.summary), change.facts, STATE_VERSION
        )
    )
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", event.id.encode()),
        ("ce_type", event.type.encode()),
        ("ce_source", f"/alipayhk/{evidence.channel}".encode()),
        ("ce_subject", order.encode()),
        ("ce_time", rfc3339(evidence.received_at).encode()),
        ("ce_dataschema", DATA_SCHEMA.encode()),
        ("content-type", b"application/json"),
        ("ce_orderversion", str(change.version).encode()),
    ]
    if evidence.traceparent is not None:
        headers.append(("traceparent", evidence.traceparent.encode()))
    return Record(f"{evidence.channel}/{order}".encode(), value, tuple(headers))


def from_record(record: Record) -> OrderRecord:
    """
    Read an orders record.

    Raises:
        NewerStateError: a later release wrote it.
        msgspec.DecodeError: it is none of ours.
    """
    return _read(record)


def cause_of(record: Record) -> OrderEvent:
    """What happened, without the state: readable whatever release wrote it."""
    return _decode_cause(record.value).event


def known_from(record: Record) -> Known:
    """What the fold needs to know of an order, from its latest record."""
    read = from_record(record)
    order = read.order
    return Known(
        order.version,
        read.facts,
        Summary(
            order.status,
            order.is_final,
            order.currency,
            order.amount,
            order.paid,
            order.refunded,
            order.trade_no,
            order.paid_at,
            order.closed_at,
            order.wallet,
            order.payment,
            order.metadata,
            order.payments,
            order.refunds,
            order.flags,
        ),
    )


def id_of(record: Record) -> str:
    """The event's id, from the record's header."""
    return (record.header("ce_id") or b"").decode()


def version_of(record: Record) -> int:
    """The order's version, from the record's header: what merging needs, without reading the value."""
    for name, version in reversed(record.headers):  # it is one of the last
        if name == "ce_orderversion":
            return int(version)
    raise ValueError("an orders record without ce_orderversion")


def is_ours(record: Record) -> bool:
    """Whether this project wrote the record: a tombstone, or what a stranger left, has no version that an order can have."""
    try:
        return 0 < version_of(record) <= VERSION_MAX
    except ValueError:
        return False


def order_in(record: Record) -> bytes:
    """The order object of an orders record, as JSON; readable whatever release wrote it."""
    return bytes(_decode_told(record.value).order)


class Telling(msgspec.Struct, frozen=True):
    """An event as it is told to merchants: what chooses the endpoints, and the body, the same bytes on every attempt."""

    event_id: str
    type: str
    channel: str
    order: str
    version: int
    flags_added: tuple[str, ...]
    received_at: str
    body: bytes
    traceparent: str | None


def telling_of(record: Record) -> Telling:
    """
    Read an orders record as something to be told; readable whatever release wrote it.

    Raises:
        KeyError, ValueError: it is none of ours (msgspec.DecodeError is a ValueError).
    """
    headers = dict(record.headers)
    told = _decode_told(record.value)
    received_at = headers["ce_time"].decode()
    datetime.fromisoformat(received_at)  # what is told has a time, or it is none of ours
    event = told.event
    traceparent = headers.get("traceparent")
    return Telling(
        event_id=event.id,
        type=event.type,
        channel=headers["ce_source"].decode().removeprefix("/alipayhk/"),
        order=headers["ce_subject"].decode(),
        version=event.version,
        flags_added=event.flags_added,
        received_at=received_at,
        body=_encode(_Webhook(event.type, received_at, told.order, event.id, event.version, event.flags_added)),
        traceparent=traceparent.decode() if traceparent is not None else None,
    )


def _order_object(channel: str, order: str, version: int, summary: Summary) -> OrderObject:
    return OrderObject(
        channel,
        order,
        version,
        summary.status,
        summary.is_final,
        summary.currency,
        summary.amount,
        summary.paid,
        summary.refunded,
        summary.trade_no,
        summary.paid_at,
        summary.closed_at,
        summary.wallet,
        summary.payment,
        summary.metadata,
        summary.payments,
        summary.refunds,
        (),
        summary.flags,
    )
