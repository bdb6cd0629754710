"""
The deliveries topic as a whole: lanes, endpoints and the position lie in it side by side, told apart by their keys
(contract, section 6).
"""

from __future__ import annotations

from enum import Enum, auto

import msgspec

from notifier.deliveries import delivery, endpoint_state, position
from notifier.deliveries.delivery import DeliveryRecord
from notifier.record import Record


class Kind(Enum):
    """What a record is about."""

    LANE = auto()
    ENDPOINT = auto()
    POSITION = auto()


def kind_of(key: bytes) -> Kind:
    """What lies under a key. Names of endpoints hold neither `/` nor `~`."""
    if key == position.KEY:
        return Kind.POSITION
    return Kind.LANE if b"/" in key else Kind.ENDPOINT


def delivery_in(record: Record) -> DeliveryRecord | None:
    """
    What a record says of a delivery and its lane; None where it is about something else.

    Raises:
        NewerStateError: a later release wrote it.
        msgspec.DecodeError: it is none of ours.
    """
    return delivery.from_record(record) if kind_of(record.key) is Kind.LANE else None


def is_ours(record: Record) -> bool:
    """
    Whether this project wrote the record: what its key says it is about, its value can be read as.

    Raises:
        NewerStateError: a later release wrote it.
    """
    try:
        match kind_of(record.key):
            case Kind.LANE:
                delivery.from_record(record)
            case Kind.ENDPOINT:
                endpoint_state.from_record(record)
            case Kind.POSITION:
                position.from_record(record)
    except msgspec.DecodeError:
        return False
    return True


def merge(known: Record | None, new: Record) -> Record:
    """Rule 1 of the view protocol: what is known of a key after one more record of it."""
    match kind_of(new.key):
        case Kind.LANE:
            return delivery.merge(known, new)
        case Kind.ENDPOINT:
            return new if known is None else endpoint_state.merge(known, new)
        case Kind.POSITION:
            return new if known is None else position.merge(known, new)


def version(record: Record) -> int:
    """What tells one record of a key from another, beside its offset."""
    return delivery.from_record(record).lane.known if kind_of(record.key) is Kind.LANE else 0


def may_rest(record: Record) -> bool:
    """Whether nothing of it is needed but where it lies: a lane that has nothing to tell."""
    return kind_of(record.key) is Kind.LANE and delivery.from_record(record).lane.first is None


def due(record: Record) -> tuple[str, int | None] | None:
    """For a lane, its endpoint and when it is due next (Unix milliseconds; None: nothing waits in it)."""
    if kind_of(record.key) is not Kind.LANE:
        return None
    told = delivery.from_record(record)
    at = told.lane.next_attempt_at
    return told.endpoint, round(at.timestamp() * 1000) if at else None
