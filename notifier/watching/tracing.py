"""
Traces: how one notification travelled, from the door to the merchants.

What carries them is there always: the door gives each notification a `traceparent` (W3C Trace Context), which goes with it
through inbox and orders topic to the webhook, and lines have its `trace_id`. Where `[telemetry] otlp_endpoint` says so, spans are
made of it and sent to a collector by OTLP:

    receive ─┬─ verify        receive: its id is that in the inbox record's traceparent
             ├─ append
             └─ fold ─ deliver     fold: its id is a part of the event's id, so that whoever delivers the event knows it;
                                   deliver: its id is that in the webhook's traceparent, another for each attempt

A span is told when it is over. What is refused at the door makes none, since anyone can bring that about. Attributes are ids,
counts and outcomes: no bodies, no URLs, no signatures, nothing about payers.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal, Protocol

Kind = Literal["server", "internal", "producer", "client"]
Value = str | int | float | bool | None

_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
"""W3C Trace Context, version 00."""


@dataclass(frozen=True, slots=True)
class Span:
    """One step of a trace, over. Times are of the monotonic clock, in seconds."""

    name: str
    traceparent: str
    """The trace, and its own id in it."""
    parent_id: str | None
    """The id of the span that it is a part of; None: it is the first."""
    began: float
    ended: float
    attributes: Mapping[str, Value]
    kind: Kind = "internal"
    error: str | None = None
    """Why what it stands for failed, in a word."""


class Sink(Protocol):
    """Takes spans, without waiting."""

    def tell(self, span: Span) -> None:
        """A span is over."""
        ...

    def end(self) -> None:
        """Send what is left, within a bound."""
        ...


class _Current:
    """What `configure` decides, for this process."""

    sink: Sink | None = None


# -- what a traceparent says ---------------------------------------------------------------------------------------------------


def new_traceparent() -> str:
    """A trace of its own."""
    ids = secrets.token_hex(24)
    return f"00-{ids[:32]}-{ids[32:]}-01"


def valid(traceparent: str | None) -> str | None:
    """What came from outside, if it is one."""
    return traceparent if traceparent is not None and _TRACEPARENT.fullmatch(traceparent) else None


def span_id(traceparent: str) -> str:
    """The id of the span that a `traceparent` names."""
    return traceparent[36:52]


def child(traceparent: str) -> str:
    """A new span in the same trace."""
    return _with_span(traceparent, secrets.token_hex(8))


def fold_of(traceparent: str, event_id: str) -> str:
    """The fold that made an event. A fold that is repeated makes the same event, and the same span."""
    return _with_span(traceparent, event_id.removeprefix("evt_")[:16])


def _with_span(traceparent: str, id_of_span: str) -> str:
    return f"{traceparent[:36]}{id_of_span}{traceparent[52:]}"


def onward(traceparent: str) -> str:
    """What goes further of a trace that came to us: with a span of ours where spans are told, else as it is."""
    return child(traceparent) if is_on() else traceparent


# -- what is told --------------------------------------------------------------------------------------------------------------


def is_on() -> bool:
    """Whether spans are told at all; asked first, so that nothing is made for nobody."""
    return _Current.sink is not None


def tell(span: Span) -> None:
    """A span is over."""
    if _Current.sink is not None:
        _Current.sink.tell(span)


def is_installed() -> bool:
    """Whether there is what spans are sent with: the extra `[telemetry]`."""
    try:
        return find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:
        return False


def configure(*, service: str, instance: str, otlp_endpoint: str | None) -> None:
    """Say who is speaking, and where to; without an endpoint nothing is told, and nothing of OpenTelemetry loaded."""
    if otlp_endpoint is None:
        _Current.sink = None
        return
    from notifier.watching.otlp import Exported, exporter_to  # noqa: PLC0415 - an extra, which most installations lack

    _Current.sink = Exported(service, instance, exporter_to(otlp_endpoint))


def end() -> None:
    """At the end of the process: send what is left."""
    sink, _Current.sink = _Current.sink, None
    if sink is not None:
        sink.end()
