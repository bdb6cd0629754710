"""
How each endpoint is doing, as the deliveries topic tells it: whether it is called, how its attempts went, what waits for it.

For commands that look at it; nothing has to run for it. Each partition has its own word on an endpoint's state, so where they
differ that is told, not averaged away.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import msgspec

from notifier.deliveries.delivery import DeliveryRecord, Outcome
from notifier.deliveries.delivery_report import Report, State
from notifier.deliveries.endpoint_state import EndpointState, Why
from notifier.deliveries.endpoint_state import State as Called

WINDOW = timedelta(days=1)
"""
Attempts of this last time count. The topic keeps every record for a day (its compaction lag), and of what is older the last one.
"""


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint. Counts are of deliveries; rates and durations are of the attempts within `WINDOW`."""

    endpoint: str
    is_in_settings: bool
    state: Called
    """Suspended where any partition says so."""
    reason: Why | None
    """None: it was never met."""
    since: datetime | None
    partitions_suspended: int
    partitions_active: int
    command_partition: int | None
    command_offset: int | None
    """Where the operator's word lies that it is suspended by."""
    attempts: int
    success_rate: float | None
    p50_ms: float | None
    p99_ms: float | None
    waiting: int
    oldest_waiting_since: datetime | None
    next_attempt_at: datetime | None
    """When what waits is due; None: nothing waits, or the endpoint is left alone."""
    dead: int
    failures_in_a_row: int
    """Attempts since the last that was accepted. After some of them fan-out's pace decides, not when each delivery is due."""
    last_error: str | None
    last_status_code: int | None
    last_failed_at: datetime | None


@dataclass(slots=True)
class _Gathered:
    states: dict[int, EndpointState] = field(default_factory=dict)
    counts: Counter[State] = field(default_factory=Counter)
    durations_ms: array[float] = field(default_factory=lambda: array("f"))
    accepted: int = 0
    oldest: datetime | None = None
    due: datetime | None = None
    failed: tuple[datetime, DeliveryRecord] | None = None
    failed_at: list[datetime] = field(default_factory=list)
    """Since the last that was accepted, as far as it is known."""
    accepted_at: datetime | None = None


class Healths:
    """
    Gathers endpoints, one partition after the other.

    Args:
        in_settings: the names that the settings have; they are told of in this order, and whether anything was sent or not.
    """

    def __init__(self, in_settings: Iterable[str], now: datetime) -> None:
        self._in_settings = tuple(in_settings)
        self._from = now - WINDOW
        self._gathered: dict[str, _Gathered] = {name: _Gathered() for name in self._in_settings}

    def attempted(self, told: DeliveryRecord, at: datetime) -> None:
        """Take one attempt, and when its record was appended."""
        gathered = self._of(told.endpoint)
        if told.outcome is not Outcome.ACCEPTED and (gathered.failed is None or gathered.failed[0] <= at):
            gathered.failed = at, told
        if at < self._from or told.duration_ms is None:
            return
        gathered.durations_ms.append(told.duration_ms)
        if told.outcome is not Outcome.ACCEPTED:
            gathered.failed_at.append(at)
            return
        gathered.accepted += 1
        if gathered.accepted_at is None or gathered.accepted_at < at:
            gathered.accepted_at = at
            gathered.failed_at = [failed for failed in gathered.failed_at if failed > at]

    def failures_in_a_row(self, name: str) -> int:
        """How many attempts have failed since the last that the endpoint accepted."""
        gathered = self._of(name)
        return sum(gathered.accepted_at is None or failed > gathered.accepted_at for failed in gathered.failed_at)

    @property
    def obeyed(self) -> dict[tuple[str, int], int]:
        """By endpoint and partition, the offset of the last command that was obeyed there."""
        return {
            (name, partition): state.round.command
            for name, gathered in self._gathered.items()
            for partition, state in gathered.states.items()
        }

    def take(self, partition: int, report: Report) -> None:
        """Take what a whole partition tells."""
        for name, state in report.endpoints.items():
            self._of(name).states[partition] = state
        for one in report:
            gathered = self._of(one.endpoint)
            gathered.counts[one.state] += 1
            if one.state in (State.WAITING, State.SUSPENDED):
                gathered.oldest = _earlier(gathered.oldest, one.since)
                state_there = report.endpoints.get(one.endpoint)
                if state_there is None or not state_there.is_left_alone:
                    gathered.due = _earlier(gathered.due, one.next_attempt_at)

    def _of(self, name: str) -> _Gathered:
        return self._gathered.setdefault(name, _Gathered())

    def __iter__(self) -> Iterator[Health]:
        """Those of the settings, then those that left them and for which something waits still."""
        for name, gathered in self._gathered.items():
            if name in self._in_settings or gathered.counts[State.WAITING] or gathered.counts[State.SUSPENDED]:
                yield self._health(name, gathered)

    def _health(self, name: str, of: _Gathered) -> Health:
        suspended = {at: one for at, one in of.states.items() if one.state is Called.SUSPENDED}
        telling = suspended or of.states
        # an operator's word weighs more than an answer, and that more than failing: it is what has to be undone
        where, state = max(
            telling.items(), key=lambda one: (_WEIGHT.get(one[1].reason, 0), one[1].at), default=(None, None)
        )
        ordered = sorted(of.durations_ms)
        failed = of.failed[1] if of.failed else None
        is_by_word = bool(suspended) and state is not None and state.reason is Why.OPERATOR
        return Health(
            endpoint=name,
            is_in_settings=name in self._in_settings,
            state=Called.SUSPENDED if suspended else Called.ACTIVE,
            reason=state.reason if state else None,
            since=min((one.at for one in telling.values() if state and one.reason is state.reason), default=None),
            partitions_suspended=len(suspended),
            partitions_active=len(of.states) - len(suspended),
            command_partition=where if is_by_word else None,
            command_offset=state.round.command if is_by_word and state else None,
            attempts=len(ordered),
            success_rate=round(of.accepted / len(ordered), 4) if ordered else None,
            p50_ms=_percentile(ordered, 50),
            p99_ms=_percentile(ordered, 99),
            waiting=of.counts[State.WAITING] + of.counts[State.SUSPENDED],
            oldest_waiting_since=of.oldest,
            next_attempt_at=of.due,
            dead=of.counts[State.DEAD],
            failures_in_a_row=self.failures_in_a_row(name),
            last_error=failed.error if failed else None,
            last_status_code=failed.status_code if failed else None,
            last_failed_at=of.failed[0] if of.failed else None,
        )


_WEIGHT = {Why.OPERATOR: 3, Why.GONE: 2, Why.FAILING: 1}


def _percentile(ordered: list[float], percent: int) -> float | None:
    """The smallest of which so many are not above it (nearest rank)."""
    return round(ordered[-(-len(ordered) * percent // 100) - 1], 1) if ordered else None


def _earlier(one: datetime | None, other: datetime | None) -> datetime | None:
    return min((at for at in (one, other) if at is not None), default=None)
