"""
What watches it, `deploy/alerts`, `deploy/dashboards` and `deploy/runbook.md`, is held to the code and to one another.

Expressions are read by Prometheus' own grammar. What a rule does is shown with the series in `deploy/alerts/*.test.yml`: by
`tests/promql.py` everywhere, and by Prometheus' promtool where there is one on the path (Debian: `apt install prometheus`).
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client import Metric

from notifier import metrics
from notifier.watching.catalogue import CATALOGUE
from notifier.watching.runbook import anchor, markdown
from tests import promql

DEPLOY = Path(__file__).parents[2] / "deploy"
ALERTS = DEPLOY / "alerts"
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((ALERTS / "notifier.rules.yml").read_text())["groups"] for rule in group["rules"]
]
TESTS = sorted(ALERTS.glob("*.test.yml"))
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "dashboards" / "notifier.json").read_text())
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
ENTRIES = {entry.name: entry for entry in CATALOGUE}
OF_PROMETHEUS = {"le", "instance"}
"""Labels that are there beside a metric's own."""


def _labels_of() -> dict[str, set[str]]:
    """The names under which Prometheus knows each metric, and the labels that it has."""
    known: dict[str, set[str]] = {}
    for name, labels in metrics.LABELS.items():
        family = next(one for one in metrics.REGISTRY.collect() if name in _names(one))
        for one in _names(family):
            known[one] = set(labels)
    return known


def _names(family: Metric) -> list[str]:
    match family.type:
        case "counter":
            return [f"{family.name}_total"]
        case "histogram":
            return [f"{family.name}_bucket", f"{family.name}_sum", f"{family.name}_count", family.name]
        case _:
            return [family.name]


KNOWN = _labels_of()


def _selectors(node: object) -> Iterator[tuple[str, set[str]]]:
    """Each metric that an expression names, with the labels that it is chosen by."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node.name or "", {matcher.name for matcher in node.matchers.matchers}
    for part in ("lhs", "rhs", "expr", "param", "vector_selector"):
        if (inner := getattr(node, part, None)) is not None:
            yield from _selectors(inner)
    for argument in getattr(node, "args", None) or []:
        yield from _selectors(argument)


def _read(expression: str) -> set[tuple[str, frozenset[str]]]:
    """An expression's metrics, as a dashboard's or a rule's; what Grafana puts in is there as it would be."""
    filled = expression.replace("$__rate_interval", "5m").replace("$channel", ".*").replace("$endpoint", ".*")
    found = list(_selectors(promql_parser.parse(filled)))
    assert found, "it asks nothing"
    return {(name, frozenset(labels)) for name, labels in found}


def _grouped_by(expression: str) -> set[str]:
    """The labels that an expression keeps apart, or joins metrics by."""
    return {label.strip() for by in re.findall(r"\b(?:by|on) \(([^)]*)\)", expression) for label in by.split(",")}


EXPRESSIONS = [pytest.param(rule["expr"], id=rule["alert"]) for rule in RULES] + [
    pytest.param(target["expr"], id=f"{panel['title']} {target['refId']}")
    for panel in PANELS
    for target in panel["targets"]
]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_asks_what_there_is(expression: str) -> None:
    """A metric that nobody writes, or a label that it has not, is an alarm that never comes and a panel that stays empty."""
    for name, labels in _read(expression):
        assert name in KNOWN
        assert labels <= KNOWN[name] | OF_PROMETHEUS
    assert _grouped_by(expression) <= set[str]().union(*(KNOWN[name] for name, _ in _read(expression))) | OF_PROMETHEUS


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_asks_for_values_that_there_are(expression: str) -> None:
    """The events are those of the catalogue, the services those that speak."""
    events = [one for value in re.findall(r'event=~?"([^"]*)"', expression) for one in value.split("|")]

    assert [event for event in events if event not in ENTRIES] == []
    assert set(re.findall(r'service="([^"]*)"', expression)) <= {"ingress", "orders", "fanout"}
    assert set(re.findall(r'outcome="([^"]*)"', expression)) <= {"accepted", "rejected", "not_stored", "failed", "dead"}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_rule_names_its_line_and_its_place_in_the_runbook(rule: dict[str, Any]) -> None:
    """Whoever is called by it begins to read there."""
    entry = ENTRIES[rule["labels"]["line"]]

    assert rule["alert"] in entry.alerts
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"]["runbook"] == f"deploy/runbook.md#{anchor(entry.name)}"
    assert f"### {entry.name}\n" in markdown()
    assert rule["annotations"]["summary"].endswith(".")


def test_each_alert_is_a_rule() -> None:
    """And no two rules have one name."""
    names = [rule["alert"] for rule in RULES]

    assert sorted(names) == sorted({alert for entry in CATALOGUE for alert in entry.alerts})


def test_each_error_has_an_alert() -> None:
    """An error is something that a person must act on, so it calls one."""
    assert [entry.name for entry in CATALOGUE if "error" in entry.levels and not entry.alerts] == []


def test_each_metric_of_a_line_is_there_and_each_metric_is_some_lines() -> None:
    """The runbook says for each line where to look, and leaves none out."""
    named = {f"notifier_{name}" for entry in CATALOGUE for name in entry.metrics}

    assert named <= KNOWN.keys()
    assert set(metrics.LABELS) - named == {"notifier_log_lines_total"}, "that one is every line's"


def test_the_dashboard_leaves_no_metric_out() -> None:
    """What is measured is shown."""
    shown = {name for panel in PANELS for target in panel["targets"] for name, _ in _read(target["expr"])}

    assert [name for name in metrics.LABELS if not shown & {name, f"{name}_bucket"}] == []


def test_the_dashboard_fits_and_nothing_lies_on_anything() -> None:
    """24 columns; each panel its own place and number; what a panel's text calls a line is one."""
    cells = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]

    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    words = {word for panel in PANELS for word in re.findall(r"\b[a-z]+\.[a-z_]+\b", panel["description"])}
    assert words - {"runbook.md"} <= ENTRIES.keys()


def test_the_runbook_is_current() -> None:
    """`.venv/bin/notifier logs --markdown > deploy/runbook.md` writes it."""
    assert (DEPLOY / "runbook.md").read_text(encoding="utf-8") == markdown()


def test_each_rule_has_a_fault_that_it_is_shown_with() -> None:
    """One that was never seen to fire may never do."""
    told = "".join(path.read_text() for path in TESTS)

    assert [rule["alert"] for rule in RULES if f'alertname="{rule["alert"]}"' not in told] == []


@pytest.mark.parametrize(
    ("every_s", "test"),
    [
        pytest.param(every_s, test, id=name)
        for path in TESTS
        for name, every_s, test in promql.read_tests(path.read_text())
    ],
)
def test_a_rule_fires_with_its_fault_and_is_quiet_without(every_s: float, test: Mapping[str, Any]) -> None:
    """Of all rules exactly those whose fault it is."""
    for at, want, have in promql.run(test, RULES, every_s):
        assert have == want, at


def test_promtool_says_the_same() -> None:
    """What `tests/promql.py` makes of the rules is what Prometheus makes of them."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool on the path (Debian: apt install prometheus)")

    ran = subprocess.run([promtool, "test", "rules", *TESTS], capture_output=True, text=True, timeout=120, check=False)

    assert ran.returncode == 0, ran.stdout + ran.stderr
