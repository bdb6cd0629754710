"""
Where fan-out has come to in its inputs, as it writes it into its own log (contract, section 6, key `~position`).

Kafka forgets the offsets of a group that was idle for a week; what lies in the deliveries topic stays as long as that.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from notifier.record import Record
from notifier.versioned import reader

STATE_VERSION = 1
KEY = b"~position"


class Position(msgspec.Struct, frozen=True):
    """Everything below these offsets of the orders and the commands topic is settled or written down, as of a time."""

    orders: int
    commands: int
    at: datetime
    state_version: int = STATE_VERSION


def join(one: Position, other: Position) -> Position:
    """The furthest of both: whatever one owner has brought to an end is at its end."""
    return Position(
        max(one.orders, other.orders), max(one.commands, other.commands), max(one.at, other.at), STATE_VERSION
    )


_encode = msgspec.json.Encoder().encode
_read = reader(Position, STATE_VERSION)


def to_record(position: Position) -> Record:
    """The deliveries record."""
    return Record(KEY, _encode(position), (("content-type", b"application/json"),))


def from_record(record: Record) -> Position:
    """
    Read such a record.

    Raises:
        NewerStateError: a later release wrote it.
        msgspec.DecodeError: it is none of ours.
    """
    return _read(record)


def merge(known: Record, new: Record) -> Record:
    """Rule 1 of the view protocol, for the position."""
    before, after = from_record(known), from_record(new)
    joined = join(before, after)
    if joined == after:
        return new
    return known if joined == before else to_record(joined)
