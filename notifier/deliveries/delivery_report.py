"""
What one partition of the deliveries topic tells of each delivery: who was told what, what waits, and why.

For commands that look at it; fan-out itself works on lanes. The lane's joined state says what waits and what was given up, a
version's own records say what came of it. Compaction leaves only the last record of a lane: of what was accepted long ago
only that it is done is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from enum import StrEnum

import msgspec

from notifier import deliveries
from notifier.deliveries import Kind, delivery, endpoint_state, position
from notifier.deliveries.delivery import DeliveryRecord, Lane, Outcome, Ref, Turn
from notifier.deliveries.endpoint_state import EndpointState
from notifier.deliveries.position import Position
from notifier.record import Stored


class State(StrEnum):
    """How a delivery stands."""

    WAITING = "waiting"
    SUSPENDED = "suspended"
    """It waits, and its endpoint is called with nothing but probes, or not at all."""
    ACCEPTED = "accepted"
    DEAD = "dead"
    SKIPPED = "skipped"
    """Its event was superseded and compacted away before it could be told."""


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One event for one endpoint, as far as the topic tells. Names are those of the contract, section 6."""

    endpoint: str
    channel: str
    order: str
    version: int
    event_id: str
    state: State
    is_redriven: bool
    """An operator wanted it made once more."""
    attempt: int | None
    """How many there have been; None where that is not known any more."""
    status_code: int | None
    """Of the last answer."""
    error: str | None
    duration_ms: float | None
    told_at: datetime | None
    """When the record was appended that says so."""
    since: datetime | None
    """Since when it is the first of its lane."""
    next_attempt_at: datetime | None
    behind: int | None
    """The version that is told before it; until then it waits."""
    event_partition: int
    event_offset: int


class _Told(msgspec.Struct):
    """What a version's own records say, each with the time at which it was appended (Unix milliseconds)."""

    last: tuple[DeliveryRecord, int]
    end: tuple[DeliveryRecord, int] | None = None
    """The last one that ended it: what lies behind it may be a late one, or the delivery was asked for again."""


class _Lane(msgspec.Struct):
    """A lane as all its records together tell of it."""

    of: DeliveryRecord
    lane: Lane
    told: dict[int, _Told]


_ENDS = {Outcome.ACCEPTED, Outcome.SKIPPED, Outcome.DEAD}


class Report:
    """Gathers a partition's records, in their order."""

    def __init__(self) -> None:
        self._lanes: dict[bytes, _Lane] = {}
        self._endpoints: dict[str, EndpointState] = {}
        self._position: Position | None = None

    def take(self, stored: Stored) -> DeliveryRecord | None:
        """
        Take one record; the attempt that it tells of, if it tells of one that was not known. What is none of ours is passed over.

        Raises:
            NewerStateError: a later release wrote it.
        """
        record = stored.record
        try:
            match deliveries.kind_of(record.key):
                case Kind.LANE:
                    return self._take_lane(stored, delivery.from_record(record))
                case Kind.ENDPOINT:
                    self._take_endpoint(endpoint_state.from_record(record))
                case Kind.POSITION:
                    said = position.from_record(record)
                    self._position = said if self._position is None else position.join(self._position, said)
        except msgspec.DecodeError:
            return None
        return None

    def _take_endpoint(self, said: EndpointState) -> None:
        known = self._endpoints.get(said.endpoint)
        self._endpoints[said.endpoint] = said if known is None else endpoint_state.join(known, said)

    def _take_lane(self, stored: Stored, read: DeliveryRecord) -> DeliveryRecord | None:
        lane = self._lanes.get(stored.record.key)
        if lane is None:
            lane = self._lanes[stored.record.key] = _Lane(read, read.lane, {})
        else:
            lane.lane = delivery.join(lane.lane, read.lane)
        told = read, stored.appended_at_ms
        known = lane.told.get(read.version)
        is_known = known is not None and _is_one_attempt(known.last[0], read)
        if known is None:
            known = lane.told[read.version] = _Told(told)
        known.last = told
        if read.outcome in _ENDS:
            known.end = told
        return read if read.duration_ms is not None and not is_known else None

    @property
    def endpoints(self) -> Mapping[str, EndpointState]:
        """What the partition says of each endpoint that was met in it."""
        return self._endpoints

    @property
    def position(self) -> Position | None:
        """Where fan-out wrote down that it was in its inputs."""
        return self._position

    def is_suspended(self, endpoint: str) -> bool:
        """Whether nothing but probes goes to this endpoint, or nothing at all."""
        known = self._endpoints.get(endpoint)
        return known is not None and known.state is endpoint_state.State.SUSPENDED

    def settled(self, endpoint: str, channel: str, order: str) -> int:
        """The version up to which everything is done (accepted, given up or skipped) of an order for an endpoint; 0: nothing."""
        lane = self._lanes.get(delivery.lane_key(endpoint, channel, order))
        return lane.lane.settled if lane else 0

    def __iter__(self) -> Iterator[Delivery]:
        """All deliveries: by endpoint, channel and order, then by version."""
        for key in sorted(self._lanes):
            yield from self._of(self._lanes[key])

    def _of(self, seen: _Lane) -> Iterator[Delivery]:
        of, lane = seen.of, seen.lane
        turns: dict[int, Turn] = {turn.version: turn for turn in lane.turns}
        dead = {ref.version for ref in lane.dead_letters}
        every: tuple[Turn, ...] = (*lane.dead, *lane.again, *lane.waiting)
        named = {turn.version: turn for turn in every}
        for version in sorted(named.keys() | seen.told):
            told, at_ms = _what_came(seen.told.get(version), is_waiting=version in turns)
            turn = named.get(version) or _ref_of(told or of)
            is_first = lane.first is not None and lane.first.version == version
            yield Delivery(
                endpoint=of.endpoint,
                channel=of.channel,
                order=of.order,
                version=version,
                event_id=turn.event_id,
                state=self._state(of.endpoint, told, is_waiting=version in turns, is_dead=version in dead),
                is_redriven=any(again.version == version for again in lane.again),
                attempt=_attempt(lane.attempt if is_first else None, told, is_waiting=version in turns),
                status_code=told.status_code if told else None,
                error=told.error if told else None,
                duration_ms=told.duration_ms if told else None,
                told_at=datetime.fromtimestamp(at_ms / 1000, UTC) if at_ms is not None else None,
                since=lane.since if is_first else None,
                next_attempt_at=lane.next_attempt_at if is_first else None,
                behind=lane.first.version if lane.first and version in turns and not is_first else None,
                event_partition=of.event_partition,
                event_offset=turn.offset,
            )

    def _state(self, endpoint: str, told: DeliveryRecord | None, *, is_waiting: bool, is_dead: bool) -> State:
        if is_waiting:
            return State.SUSPENDED if self.is_suspended(endpoint) else State.WAITING
        if is_dead:
            return State.DEAD
        return State.SKIPPED if told and told.outcome is Outcome.SKIPPED else State.ACCEPTED


def _is_one_attempt(one: DeliveryRecord, other: DeliveryRecord) -> bool:
    """Records are appended again, byte for byte or with a lane that was joined, when they are old or lay behind a newer one."""
    return (one.attempt, one.outcome, one.duration_ms) == (other.attempt, other.outcome, other.duration_ms)


def _what_came(told: _Told | None, *, is_waiting: bool) -> tuple[DeliveryRecord | None, int | None]:
    if told is None:
        return None, None
    return told.last if is_waiting or told.end is None else told.end


def _attempt(first: int | None, told: DeliveryRecord | None, *, is_waiting: bool) -> int | None:
    if first is not None:
        return first
    if is_waiting:
        return 0  # it has not had its turn
    return told.attempt if told is not None else None


def _ref_of(told: DeliveryRecord) -> Ref:
    return Ref(told.version, told.event_offset, told.event_id)
