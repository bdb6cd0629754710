"""
An operator's word to fan-out, as it lies in the commands topic (contract, section 6; key: the endpoint).

One record goes into every partition that it concerns. It names what is wanted, not how it is done, and fan-out obeys each
record once: its offset is the round of what follows from it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from notifier.errors import NewerStateError
from notifier.record import Record

STATE_VERSION = 1
DELIVERIES_MAX = 200
"""Of one record: some 30 KB, far below what a topic takes."""


class Wanted(msgspec.Struct, frozen=True, array_like=True):
    """A delivery that is to be made once more: its order, and its event's version, offset in the orders topic, and id."""

    channel: str
    order: str
    version: int
    offset: int
    event_id: str


class Command(msgspec.Struct, frozen=True):
    """`suspend` and `resume` an endpoint, or `redrive` deliveries to it."""

    command: Literal["suspend", "resume", "redrive"]
    endpoint: str
    at: datetime
    by: str | None = None
    reason: str | None = None
    deliveries: tuple[Wanted, ...] = ()
    state_version: int = STATE_VERSION


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Command).decode


class _Head(msgspec.Struct):
    state_version: int


_decode_head = msgspec.json.Decoder(_Head).decode


def to_record(command: Command) -> Record:
    """The commands record."""
    return Record(command.endpoint.encode(), _encode(command), (("content-type", b"application/json"),))


def from_record(record: Record) -> Command:
    """
    Read a commands record.

    Raises:
        NewerStateError: a later release wrote it.
        msgspec.DecodeError: it is none of ours.
    """
    if _decode_head(record.value).state_version > STATE_VERSION:
        raise NewerStateError
    return _decode(record.value)
