"""
What the deliveries topic tells of each delivery: who was told what, what waits, and why.

For commands that look at it; fan-out itself works on lanes. The lane's joined state says what waits and what was given up, a
version's own last record says what came of it. Compaction leaves only the last record of a lane: of what was accepted long ago
only that it is done is known.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from enum import StrEnum

import msgspec

from notifier import delivery
from notifier.delivery import DeliveryRecord, Outcome, Ref
from notifier.record import Record, Stored


class State(StrEnum):
    """How a delivery stands."""

    WAITING = "waiting"
    SUSPENDED = "suspended"
    """It waits, and its endpoint is not called but for a probe."""
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
    attempt: int | None
    """How many there have been; None where that is not known any more."""
    status_code: int | None
    """Of the last answer."""
    error: str | None
    duration_ms: float | None
    told_at: datetime | None
    """When the last record of it was appended."""
    since: datetime | None
    """Since when it is the first of its lane."""
    next_attempt_at: datetime | None
    behind: int | None
    """The version that is told before it; until then it waits."""
    event_partition: int
    event_offset: int


class _EndpointState(msgspec.Struct):
    endpoint: str
    state: str
    round: int = 0


class _Lane(msgspec.Struct):
    latest: Record
    told: dict[int, tuple[DeliveryRecord, int]]
    """By version: its last record, and when it was appended (Unix milliseconds)."""


_decode_endpoint = msgspec.json.Decoder(_EndpointState).decode
_FINAL = {Outcome.ACCEPTED, Outcome.SKIPPED, Outcome.DEAD}


class Deliveries:
    """Gathers the topic's records, in each partition's order."""

    def __init__(self) -> None:
        self._lanes: dict[bytes, _Lane] = {}
        self._endpoints: dict[str, _EndpointState] = {}

    def take(self, stored: Stored) -> None:
        """
        Take one record. What is no delivery's and no endpoint's is passed over.

        Raises:
            NewerStateError: a later release wrote it.
        """
        record = stored.record
        if record.key.startswith(b"~"):
            return  # fan-out's own position
        if b"/" not in record.key:
            self._take_endpoint(record)
            return
        try:
            told = delivery.from_record(record)
        except msgspec.DecodeError:
            return
        lane = self._lanes.setdefault(record.key, _Lane(record, {}))
        lane.latest = delivery.merge(lane.latest, record)
        known = lane.told.get(told.version)
        if known is None or known[0].outcome not in _FINAL or told.outcome in _FINAL:
            lane.told[told.version] = told, stored.appended_at_ms

    def _take_endpoint(self, record: Record) -> None:
        try:
            said = _decode_endpoint(record.value)
        except msgspec.DecodeError:
            return
        known = self._endpoints.get(said.endpoint)
        if known is None or said.round >= known.round:
            self._endpoints[said.endpoint] = said

    def is_suspended(self, endpoint: str) -> bool:
        """Whether nothing but probes goes to this endpoint."""
        said = self._endpoints.get(endpoint)
        return said is not None and said.state == "suspended"

    def settled(self, endpoint: str, channel: str, order: str) -> int:
        """The version up to which everything is done (accepted, given up or skipped) of an order for an endpoint; 0: nothing."""
        lane = self._lanes.get(delivery.lane_key(endpoint, channel, order))
        return delivery.from_record(lane.latest).lane.settled if lane else 0

    def __iter__(self) -> Iterator[Delivery]:
        """All deliveries: by endpoint, channel and order, then by version."""
        for key in sorted(self._lanes):
            yield from self._of(self._lanes[key])

    def _of(self, seen: _Lane) -> Iterator[Delivery]:
        latest = delivery.from_record(seen.latest)
        lane = latest.lane
        waiting = {ref.version: ref for ref in lane.waiting}
        dead = {ref.version: ref for ref in lane.dead}
        for version in sorted({*waiting, *dead, *seen.told}):
            told, at_ms = seen.told.get(version, (None, None))
            ref = waiting.get(version) or dead.get(version) or _ref_of(told or latest)
            is_first = lane.first is not None and lane.first.version == version
            yield Delivery(
                endpoint=latest.endpoint,
                channel=latest.channel,
                order=latest.order,
                version=version,
                event_id=ref.event_id,
                state=self._state(latest.endpoint, told, is_waiting=version in waiting, is_dead=version in dead),
                attempt=lane.attempt if is_first else told.attempt if told else 0 if version in waiting else None,
                status_code=told.status_code if told else None,
                error=told.error if told else None,
                duration_ms=told.duration_ms if told else None,
                told_at=datetime.fromtimestamp(at_ms / 1000, UTC) if at_ms is not None else None,
                since=lane.since if is_first else None,
                next_attempt_at=lane.next_attempt_at if is_first else None,
                behind=lane.first.version if lane.first and version in waiting and not is_first else None,
                event_partition=latest.event_partition,
                event_offset=ref.offset,
            )

    def _state(self, endpoint: str, told: DeliveryRecord | None, *, is_waiting: bool, is_dead: bool) -> State:
        if is_waiting:
            return State.SUSPENDED if self.is_suspended(endpoint) else State.WAITING
        if is_dead:
            return State.DEAD
        return State.SKIPPED if told and told.outcome is Outcome.SKIPPED else State.ACCEPTED


def _ref_of(told: DeliveryRecord) -> Ref:
    return Ref(told.version, told.event_offset, told.event_id)
