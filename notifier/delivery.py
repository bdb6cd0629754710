"""
Deliveries: lanes as a pure state, and one record of the deliveries topic (contract, section 6).

A lane is one endpoint and one order. Its versions are told in order, the lowest waiting one first; a failed one holds back its
lane and nothing else. Lanes of two owners are joined, never overwritten, so it does not matter whose record lands last.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum

import msgspec

from notifier.errors import NewerStateError
from notifier.record import Record

STATE_VERSION = 1


class Outcome(StrEnum):
    """What a record of the deliveries topic says of its event."""

    ACCEPTED = "accepted"
    FAILED = "failed"
    WAITING = "waiting"
    DEAD = "dead"
    SKIPPED = "skipped"
    """The event is superseded and compacted away: there is nothing left to send."""


class Ref(msgspec.Struct, frozen=True, array_like=True, order=True):
    """An event of a lane's order: its version, its offset in the orders topic, where its body is, and its id."""

    version: int
    offset: int
    event_id: str


class Lane(msgspec.Struct, frozen=True):
    """
    A lane's whole state.

    Everything up to `settled` is accepted, dead or skipped; `waiting` lies above it. The last three are about the lowest waiting
    one: since when it is the first, how many attempts it has had, and when the next is due.
    """

    settled: int = 0
    known: int = 0
    waiting: tuple[Ref, ...] = ()
    dead: tuple[Ref, ...] = ()
    since: datetime | None = None
    attempt: int = 0
    next_attempt_at: datetime | None = None

    def knows(self, version: int) -> bool:
        """Was this version settled, or does it wait already? Filters leave gaps below `settled`; those count as settled."""
        return version <= self.settled or any(ref.version == version for ref in self.waiting)

    @property
    def first(self) -> Ref | None:
        """What has to be told next."""
        return self.waiting[0] if self.waiting else None


def wait(lane: Lane, refs: Iterable[Ref], *, since: datetime, attempt: int, due: datetime) -> Lane:
    """
    The lane with these events waiting in it, the first of them due at a time.

    Where another event is the first already, its own times stay.
    """
    known = {ref.version for ref in lane.waiting}
    added = [ref for ref in refs if ref.version > lane.settled and ref.version not in known]
    waiting = tuple(sorted((*lane.waiting, *added)))
    highest = max((lane.known, *(ref.version for ref in added)))
    if not waiting:
        return msgspec.structs.replace(lane, known=highest)
    if lane.waiting and waiting[0] == lane.waiting[0]:
        attempt, due = max(attempt, lane.attempt), max(due, lane.next_attempt_at or due)
        since = min(since, lane.since or since)
    return msgspec.structs.replace(
        lane, known=highest, waiting=waiting, since=since, attempt=attempt, next_attempt_at=due
    )


def settle(lane: Lane, ref: Ref, *, now: datetime, is_dead: bool = False) -> Lane:
    """The lane after this event was accepted (or skipped), or given up; what waits behind it is due at once."""
    settled = max(lane.settled, ref.version)
    waiting = tuple(other for other in lane.waiting if other.version > settled)
    dead = tuple(sorted({*lane.dead, ref})) if is_dead and ref.version > lane.settled else lane.dead
    return Lane(
        settled=settled,
        known=max(lane.known, settled),
        waiting=waiting,
        dead=dead,
        since=now if waiting else None,
        attempt=0,
        next_attempt_at=now if waiting else None,
    )


def join(one: Lane, other: Lane) -> Lane:
    """Two states of a lane as one: nothing settled is forgotten, nothing waiting is lost."""
    settled = max(one.settled, other.settled)
    waiting = _each_once(ref for ref in (*one.waiting, *other.waiting) if ref.version > settled)
    heads = [lane for lane in (one, other) if waiting and lane.first and lane.first.version == waiting[0].version]
    # the state that has tried the first one most often knows best when it is due
    head = max(heads, key=lambda lane: (lane.attempt, _instant(lane.next_attempt_at)), default=None)
    times = [lane.next_attempt_at for lane in (one, other) if lane.next_attempt_at is not None]
    sinces = [lane.since for lane in heads or (one, other) if lane.since is not None]
    return Lane(
        settled=settled,
        known=max(one.known, other.known),
        waiting=waiting,
        dead=_each_once((*one.dead, *other.dead)),
        since=min(sinces, default=None) if waiting else None,
        attempt=head.attempt if head else 0,
        next_attempt_at=(head.next_attempt_at if head else min(times, default=None)) if waiting else None,
    )


def _each_once(refs: Iterable[Ref]) -> tuple[Ref, ...]:
    """By version, each at its last offset: a record may lie in the orders topic more than once, and compaction keeps the last."""
    return tuple({ref.version: ref for ref in sorted(refs)}.values())


def _instant(at: datetime | None) -> float:
    return at.timestamp() if at else 0.0


class DeliveryRecord(msgspec.Struct, frozen=True):
    """The value of one record of the deliveries topic."""

    event_id: str
    endpoint: str
    channel: str
    order: str
    version: int
    event_partition: int
    event_offset: int
    attempt: int
    outcome: Outcome
    status_code: int | None
    duration_ms: float | None
    error: str | None
    next_attempt_at: datetime | None
    lane: Lane
    state_version: int = STATE_VERSION


class _Head(msgspec.Struct):
    state_version: int


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(DeliveryRecord).decode
_decode_head = msgspec.json.Decoder(_Head).decode


def lane_key(endpoint: str, channel: str, order: str) -> bytes:
    """The key of a lane's records."""
    return f"{endpoint}/{channel}/{order}".encode()


def to_record(delivery: DeliveryRecord) -> Record:
    """The deliveries record."""
    return Record(
        lane_key(delivery.endpoint, delivery.channel, delivery.order),
        _encode(delivery),
        (("content-type", b"application/json"),),
    )


def from_record(record: Record) -> DeliveryRecord:
    """
    Read a deliveries record.

    Raises:
        NewerStateError: a later release wrote it.
        msgspec.DecodeError: it is none of ours.
    """
    try:
        delivery = _decode(record.value)
    except msgspec.ValidationError:
        if _decode_head(record.value).state_version > STATE_VERSION:
            raise NewerStateError from None
        raise
    if delivery.state_version > STATE_VERSION:
        raise NewerStateError
    return delivery


def merge(known: Record | None, new: Record) -> Record:
    """Rule 1 of the view protocol, for lanes: the joined state, in the bytes of one of the two records where it is that one's."""
    if known is None or known == new:
        return new
    before, after = from_record(known), from_record(new)
    joined = join(before.lane, after.lane)
    if joined == after.lane:
        return new
    if joined == before.lane:
        return known
    later = max(before, after, key=lambda delivery: (delivery.version, delivery.attempt))
    return to_record(msgspec.structs.replace(later, lane=joined, next_attempt_at=joined.next_attempt_at))
