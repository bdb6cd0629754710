"""
What a view must hold, folded a second time from nothing but a log's records, without the code that is tested.

Of an order: its record of the highest version, byte for byte, at the last offset where it lies. Of a lane: everything up to the
highest `settled` is settled; what waits above it in any record waits, and no dead letter is forgotten (contract, section 6).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from notifier import ports
from notifier.demo.history import Entry
from notifier.kept import record_in

_OFFSET = struct.Struct(">Q")


@dataclass(frozen=True, slots=True)
class Kept:
    """An order's newest record and where it lies."""

    offset: int
    headers: tuple[tuple[str, bytes], ...]
    value: bytes


@dataclass(frozen=True, slots=True)
class Told:
    """What counts of a lane."""

    settled: int
    known: int
    waiting: frozenset[int]
    dead: frozenset[int]


class _Lane(msgspec.Struct):
    settled: int
    known: int
    waiting: list[tuple[int, int, str]] = []
    dead: list[tuple[int, int, str]] = []


class _Delivery(msgspec.Struct):
    lane: _Lane


def newest_of(entries: Iterable[Entry]) -> dict[tuple[int, bytes], Kept]:
    """By partition and key; entries come in their partition's order."""
    versions: dict[tuple[int, bytes], int] = {}
    newest: dict[tuple[int, bytes], Kept] = {}
    for partition, stored in entries:
        record, key = stored.record, (partition, stored.record.key)
        version = int(record.header("ce_orderversion") or b"0")
        if version >= versions.get(key, 0):
            versions[key] = version
            newest[key] = Kept(stored.offset, tuple(record.headers), record.value)
    return newest


def lanes_of(entries: Iterable[Entry]) -> dict[tuple[int, bytes], Told]:
    """By partition and key."""
    lanes: dict[tuple[int, bytes], Told] = {}
    for partition, stored in entries:
        key = partition, stored.record.key
        told = told_in(stored.record.value)
        lanes[key] = _joined(lanes[key], told) if key in lanes else told
    return lanes


def _joined(one: Told, other: Told) -> Told:
    settled = max(one.settled, other.settled)
    waiting = frozenset(version for version in one.waiting | other.waiting if version > settled)
    return Told(settled, max(one.known, other.known), waiting, one.dead | other.dead)


def told_in(value: bytes) -> Told:
    """The lane in a record of the deliveries topic."""
    lane = msgspec.json.decode(value, type=_Delivery).lane
    waiting, dead = ({version for version, _, _ in refs} for refs in (lane.waiting, lane.dead))
    return Told(lane.settled, lane.known, frozenset(waiting), frozenset(dead))


def kept_in(key: bytes, packed: bytes) -> Kept:
    """An entry of a view, as it lies in Redis: an offset of eight bytes, then the record; how that is packed is the project's."""
    (offset,) = _OFFSET.unpack_from(packed)
    record = record_in(key, ports.Kept(offset, packed[_OFFSET.size :]))
    assert record is not None, "one release wrote all of it"
    return Kept(offset, tuple(record.headers), record.value)
