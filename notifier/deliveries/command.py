"""
An operator's word to fan-out, as it lies in the commands topic (contract, section 6; key: the endpoint).

One record goes into every partition that it concerns. It names what is wanted, not how it is done, and fan-out obeys each
record once: its offset is the round of what follows from it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec

from notifier.record import Record
from notifier.versioned import reader

STATE_VERSION = 1
DELIVERIES_MAX = 200
"""Of one record: some 30 KB, far below what a topic takes."""

Name = Annotated[str, msgspec.Meta(pattern="^[a-z0-9-]{1,40}$")]
"""An endpoint's (contract, section 3). What follows from a command lies under it; any other might be a lane's key."""
Version = Annotated[int, msgspec.Meta(ge=1, le=2**32 - 1)]
"""Of an order; what a view's pointers can name."""


class Wanted(msgspec.Struct, frozen=True, array_like=True):
    """A delivery that is to be made once more: its order, and its event's version, offset in the orders topic, and id."""

    channel: str
    order: str
    version: Version
    offset: int
    event_id: str


class Command(msgspec.Struct, frozen=True):
    """`suspend` and `resume` an endpoint, or `redrive` deliveries to it."""

    command: Literal["suspend", "resume", "redrive"]
    endpoint: Name
    at: datetime
    by: str | None = None
    reason: str | None = None
    deliveries: tuple[Wanted, ...] = ()
    state_version: int = STATE_VERSION


_encode = msgspec.json.Encoder().encode
_read = reader(Command, STATE_VERSION)


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
    return _read(record)
