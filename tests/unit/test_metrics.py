"""Metrics: bounded, cheap, and right when several processes answer as one."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from notifier import metrics


def _values(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def _value(text: str, name: str, **labels: str) -> float:
    return _values(text)[name, tuple(sorted(labels.items()))]


def test_all_names_begin_alike() -> None:
    """`notifier_…`, contract section 5."""
    assert all(metric.name.startswith("notifier_") for metric in metrics.REGISTRY.collect())


def test_the_text_is_what_prometheus_reads() -> None:
    """Its own parser takes every line."""
    metrics.NOTIFICATIONS.of("text-1", "accepted", "").inc()

    assert _value(metrics.text(), "notifier_notifications_total", channel="text-1", outcome="accepted", reason="") == 1


def test_a_combination_of_labels_is_looked_up_once() -> None:
    """The child is kept: looking it up costs more than counting."""
    assert metrics.NOTIFICATIONS.of("kept", "accepted", "") is metrics.NOTIFICATIONS.of("kept", "accepted", "")


def test_a_label_too_many_is_refused() -> None:
    """A caller that mixes up labels is found by its first test."""
    with pytest.raises(ValueError, match="label"):
        metrics.NOTIFICATIONS.of("shop", "accepted")


def test_one_snapshot_merged_is_the_text_itself() -> None:
    """Nothing is lost on the way from a worker to its parent."""
    metrics.NOTIFICATION_SECONDS.of("accepted").observe(0.003)

    assert _values(metrics.merge([metrics.snapshot()])) == _values(metrics.text())


def test_counts_and_durations_of_workers_are_summed() -> None:
    """`/metrics` with several workers is their sum (contract, section 5)."""
    metrics.DELIVERIES.of("summed", "accepted").inc(2)
    metrics.APPEND_SECONDS.of("summed").observe(0.003)
    metrics.APPENDS_IN_FLIGHT.of("summed").set(5)

    merged = metrics.merge([metrics.snapshot()] * 3)

    assert _value(merged, "notifier_deliveries_total", endpoint="summed", outcome="accepted") == 6
    assert _value(merged, "notifier_append_duration_seconds_bucket", topic="summed", le="0.005") == 3
    assert _value(merged, "notifier_append_duration_seconds_count", topic="summed") == 3
    assert _value(merged, "notifier_appends_in_flight", topic="summed") == 15


def test_of_ages_the_greatest_counts() -> None:
    """Two processes with records of a minute have none of two minutes."""
    metrics.JOB_OLDEST_AGE_SECONDS.of("aged").set(60)

    merged = metrics.merge([metrics.snapshot()] * 2)

    assert _value(merged, "notifier_job_oldest_age_seconds", service="aged") == 60


def test_of_times_the_latest_counts() -> None:
    """Three workers with a key that ends tomorrow do not have one for a hundred years."""
    metrics.CHANNEL_KEYS_END.of("timed").set(1_800_000_000)

    merged = metrics.merge([metrics.snapshot()] * 3)

    assert _value(merged, "notifier_channel_keys_end_timestamp_seconds", channel="timed") == 1_800_000_000


def test_a_sum_does_not_fall_when_a_worker_ends() -> None:
    """Prometheus reads a falling count as a restart from nothing, and would see a burst that never was."""
    metrics.DELIVERIES.of("ended", "accepted").inc(4)
    metrics.APPENDS_IN_FLIGHT.of("ended").set(4)
    worker = metrics.snapshot()

    merged = metrics.merge([worker, metrics.retire([metrics.retire([worker]), worker])])

    assert _value(merged, "notifier_deliveries_total", endpoint="ended", outcome="accepted") == 12
    assert _value(merged, "notifier_appends_in_flight", topic="ended") == 4
