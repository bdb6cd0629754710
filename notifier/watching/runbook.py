"""The runbook, `deploy/runbook.md`: the catalogue of log lines as a page for whoever is called (`notifier logs --markdown`)."""

from __future__ import annotations

from collections.abc import Iterator

from notifier.watching.catalogue import STAGES, Entry

_HEAD = """\
# Runbook

Written by `notifier logs --markdown > deploy/runbook.md` from the catalogue of log lines; a test holds it to that. Change the
catalogue, not this page.

Each line of the log is one JSON object; `event` is the name below. The lines stand here as a record travels: the door, orders,
merchants; then the jobs, and the processes with what they need. Levels: `info` is a result, `warning` mends itself, `error` needs
a person now.

* An alert names its line. Find it here, then read the lines around it that have the same `channel`, `order`, `endpoint` or
  `partition`.
* One payment: `notifier orders show CHANNEL ORDER` tells what came, what it amounts to, who was told and why not. Its `trace_id`
  is the same from the door to the merchant.
* Before anything else: `notifier check` looks at settings, keys, clock, Kafka, topics and Redis, and says what to do.
* Metrics are at `/metrics` of each process. Every line from `warning` up is also counted in
  `notifier_log_lines_total{event, level}`. The supervisor of `notifier run` has a log only; that it starts a process again is
  seen in `notifier_started_timestamp_seconds` of that process.
* Alerts are in [alerts/notifier.rules.yml](alerts/notifier.rules.yml), the dashboard is
  [dashboards/notifier.json](dashboards/notifier.json).
"""


def markdown() -> str:
    """The whole page."""
    return "\n".join((_HEAD, *_contents(), *(line for title, entries in STAGES for line in _stage(title, entries))))


def anchor(event: str) -> str:
    """Where an event stands on the page: what GitHub makes of its heading."""
    return event.replace(".", "")


def _contents() -> Iterator[str]:
    for title, entries in STAGES:
        yield f"**{title}**: {' · '.join(f'[{entry.name}](#{anchor(entry.name)})' for entry in entries)}\n"


def _stage(title: str, entries: tuple[Entry, ...]) -> Iterator[str]:
    yield f"## {title}\n"
    for entry in entries:
        yield f"### {entry.name}\n"
        yield f"{' or '.join(f'`{level}`' for level in entry.levels)} · {entry.meaning}\n"
        yield f"* What to do: {entry.action}"
        if entry.fields:
            yield f"* Fields: {_listed(entry.fields)}"
        if metrics := metrics_of(entry):
            yield f"* Metrics: {_listed(metrics)}"
        if entry.alerts:
            yield f"* Alerts: {_listed(entry.alerts)}"
        yield ""


def metrics_of(entry: Entry) -> list[str]:
    """The metrics that tell of the same, by their whole names."""
    named = [f"notifier_{name}" for name in entry.metrics]
    is_counted = bool({"warning", "error"} & set(entry.levels))
    return [*named, f'notifier_log_lines_total{{event="{entry.name}"}}'] if is_counted else named


def _listed(names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
