"""A lane while it is served: its events in memory, and what is recorded and said of each."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from consumers.client import Answer
from consumers.telling.callees import Callee
from notifier import metrics
from notifier.deliveries.delivery import Again, DeliveryRecord, Lane, Outcome, Ref, Turn, place, wait
from notifier.events import Telling
from notifier.evidence import trace_id
from notifier.logs import get_logger
from notifier.watching import tracing
from notifier.watching.tracing import Span, Value

log = get_logger()


@dataclass(slots=True)
class Todo:
    """One event for one endpoint. `counts` is its event's offset while that waits for it; times are the event loop's."""

    turn: Turn
    telling: Telling | None
    counts: int | None
    arrived_at: float


@dataclass(slots=True)
class ActiveLane:
    """A lane that is being served: its events in order, by one task."""

    key: bytes
    callee: Callee
    channel: str
    order: str
    todo: deque[Todo]
    since: datetime
    attempt: int = 0
    is_calling: bool = False
    is_engaged: bool = False
    """From the call until what came of it is recorded."""
    next_attempt_at: datetime | None = None
    """When what durably waits in it is due; it has to be remembered when the lane is served no more."""
    is_parked: bool = False
    """Nothing is added to it any more: it ends, and what comes now goes behind what it leaves in the log."""

    def add(self, more: Iterable[Todo]) -> None:
        """More to tell, each in its place; what is being told stays first."""
        first = 1 if self.is_engaged else 0
        todos = [*self.todo, *more]
        self.todo = deque((*todos[:first], *sorted(todos[first:], key=lambda todo: place(todo.turn))))

    def holds(self, turn: Turn) -> bool:
        """Whether it is in memory here."""
        return any(place(todo.turn) == place(turn) for todo in self.todo)


def waiting_in(lane: ActiveLane, before: Lane, *, due: datetime, now: datetime) -> Lane:
    """The lane with everything that is held of it in memory waiting durably, the first of it due at a time."""
    refs = [todo.turn for todo in lane.todo if isinstance(todo.turn, Ref)]
    if isinstance(lane.todo[0].turn, Again):
        before = wait(before, (), since=lane.since, attempt=lane.attempt, due=due)
        return wait(before, refs, since=now, attempt=0, due=now) if refs else before
    return wait(before, refs, since=lane.since, attempt=lane.attempt, due=due)


def record_of(
    lane: ActiveLane,
    turn: Turn,
    outcome: Outcome,
    answer: Answer | None,
    after: Lane,
    *,
    partition: int,
    error: str | None = None,
) -> DeliveryRecord:
    """The record that makes an outcome durable, with the lane's new state. `error` where no answer says why."""
    return DeliveryRecord(
        event_id=turn.event_id,
        endpoint=lane.callee.endpoint.name,
        channel=lane.channel,
        order=lane.order,
        version=turn.version,
        event_partition=partition,
        event_offset=turn.offset,
        attempt=lane.attempt,
        outcome=outcome,
        status_code=answer.status_code if answer else None,
        duration_ms=round(answer.duration_ms, 1) if answer else None,
        error=answer.error.value if answer and answer.error else error,
        next_attempt_at=after.next_attempt_at,
        lane=after,
    )


def untold(endpoint: str, channel: str, order: str, turn: Turn, after: Lane, *, partition: int) -> DeliveryRecord:
    """The record of a lane that has something to tell, without an attempt."""
    return DeliveryRecord(
        event_id=turn.event_id,
        endpoint=endpoint,
        channel=channel,
        order=order,
        version=turn.version,
        event_partition=partition,
        event_offset=turn.offset,
        attempt=0,
        outcome=Outcome.WAITING,
        status_code=None,
        duration_ms=None,
        error=None,
        next_attempt_at=after.next_attempt_at,
        lane=after,
    )


def say(
    lane: ActiveLane,
    todo: Todo,
    outcome: Outcome,
    answer: Answer | None,
    now: datetime,
    *,
    retry_in_s: float | None = None,
    error: str | None = None,
) -> None:
    """Tell in log and metrics what became of one event, once it is durable: one wide line for each attempt."""
    endpoint = lane.callee.endpoint.name
    metrics.DELIVERIES.of(endpoint, outcome.value).inc()
    telling = todo.telling
    ids = {
        "endpoint": endpoint,
        "channel": lane.channel,
        "order": lane.order,
        "event_id": todo.turn.event_id,
        "version": todo.turn.version,
    }
    ended = {
        "attempt": lane.attempt,
        "outcome": outcome.value,
        "status_code": answer.status_code if answer else None,
        "error": answer.error.value if answer and answer.error else error,
    }
    if outcome is Outcome.SKIPPED:
        log.warning("delivery.skipped", **ids)
    if answer is not None and telling is not None:
        metrics.ATTEMPT_SECONDS.of(outcome.value).observe(answer.duration_ms / 1000)
        received_at = datetime.fromisoformat(telling.received_at)
        since_received_ms = round((now - received_at).total_seconds() * 1000, 1)
        log.info(
            "delivery.attempted",
            **ids,
            **ended,
            duration_ms=round(answer.duration_ms, 1),
            retry_in_s=retry_in_s,
            since_received_ms=since_received_ms,
            trace_id=trace_id(telling.traceparent),
        )
        if outcome is Outcome.ACCEPTED:
            metrics.DELIVERY_AGE_SECONDS.of().observe(since_received_ms / 1000)
    if outcome is Outcome.DEAD:
        log.error("delivery.exhausted", **ids, **ended)


def trace(lane: ActiveLane, telling: Telling, answer: Answer, traceparent: str, began: float) -> None:
    """Tell of one attempt, as a part of the fold that made its event. Where it went is the endpoint's name, never its URL."""
    error = None
    if not answer.is_accepted:
        error = answer.error.value if answer.error else f"status {answer.status_code}"
    attributes: dict[str, Value] = {
        "endpoint": lane.callee.endpoint.name,
        "channel": telling.channel,
        "order": telling.order,
        "event_id": telling.event_id,
        "event_type": telling.type,
        "version": telling.version,
        "attempt": lane.attempt,
        "outcome": (Outcome.ACCEPTED if answer.is_accepted else Outcome.FAILED).value,
        "status_code": answer.status_code,
    }
    parent = tracing.span_id(tracing.fold_of(traceparent, telling.event_id))
    tracing.tell(Span("deliver", traceparent, parent, began, time.monotonic(), attributes, "client", error))
