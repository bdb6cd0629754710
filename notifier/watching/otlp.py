"""
Spans to a collector, by OTLP over HTTP. The home of OpenTelemetry; loaded only where the settings name a collector.

A thread of the library's sends them in batches. Nothing waits for it: what the collector does not take in time is lost, and no
notification with it.
"""

from __future__ import annotations

import threading
import time

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from notifier import __version__
from notifier.clock import Clock, SystemClock
from notifier.watching.tracing import Span, span_id

SEND_TIMEOUT_S = 5.0
"""How long one batch may take to be sent, its repetitions included."""

WAITING_MAX = 16_384
"""Spans that wait to be sent, some 20 MB at most; beyond it they are lost."""

END_S = 2.0
"""How long the end of a process waits for the collector to take the last ones."""

_KINDS = {
    "server": SpanKind.SERVER,
    "internal": SpanKind.INTERNAL,
    "producer": SpanKind.PRODUCER,
    "client": SpanKind.CLIENT,
}


def exporter_to(otlp_endpoint: str) -> SpanExporter:
    """What sends to a collector; traces have a path of their own below its address (OTLP 1.10, OTLP/HTTP Request)."""
    return OTLPSpanExporter(endpoint=f"{otlp_endpoint.rstrip('/')}/v1/traces", timeout=SEND_TIMEOUT_S)


class Exported:
    """
    A process' spans (`notifier.watching.tracing.Sink`).

    Args:
        exporter: sends them; it is called in a thread of its own.
    """

    def __init__(self, service: str, instance: str, exporter: SpanExporter, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._resource = Resource(
            {
                "service.namespace": "alipayhk-notifier",
                "service.name": service,
                "service.instance.id": instance,
                "service.version": __version__,
            }
        )
        self._processor = BatchSpanProcessor(exporter, max_queue_size=WAITING_MAX)

    def tell(self, span: Span) -> None:
        """Hand it to the thread that sends."""
        now, monotonic = self._clock.now().timestamp(), time.monotonic()
        trace_id, flags = int(span.traceparent[3:35], 16), TraceFlags(int(span.traceparent[53:], 16))
        self._processor.on_end(
            ReadableSpan(
                span.name,
                SpanContext(trace_id, int(span_id(span.traceparent), 16), is_remote=False, trace_flags=flags),
                SpanContext(trace_id, int(span.parent_id, 16), is_remote=True, trace_flags=flags)
                if span.parent_id is not None
                else None,
                self._resource,
                {f"notifier.{name}": value for name, value in span.attributes.items() if value is not None},
                kind=_KINDS[span.kind],
                status=Status(StatusCode.ERROR, span.error) if span.error is not None else Status(StatusCode.UNSET),
                start_time=round((now - (monotonic - span.began)) * 1e9),
                end_time=round((now - (monotonic - span.ended)) * 1e9),
            )
        )

    def end(self) -> None:
        """Send what is left; beside us, because the library would wait half a minute for a collector that hangs."""
        ending = threading.Thread(target=self._processor.shutdown, daemon=True)
        ending.start()
        ending.join(END_S)
