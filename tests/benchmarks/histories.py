"""Logs as the jobs leave them, made here at once: what became of many orders, and what one endpoint was told of them."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice

from notifier import events
from notifier.alipayhk import mapi
from notifier.deliveries import delivery
from notifier.deliveries.delivery import DeliveryRecord, Lane, Outcome, Ref
from notifier.evidence import from_record
from notifier.order import Changed, Known, decide
from notifier.record import Record

from .evidence import inbox_record
from .installation import Installation

STATUSES = ("WAIT_BUYER_PAY", "TRADE_SUCCESS", "TRADE_FINISHED")
TEMPLATE = "T00000000"
MIXED_OVER = 1_000.0
"""An order's records lie among those of so many other orders."""
_AT = datetime(2026, 11, 22, 9, 30, 31, 123456, UTC)


def arrivals(orders: int) -> Iterator[tuple[str, int]]:
    """Orders and their versions 1 to 3 as they follow one another in a log."""
    drawn = random.Random(1)
    at: list[tuple[float, str, int]] = []
    for number in range(orders):
        moment = float(number)
        for version in range(1, len(STATUSES) + 1):
            at.append((moment, f"T{number:08d}", version))
            moment += drawn.random() * MIXED_OVER
    at.sort()
    return ((order, version) for _, order, version in at)


def order_events(place: Installation, orders: int) -> list[Record]:
    """The orders log of so many orders that were opened, paid and final."""
    life = _life(place)
    return [_named(life[version - 1], order, version) for order, version in arrivals(orders)]


def deliveries(orders: int) -> list[Record]:
    """The deliveries log of one endpoint that accepted each event of these orders."""
    return [
        delivery.to_record(_delivery(order, version, Outcome.ACCEPTED, Lane(settled=version, known=version)))
        for order, version in arrivals(orders)
    ]


def waiting_deliveries(orders: int) -> list[Record]:
    """The deliveries log of one endpoint that is dead: one event of each order failed and waits."""
    records = []
    for number, order in enumerate(islice(_orders(), orders)):
        ref = Ref(1, number, f"evt_{_digest(order, 1)[:32]}")
        lane = Lane(known=1, waiting=(ref,), since=_AT, attempt=3, next_attempt_at=_AT)
        records.append(delivery.to_record(_delivery(order, 1, Outcome.FAILED, lane)))
    return records


def _orders() -> Iterator[str]:
    return (f"T{number:08d}" for number in range(10**8))


def _delivery(order: str, version: int, outcome: Outcome, lane: Lane) -> DeliveryRecord:
    is_accepted = outcome is Outcome.ACCEPTED
    return DeliveryRecord(
        event_id=f"evt_{_digest(order, version)[:32]}",
        endpoint="shop-oms",
        channel="shop-hkd",
        order=order,
        version=version,
        event_partition=0,
        event_offset=int(order[1:]) * len(STATUSES) + version,
        attempt=1 if is_accepted else lane.attempt,
        outcome=outcome,
        status_code=200 if is_accepted else 503,
        duration_ms=41.3,
        error=None,
        next_attempt_at=lane.next_attempt_at,
        lane=lane,
    )


def _life(place: Installation) -> list[Record]:
    """The events of one order."""
    known: Known | None = None
    records: list[Record] = []
    for version, status in enumerate(STATUSES, start=1):
        read = from_record(inbox_record(place, TEMPLATE, status, after_s=20 + version))
        change = decide(known, mapi.statement_of(read), read)
        assert isinstance(change, Changed)
        known = Known(change.version, change.facts, change.summary)
        records.append(events.to_record(change, read, TEMPLATE, inbox_offset=4711))
    return records


def _named(template: Record, order: str, version: int) -> Record:
    """The same event of another order: with its number, and with ids as unlike others' as they are in earnest."""
    digest = _digest(order, version)
    cause = events.cause_of(template)
    (traceparent,) = (value for name, value in template.headers if name == "traceparent")
    swaps = [
        (TEMPLATE.encode(), order.encode()),
        (cause.id.encode(), f"evt_{digest[:32]}".encode()),
        (cause.evidence_id.encode(), digest.encode()),
        (traceparent, f"00-{digest[16:48]}-{digest[48:]}-01".encode()),
    ]

    def swapped(text: bytes) -> bytes:
        for old, new in swaps:
            text = text.replace(old, new)
        return text

    return Record(
        swapped(template.key),
        swapped(template.value),
        tuple((name, swapped(value)) for name, value in template.headers),
    )


def _digest(order: str, version: int) -> str:
    return hashlib.sha256(f"{order} {version}".encode()).hexdigest()
