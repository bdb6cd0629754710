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

from notifier.record import Record
from notifier.versioned import reader

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


class Redriven(StrEnum):
    """What has become of a delivery that an operator wants made once more."""

    WAITING = "waiting"
    DEAD = "dead"
    ACCEPTED = "accepted"


_RANK = {Redriven.WAITING: 0, Redriven.DEAD: 1, Redriven.ACCEPTED: 2}


class Again(msgspec.Struct, frozen=True, array_like=True):
    """
    A delivery that an operator wants made once more (redrive), under the same id.

    `round` is the offset of the command that asked for it: of two the later one holds, and one that is read again does nothing.
    """

    version: int
    offset: int
    event_id: str
    round: int
    state: Redriven = Redriven.WAITING


Turn = Ref | Again
"""What a lane tells next: an event for the first time, or once more."""


def place(turn: Turn) -> tuple[bool, int]:
    """Where it stands in its lane: in version order, and what is told once more comes last."""
    return isinstance(turn, Again), turn.version


class Lane(msgspec.Struct, frozen=True):
    """
    A lane's whole state.

    Everything up to `settled` is accepted, dead or skipped; `waiting` lies above it, and so may what is dead because too much
    waited already. `again` is told when nothing waits. `since`, `attempt` and `next_attempt_at` are about the first to be
    told: since when it is the first, how many attempts it has had, and when the next is due.
    """

    settled: int = 0
    known: int = 0
    waiting: tuple[Ref, ...] = ()
    dead: tuple[Ref, ...] = ()
    since: datetime | None = None
    attempt: int = 0
    next_attempt_at: datetime | None = None
    again: tuple[Again, ...] = ()

    def knows(self, version: int) -> bool:
        """Was this version settled, or does it wait already? Filters leave gaps below `settled`; those count as settled."""
        return version <= self.settled or any(ref.version == version for ref in (*self.waiting, *self.dead))

    @property
    def turns(self) -> tuple[Turn, ...]:
        """All that has to be told, in its order."""
        if not self.again:
            return self.waiting
        return (*self.waiting, *(again for again in self.again if again.state is Redriven.WAITING))

    @property
    def first(self) -> Turn | None:
        """What has to be told next."""
        return next(iter(self.turns), None)

    def has_told(self, turn: Turn) -> bool:
        """Whether nothing is left to do about this."""
        if isinstance(turn, Again):
            return not any(_is_same(turn, other) for other in self.turns)
        return turn.version <= self.settled or any(ref.version == turn.version for ref in self.dead)

    @property
    def dead_letters(self) -> tuple[Ref, ...]:
        """What was given up and not asked for again, or given up again."""
        states = {again.version: again.state for again in self.again}
        given_up = [ref for ref in self.dead if states.get(ref.version, Redriven.DEAD) is Redriven.DEAD]
        known = {ref.version for ref in self.dead}
        given_up += [
            Ref(again.version, again.offset, again.event_id)
            for again in self.again
            if again.state is Redriven.DEAD and again.version not in known
        ]
        return tuple(sorted(given_up))


def wait(lane: Lane, refs: Iterable[Ref], *, since: datetime, attempt: int, due: datetime) -> Lane:
    """
    The lane with these events waiting in it, the first to be told due at a time.

    Where another one is the first already, its own times stay.
    """
    known = {ref.version for ref in (*lane.waiting, *lane.dead)}
    added = [ref for ref in refs if ref.version > lane.settled and ref.version not in known]
    waiting = tuple(sorted((*lane.waiting, *added)))
    after = msgspec.structs.replace(lane, known=max((lane.known, *(ref.version for ref in added))), waiting=waiting)
    if after.first is None:
        return after
    if lane.first is not None and _is_same(after.first, lane.first):
        attempt, due = max(attempt, lane.attempt), max(due, lane.next_attempt_at or due)
        since = min(since, lane.since or since)
    return msgspec.structs.replace(after, since=since, attempt=attempt, next_attempt_at=due)


def settle(lane: Lane, turn: Turn, *, now: datetime, is_dead: bool = False) -> Lane:
    """The lane after this was accepted (or skipped), or given up; what is to be told after it is due at once."""
    if isinstance(turn, Again):
        told = msgspec.structs.replace(turn, state=Redriven.DEAD if is_dead else Redriven.ACCEPTED)
        return _due_at_once(msgspec.structs.replace(lane, again=_latest((*lane.again, told))), now)
    settled = max(lane.settled, turn.version)
    after = msgspec.structs.replace(
        lane,
        settled=settled,
        known=max(lane.known, settled),
        waiting=tuple(other for other in lane.waiting if other.version > settled),
        dead=_each_once((*lane.dead, turn)) if is_dead and turn.version > lane.settled else lane.dead,
    )
    return _due_at_once(after, now)


def give_up_unheard(lane: Lane, ref: Ref) -> Lane:
    """The lane after an event was given up because too much waits already; what waits before it is told all the same."""
    if lane.knows(ref.version):
        return lane
    return msgspec.structs.replace(
        lane,
        settled=lane.settled if lane.waiting else ref.version,
        known=max(lane.known, ref.version),
        dead=_each_once((*lane.dead, ref)),
    )


def redrive(lane: Lane, refs: Iterable[Ref], *, round_: int, now: datetime) -> Lane:
    """The lane with these to be told once more. What still waits for its first time is not told twice for that."""
    rounds = {again.version: again.round for again in lane.again}
    waiting = {ref.version for ref in lane.waiting}
    added = [
        Again(ref.version, ref.offset, ref.event_id, round_)
        for ref in refs
        if ref.version not in waiting and rounds.get(ref.version, -1) < round_
    ]
    if not added:
        return lane
    after = msgspec.structs.replace(
        lane, again=_latest((*lane.again, *added)), known=max(lane.known, *(again.version for again in added))
    )
    assert after.first is not None
    is_same = lane.first is not None and _is_same(after.first, lane.first)
    return after if is_same else _due_at_once(after, now)


def _due_at_once(lane: Lane, now: datetime) -> Lane:
    at = now if lane.first is not None else None
    return msgspec.structs.replace(lane, since=at, attempt=0, next_attempt_at=at)


def join(one: Lane, other: Lane) -> Lane:
    """Two states of a lane as one: nothing settled is forgotten, nothing waiting is lost."""
    settled = max(one.settled, other.settled)
    dead = _each_once((*one.dead, *other.dead))
    given_up = {ref.version for ref in dead}
    joined = Lane(
        settled=settled,
        known=max(one.known, other.known),
        waiting=_each_once(
            ref for ref in (*one.waiting, *other.waiting) if ref.version > settled and ref.version not in given_up
        ),
        dead=dead,
        again=_latest((*one.again, *other.again)),
    )
    first = joined.first
    if first is None:
        return joined
    heads = [lane for lane in (one, other) if lane.first is not None and _is_same(lane.first, first)]
    # the state that has tried the first one most often knows best when it is due
    head = max(heads, key=lambda lane: (lane.attempt, _instant(lane.next_attempt_at)), default=None)
    times = [lane.next_attempt_at for lane in (one, other) if lane.next_attempt_at is not None]
    sinces = [lane.since for lane in heads or (one, other) if lane.since is not None]
    return msgspec.structs.replace(
        joined,
        since=min(sinces, default=None),
        attempt=head.attempt if head else 0,
        next_attempt_at=head.next_attempt_at if head else min(times, default=None),
    )


def _is_same(one: Turn, other: Turn) -> bool:
    return one.version == other.version and _round_of(one) == _round_of(other)


def _round_of(turn: Turn) -> int | None:
    return turn.round if isinstance(turn, Again) else None


def _each_once(refs: Iterable[Ref]) -> tuple[Ref, ...]:
    """By version, each at its last offset: a record may lie in the orders topic more than once, and compaction keeps the last."""
    return tuple({ref.version: ref for ref in sorted(refs)}.values())


def _latest(agains: Iterable[Again]) -> tuple[Again, ...]:
    """By version, of each what the last command asked for, as far as it has come."""
    ordered = sorted(agains, key=lambda again: (again.version, again.round, _RANK[again.state], again.offset))
    return tuple({again.version: again for again in ordered}.values())


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


_encode = msgspec.json.Encoder().encode
_read = reader(DeliveryRecord, STATE_VERSION)


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
    return _read(record)


def merge(known: Record | None, new: Record) -> Record:
    """Rule 1 of the view protocol, for lanes: the joined state, in the bytes of one of the two records where it is that one's."""
    if known is None or known == new:
        return new
    before, after = from_record(known), from_record(new)
    if after.lane.settled >= before.lane.known and not (before.lane.dead or before.lane.again):
        return new  # as it is nearly always: what the older one knows of is settled in the newer
    joined = join(before.lane, after.lane)
    if joined == after.lane:
        return new
    if joined == before.lane:
        return known
    later = max(before, after, key=lambda delivery: (delivery.version, delivery.attempt))
    return to_record(msgspec.structs.replace(later, lane=joined, next_attempt_at=joined.next_attempt_at))
