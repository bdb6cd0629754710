"""A record as a view keeps it: whole, so that it can be appended again byte for byte (view protocol, rule 6)."""

from __future__ import annotations

import msgspec

from notifier.ports import Kept
from notifier.record import Headers, Record


class _Body(msgspec.Struct, array_like=True):
    """A record but for its key."""

    headers: Headers
    value: bytes


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(_Body).decode


def kept(record: Record, offset: int) -> Kept:
    """What a view keeps of a key's latest record, which lies at this offset."""
    return Kept(offset, _pack(_Body(record.headers, record.value)))


def record_in(key: bytes, entry: Kept) -> Record:
    """The record that a view keeps of a key."""
    body = _unpack(entry.body)
    return Record(key, body.value, body.headers)
