"""
Metrics, for dashboards and alerts: Prometheus, names `notifier_…`.

Labels are bounded: their values come from the settings (channels, endpoints) and from closed lists (reasons, outcomes, types),
never from a message. None is called `job` or `instance`: these are Prometheus' own.
Usage: `NOTIFICATIONS.of(channel, "accepted", "").inc()`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Generic, Literal, TypeVar

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_AnyMetric = TypeVar("_AnyMetric", Counter, Gauge, Histogram)

disable_created_metrics()  # type: ignore[no-untyped-call]  # the library's gap; a second series for each counter is what it makes

REGISTRY = CollectorRegistry()

LABELS: dict[str, tuple[str, ...]] = {}
"""Each metric by its name, with the labels that it has."""


class Family(Generic[_AnyMetric]):
    """One metric with its labels. The child of each combination is kept, because looking it up costs more than counting."""

    __slots__ = ("_children", "_make", "_remove")

    def __init__(
        self, make: Callable[..., _AnyMetric], name: str, meaning: str, labels: str = "", **options: object
    ) -> None:
        metric = make(f"notifier_{name}", meaning, labels.split(), registry=REGISTRY, **options)
        LABELS[f"notifier_{name}"] = tuple(labels.split())
        self._make: Callable[..., _AnyMetric] = metric.labels if labels else lambda: metric
        self._remove: Callable[..., None] = metric.remove
        self._children: dict[tuple[str, ...], _AnyMetric] = {}

    def of(self, *labels: str) -> _AnyMetric:
        """The one to count with: `.inc()`, `.set(x)`, `.observe(seconds)`."""
        child = self._children.get(labels)
        if child is None:
            child = self._children[labels] = self._make(*labels)
        return child

    def forget(self, *labels: str) -> None:
        """What has these labels is no more: it is no part of `/metrics` any longer, until it is asked for again."""
        if self._children.pop(labels, None) is not None:
            self._remove(*labels)


# In seconds. The door answers in milliseconds, at worst in append_timeout_s and a little.
_FAST = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
# A merchant may take its whole time-out; an event may wait for days.
_SLOW = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_LONG = (0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0, 3600.0, 86400.0, 259200.0)

NOTIFICATIONS = Family(
    Counter,
    "notifications_total",
    "Requests at the public listener. outcome: accepted, rejected, not_stored; reason as in the log line.",
    "channel outcome reason",
)
NOTIFICATION_SECONDS = Family(
    Histogram,
    "notification_duration_seconds",
    "From the start of a request to its answer.",
    "outcome",
    buckets=_FAST,
)
APPENDS_IN_FLIGHT = Family(Gauge, "appends_in_flight", "Records sent to Kafka and not yet acknowledged.", "topic")
APPEND_SECONDS = Family(Histogram, "append_duration_seconds", "From send to acknowledgement.", "topic", buckets=_FAST)
PRODUCERS_REPLACED = Family(Counter, "producers_replaced_total", "Producers replaced after an error.", "service")

CHANNEL_KEYS_END = Family(
    Gauge,
    "channel_keys_end_timestamp_seconds",
    "When the last key of a channel ends; not there where one never does.",
    "channel",
)

ORDERS_CHANGED = Family(Counter, "orders_changed_total", "Events appended to the orders topic.", "channel event_type")
EVIDENCE_REPEATED = Family(Counter, "evidence_repeated_total", "Evidence that changed nothing.", "channel")
EVIDENCE_RESENT_LATE = Family(
    Counter, "evidence_resent_late_total", "Third or later resends: earlier ones were not answered in time.", "channel"
)
EVIDENCE_QUARANTINED = Family(Counter, "evidence_quarantined_total", "Evidence set aside.", "channel reason")
ORDER_AGE_SECONDS = Family(
    Histogram,
    "order_since_received_seconds",
    "From the receipt of evidence until its event was appended.",
    buckets=_LONG,
)

DELIVERIES = Family(Counter, "deliveries_total", "Attempts to deliver an event, by outcome.", "endpoint outcome")
ATTEMPT_SECONDS = Family(
    Histogram, "delivery_attempt_duration_seconds", "Connect, headers and body.", "outcome", buckets=_SLOW
)
DELIVERY_AGE_SECONDS = Family(
    Histogram,
    "delivery_since_received_seconds",
    "From the receipt of evidence until its event was accepted by an endpoint.",
    buckets=_LONG,
)

ENDPOINT_SUSPENDED = Family(
    Gauge,
    "endpoint_suspended",
    "1 while an endpoint is suspended, for whatever reason, as this process knows.",
    "endpoint",
)
ENDPOINT_WAITING = Family(
    Gauge,
    "endpoint_waiting",
    "Orders of which something waits for an endpoint, in this process' partitions.",
    "endpoint",
)

JOB_REPORTED = Family(
    Gauge,
    "job_reported_timestamp_seconds",
    "When the job last said how far it is: its silence is the alarm.",
    "service",
)
JOB_LAG = Family(
    Gauge,
    "job_lag",
    "Records that the job has not read yet; not there while nobody knows, as without Kafka.",
    "service",
)
JOB_OLDEST_AGE_SECONDS = Family(
    Gauge,
    "job_oldest_age_seconds",
    "Age of the oldest record that is not done; not there while nobody knows whether there is one.",
    "service",
)
JOB_IN_FLIGHT = Family(Gauge, "job_in_flight", "Records being worked on.", "service")
JOB_WAITING = Family(Gauge, "job_waiting", "Deliveries that wait for their next attempt.", "service")
VIEWS_REPAIRED = Family(Counter, "views_repaired_total", "Times a view was brought up to its log.", "topic")
LOGS_HEALED = Family(
    Counter, "logs_healed_total", "Records appended again because an older one lay last for their key.", "topic"
)

UNAVAILABLE = Family(Gauge, "unavailable", "1 while it does not answer. what: kafka, redis.", "what")
STARTED = Family(Gauge, "started_timestamp_seconds", "When a process of the service was last started.", "service")
LOG_LINES = Family(
    Counter,
    "log_lines_total",
    "Lines of level warning and error, by their name in the catalogue; there from the start, so that the first is seen.",
    "event level",
)


def show(gauge: Family[Gauge], value: float | None, *labels: str) -> None:
    """Set a gauge. What is not known is not there: any number would be believed, and an alarm would fall for it."""
    if value is None:
        gauge.forget(*labels)
    else:
        gauge.of(*labels).set(value)


def text() -> str:
    """This process' metrics in the text format, for `/metrics`."""
    return generate_latest(REGISTRY).decode()


# -- several processes, one answer ---------------------------------------------------------------------------------------------


class _Family(msgspec.Struct, array_like=True):
    name: str
    meaning: str
    type: Literal["counter", "gauge", "histogram"]
    samples: list[tuple[str, dict[str, str], float]]


_decode = msgspec.msgpack.Decoder(list[_Family]).decode


def snapshot() -> bytes:
    """This process' metrics, to be sent to the parent process and summed there."""
    return msgspec.msgpack.encode(_families(REGISTRY.collect()))


def _families(metrics: Iterable[Metric]) -> list[_Family]:
    return [
        msgspec.convert(
            (
                metric.name,
                metric.documentation,
                metric.type,
                [(sample.name, sample.labels, sample.value) for sample in metric.samples],
            ),
            _Family,
        )
        for metric in metrics
    ]


def merge(snapshots: Iterable[bytes]) -> str:
    """
    The sum over processes in the text format. Of gauges that tell an age or a time, the greatest.

    Raises:
        msgspec.DecodeError: one is no snapshot.
    """
    summed = _summed(snapshots)
    return generate_latest(_Collected([_as_metric(family) for family in summed])).decode()


def retire(snapshots: Iterable[bytes]) -> bytes:
    """
    What remains of processes that ended, as one snapshot: their counts, no gauges.

    Without it a sum would fall when a worker dies, which Prometheus reads as a restart of all of them: a burst that never was.
    """
    return msgspec.msgpack.encode([family for family in _summed(snapshots) if family.type != "gauge"])


_GREATEST = ("_age_seconds", "_timestamp_seconds")
"""How gauges are called of which a sum would mean nothing."""


def _summed(snapshots: Iterable[bytes]) -> list[_Family]:
    families: dict[str, _Family] = {}
    totals: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for one in snapshots:
        for family in _decode(one):
            families.setdefault(family.name, family)
            total = totals.setdefault(family.name, {})
            join = max if family.name.endswith(_GREATEST) and family.type == "gauge" else _add
            for name, labels, value in family.samples:
                key = (name, tuple(labels.items()))
                total[key] = join(total[key], value) if key in total else value
    return [
        _Family(
            family.name,
            family.meaning,
            family.type,
            [(name, dict(labels), value) for (name, labels), value in totals[family.name].items()],
        )
        for family in families.values()
    ]


def _add(one: float, other: float) -> float:
    return one + other


def _as_metric(family: _Family) -> Metric:
    metric = Metric(family.name, family.meaning, family.type)
    for name, labels, value in family.samples:
        metric.add_sample(name, labels, value)
    return metric


class _Collected(CollectorRegistry):
    """Hands ready metrics to the library's own writer of the text format."""

    def __init__(self, metrics: list[Metric]) -> None:
        super().__init__()
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        """The metrics as they are."""
        return self._metrics
