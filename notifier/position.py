"""
Where fan-out has come to in its inputs, as it writes it into its own log (contract, section 6, key `~position`).

Kafka forgets the offsets of a group that was idle for a week; what lies in the deliveries topic stays as long as that.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from notifier.errors import NewerStateError
from notifier.record import Record

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
_decode = msgspec.json.Decoder(Position).decode


class _Head(msgspec.Struct):
    state_version: int


_decode_head = msgspec.json.Decoder(_Head).decode


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
    if _decode_head(record.value).state_version > STATE_VERSION:
        raise NewerStateError
    return _decode(record.value)


def merge(known: Record, new: Record) -> Record:
    """Rule 1 of the view protocol, for the position."""
    before, after = from_record(known), from_record(new)
    joined = join(before, after)
    if joined == after:
        return new
    return known if joined == before else to_record(joined)
