"""
What the orders job says of a batch, once what it says is durable.

Each method gives a line to be written later. None of them knows the fold that it is said of: a batch whose lines led back to it
would be a cycle of some ten thousand objects, which only the garbage collector could find.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

from notifier import events, metrics
from notifier.clock import Clock
from notifier.errors import Reason
from notifier.evidence import Evidence, trace_id
from notifier.logs import failure, get_logger
from notifier.order import Changed
from notifier.record import Record, Stored
from notifier.watching import tracing
from notifier.watching.tracing import Span, Value

log = get_logger()

Line = Callable[[], None]
"""Writes a log line, with what is counted of it."""


class OrdersLines:
    """The lines about one batch of a partition."""

    def __init__(self, partition: int, clock: Clock) -> None:
        self._partition = partition
        self._clock = clock
        self._began = time.monotonic()

    def changed(self, read: Evidence, order: str, change: Changed, record: Record) -> Line:
        """An event lies in the orders log."""

        def write() -> None:
            since_received_ms = (self._clock.now() - read.received_at).total_seconds() * 1000
            event_id = events.id_of(record)
            metrics.ORDERS_CHANGED.of(read.channel, change.event_type).inc()
            metrics.ORDER_AGE_SECONDS.of().observe(since_received_ms / 1000)
            log.info(
                "order.changed",
                channel=read.channel,
                order=order,
                evidence_id=read.evidence_id,
                event_id=event_id,
                event_type=change.event_type,
                status=change.summary.status,
                version=change.version,
                since_received_ms=round(since_received_ms, 1),
                partition=self._partition,
                trace_id=trace_id(read.traceparent),
            )
            self._trace(read, order, change, event_id)

        return write

    def repeated(self, read: Evidence, stored: Stored) -> Line:
        """The evidence states nothing new."""

        def write() -> None:
            metrics.EVIDENCE_REPEATED.of(read.channel).inc()
            log.info(
                "evidence.repeated",
                channel=read.channel,
                order=read.order,
                evidence_id=read.evidence_id,
                partition=self._partition,
                offset=stored.offset,
                trace_id=trace_id(read.traceparent),
            )

        return write

    def resent_late(self, read: Evidence, stored: Stored, since: timedelta) -> Line:
        """AlipayHK had to send it again and again, so long after what it tells of."""

        def write() -> None:
            metrics.EVIDENCE_RESENT_LATE.of(read.channel).inc()
            log.warning(
                "evidence.resent_late",
                channel=read.channel,
                order=read.order,
                evidence_id=read.evidence_id,
                since_s=round(since.total_seconds()),
                partition=self._partition,
                offset=stored.offset,
                trace_id=trace_id(read.traceparent),
            )

        return write

    def set_aside(self, read: Evidence | None, stored: Stored, reason: Reason, error: Exception | None) -> Line:
        """The evidence lies in the quarantine; where it could not even be read, nothing is known of it but its place."""
        channel = read.channel if read else ""
        ids = {
            "channel": channel,
            "order": read.order if read else None,
            "evidence_id": read.evidence_id if read else None,
            "partition": self._partition,
            "offset": stored.offset,
            "trace_id": trace_id(read.traceparent) if read else None,
        }

        def write() -> None:
            metrics.EVIDENCE_QUARANTINED.of(channel, reason.value).inc()
            log.warning("evidence.quarantined", reason=reason.value, **ids)
            if error is not None:
                log.error("evidence.failed", **ids, **failure(error))

        return write

    def _trace(self, read: Evidence, order: str, change: Changed, event_id: str) -> None:
        """Tell of the fold that made an event: from the batch's reading until it is durable."""
        if not tracing.is_on():
            return
        traceparent = tracing.valid(read.traceparent)
        if traceparent is None:
            return
        about: dict[str, Value] = {
            "channel": read.channel,
            "order": order,
            "evidence_id": read.evidence_id,
            "event_id": event_id,
        }
        what: dict[str, Value] = {
            "event_type": change.event_type,
            "status": change.summary.status,
            "version": change.version,
        }
        span, parent = tracing.fold_of(traceparent, event_id), tracing.span_id(traceparent)
        tracing.tell(Span("fold", span, parent, self._began, time.monotonic(), about | what))
