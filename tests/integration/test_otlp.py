"""Spans reach a collector by OTLP over HTTP, and a collector that does not take them costs nothing."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue

import pytest

pytest.importorskip("opentelemetry.sdk", reason="the extra [telemetry] is not installed")

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Sent
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from notifier.watching import otlp, tracing
from notifier.watching.tracing import Span, Value

GIVEN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
WAIT_S = 30.0
"""For what has to come, on a machine that has much else to do."""


CLOCKS_NS = 50_000_000
"""What the machine's clock may be moved by while a test runs."""


class Collector:
    """Takes OTLP over HTTP on loopback."""

    def __init__(self) -> None:
        taken: Queue[tuple[str, ExportTraceServiceRequest]] = Queue()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                taken.put((self.path, ExportTraceServiceRequest.FromString(body)))
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the library's name
                """Silent."""

        self.taken = taken
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector, for one test."""
    one = Collector()
    thread = threading.Thread(target=one.server.serve_forever)
    thread.start()
    yield one
    one.server.shutdown()
    thread.join()
    one.server.server_close()


def step(name: str, *, error: str | None = None) -> Span:
    """A span that took a second and ended a second ago."""
    now = time.monotonic()
    attributes: dict[str, Value] = {"endpoint": "oms", "attempt": 2, "status_code": None}
    return Span(name, tracing.child(GIVEN), tracing.span_id(GIVEN), now - 2.0, now - 1.0, attributes, "client", error)


def test_what_was_told_is_with_the_collector_when_the_process_ends(collector: Collector) -> None:
    """With its trace, its parent, its times, and who tells it."""
    tracing.configure(service="fanout", instance="host-7", otlp_endpoint=collector.url + "/")
    before_ns = time.time_ns()
    span = step("deliver", error="timeout")

    tracing.tell(span)
    after_ns = time.time_ns()
    tracing.end()

    path, request = collector.taken.get(timeout=WAIT_S)
    assert path == "/v1/traces"
    (resource,) = request.resource_spans
    assert {one.key: one.value.string_value for one in resource.resource.attributes} | {"service.version": ""} == {
        "service.namespace": "alipayhk-notifier",
        "service.name": "fanout",
        "service.instance.id": "host-7",
        "service.version": "",
    }
    (sent,) = resource.scope_spans[0].spans
    assert sent.trace_id.hex() == GIVEN[3:35]
    assert (sent.span_id.hex(), sent.parent_span_id.hex()) == (tracing.span_id(span.traceparent), span.parent_id)
    assert (sent.name, sent.kind) == ("deliver", Sent.SPAN_KIND_CLIENT)
    assert (sent.status.code, sent.status.message) == (Status.STATUS_CODE_ERROR, "timeout")
    assert sent.end_time_unix_nano - sent.start_time_unix_nano == pytest.approx(1_000_000_000, abs=1_000)
    # a second ago, by two clocks that are read one after the other
    assert before_ns - CLOCKS_NS < sent.end_time_unix_nano + 1_000_000_000 < after_ns + CLOCKS_NS
    assert [one.key for one in sent.attributes] == ["notifier.endpoint", "notifier.attempt"]
    assert not tracing.is_on()


def test_a_collector_that_hangs_does_not_hold_the_end_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor anything before it: telling is handing over."""
    monkeypatch.setattr(otlp, "END_S", 0.2)
    monkeypatch.setattr(otlp, "SEND_TIMEOUT_S", 2 * WAIT_S)
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        tracing.configure(
            service="fanout", instance="host-7", otlp_endpoint=f"http://127.0.0.1:{hanging.getsockname()[1]}"
        )
        began = time.monotonic()
        for _ in range(100):
            tracing.tell(step("deliver"))
        told = time.monotonic() - began

        tracing.end()
        ended = time.monotonic() - began

        taken, _ = hanging.accept()
        with taken:
            taken.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            _wait_for_the_threads()

    assert told < WAIT_S, "nobody waited for the collector to take one"
    assert ended < WAIT_S, "nor for its answer"


def _wait_for_the_threads() -> None:
    """What was given up ends once it is answered, and with the test."""
    for thread in threading.enumerate():
        if thread.daemon and thread is not threading.current_thread() and "OtelBatch" in thread.name:
            thread.join(WAIT_S)
