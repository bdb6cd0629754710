"""A lane while it is served: its events in memory, and what is recorded and said of each."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import datetime

from consumers.callees import Callee
from consumers.client import Answer
from notifier import metrics
from notifier.delivery import DeliveryRecord, Lane, Outcome, Ref
from notifier.events import Telling
from notifier.evidence import trace_id
from notifier.logs import get_logger

log = get_logger()


@dataclass(slots=True)
class Todo:
    """One event for one endpoint. `counts` is its event's offset while that waits for it; times are the event loop's."""

    ref: Ref
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


def record_of(
    lane: ActiveLane, todo: Todo, outcome: Outcome, answer: Answer | None, after: Lane, *, partition: int
) -> DeliveryRecord:
    """The record that makes an outcome durable, with the lane's new state."""
    return DeliveryRecord(
        event_id=todo.ref.event_id,
        endpoint=lane.callee.endpoint.name,
        channel=lane.channel,
        order=lane.order,
        version=todo.ref.version,
        event_partition=partition,
        event_offset=todo.ref.offset,
        attempt=lane.attempt,
        outcome=outcome,
        status_code=answer.status_code if answer else None,
        duration_ms=round(answer.duration_ms, 1) if answer else None,
        error=answer.error.value if answer and answer.error else None,
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
) -> None:
    """Tell in log and metrics what became of one event, once it is durable: one wide line for each attempt."""
    endpoint = lane.callee.endpoint.name
    metrics.DELIVERIES.of(endpoint, outcome.value).inc()
    telling = todo.telling
    ids = {
        "endpoint": endpoint,
        "channel": lane.channel,
        "order": lane.order,
        "event_id": todo.ref.event_id,
        "version": todo.ref.version,
    }
    if outcome is Outcome.SKIPPED:
        log.warning("delivery.skipped", **ids)
    if answer is None or telling is None:
        return
    metrics.ATTEMPT_SECONDS.of(outcome.value).observe(answer.duration_ms / 1000)
    received_at = datetime.fromisoformat(telling.received_at)
    since_received_ms = round((now - received_at).total_seconds() * 1000, 1)
    ended = {
        "attempt": lane.attempt,
        "outcome": outcome.value,
        "status_code": answer.status_code,
        "error": answer.error.value if answer.error else None,
    }
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
