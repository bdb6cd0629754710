"""
So much of Prometheus as our alert rules need, for machines that have no promtool: rules, over series that a test file gives.

Prometheus' own grammar reads the expressions (promql-parser); what they come to is worked out here: selectors with offsets,
`rate`, `increase` and `changes`, `sum` and `max`, comparisons, arithmetic, `and`, `or`, `unless`, `absent`, `time`. Anything else
is an error, never a guess. Extrapolation, staleness and pending follow Prometheus 3 (promql/functions.go, rules/alerting.go).
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Any

import promql_parser
import yaml

Labels = frozenset[tuple[str, str]]
Vector = dict[Labels, float]
Value = Vector | float

LOOK_BACK_S = 300.0
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_SERIES = re.compile(r"(\w+)(?:\{(.*)\})?")
_VALUES = re.compile(r"(_|stale|-?[0-9.]+)([+-][0-9.]+)?(?:x([0-9]+))?")


def seconds(text: str) -> float:
    """A duration as Prometheus writes it: `30m`."""
    return float(text[:-1]) * _UNITS[text[-1]]


def labels_in(text: str | None) -> Labels:
    """`a="1", b="2"`, as labels."""
    return frozenset(re.findall(r'(\w+)="([^"]*)"', text or ""))


@dataclass(frozen=True, slots=True)
class Series:
    """One time series; a value of NaN ends it (Prometheus' stale marker)."""

    name: str
    labels: Labels
    times: list[float]
    values: list[float]

    @classmethod
    def read(cls, series: str, values: str, interval_s: float) -> Series:
        """As promtool's test files write it: `0x10 1+2x5 _ stale`."""
        named = _SERIES.fullmatch(series)
        assert named is not None, series
        expanded: list[float | None] = []
        for word in values.split():
            given = _VALUES.fullmatch(word)
            assert given is not None, word
            first, step, more = given[1], float(given[2] or 0), int(given[3] or 0)
            match first:
                case "_":
                    expanded += [None] * max(more, 1)
                case "stale":
                    expanded.append(math.nan)
                case _:
                    expanded += [float(first) + step * at for at in range(more + 1)]
        there = [(at * interval_s, value) for at, value in enumerate(expanded) if value is not None]
        return cls(named[1], labels_in(named[2]), [at for at, _ in there], [value for _, value in there])

    def at(self, now: float) -> float | None:
        """Its value then, if it has a fresh one."""
        index = bisect_right(self.times, now) - 1
        if index < 0 or self.times[index] <= now - LOOK_BACK_S or math.isnan(self.values[index]):
            return None
        return self.values[index]

    def between(self, begin: float, end: float) -> list[tuple[float, float]]:
        """Its values in a range, the begin not included."""
        first, last = bisect_right(self.times, begin), bisect_right(self.times, end)
        return [
            (at, value)
            for at, value in zip(self.times[first:last], self.values[first:last], strict=True)
            if not math.isnan(value)
        ]


class Evaluator:
    """What expressions come to, over some series."""

    def __init__(self, series: Iterable[Series]) -> None:
        self._by_name: dict[str, list[Series]] = {}
        for one in series:
            self._by_name.setdefault(one.name, []).append(one)

    def vector(self, node: Any, now: float) -> Vector:
        """The value of an expression, which must be a vector."""
        value = self.value(node, now)
        assert isinstance(value, dict), "it is a number"
        return value

    def value(self, node: Any, now: float) -> Value:
        """The value of an expression."""
        match node:
            case promql_parser.NumberLiteral():
                return float(node.val)
            case promql_parser.ParenExpr():
                return self.value(node.expr, now)
            case promql_parser.VectorSelector():
                then = now - _offset_s(node)
                found = {one.labels: one.at(then) for one in self._chosen(node)}
                return {labels: value for labels, value in found.items() if value is not None}
            case promql_parser.Call():
                return self._call(node, now)
            case promql_parser.AggregateExpr():
                return _aggregated(str(node.op), self.vector(node.expr, now), node.modifier)
            case promql_parser.BinaryExpr():
                return _combined(str(node.op), self.value(node.lhs, now), self.value(node.rhs, now), node.modifier)
        raise NotImplementedError(type(node).__name__)

    def _chosen(self, node: Any) -> list[Series]:
        return [
            one
            for one in self._by_name.get(node.name, [])
            if all(_matches(matcher, dict(one.labels).get(matcher.name, "")) for matcher in node.matchers.matchers)
        ]

    def _call(self, node: Any, now: float) -> Value:
        match node.func.name:
            case "time":
                return now
            case "absent":
                (argument,) = node.args
                equal = [one for one in argument.matchers.matchers if str(one.op) == "MatchOp.Equal"]
                is_there = bool(self.vector(argument, now))
                return {} if is_there else {frozenset((one.name, one.value) for one in equal): 1.0}
            case "increase" | "rate" | "changes" as function:
                (matrix,) = node.args
                selector, range_s = matrix.vector_selector, matrix.range.total_seconds()
                end = now - _offset_s(selector)
                found = {
                    one.labels: _over(function, one.between(end - range_s, end), end - range_s, end)
                    for one in self._chosen(selector)
                }
                return {labels: value for labels, value in found.items() if value is not None}
        raise NotImplementedError(node.func.name)


def _offset_s(node: Any) -> float:
    offset: timedelta | None = node.offset
    return offset.total_seconds() if offset is not None else 0.0


def _matches(matcher: Any, value: str) -> bool:
    match str(matcher.op):
        case "MatchOp.Equal":
            return bool(value == matcher.value)
        case "MatchOp.NotEqual":
            return bool(value != matcher.value)
        case "MatchOp.Re":
            return re.fullmatch(matcher.value, value) is not None
    raise NotImplementedError(str(matcher.op))


def _over(function: str, samples: list[tuple[float, float]], begin: float, end: float) -> float | None:
    pairs = list(pairwise(samples))
    if function == "changes":
        return float(sum(one[1] != other[1] for one, other in pairs)) if samples else None
    if not pairs:
        return None
    # extrapolatedRate: a counter that falls began anew; what lies beyond the first and last sample is guessed, within bounds
    total = sum(other[1] - (one[1] if other[1] >= one[1] else 0.0) for one, other in pairs)
    sampled = samples[-1][0] - samples[0][0]
    average = sampled / len(pairs)
    before, after = samples[0][0] - begin, end - samples[-1][0]
    before = before if before < average * 1.1 else average / 2
    after = after if after < average * 1.1 else average / 2
    if total > 0:
        before = min(before, sampled * samples[0][1] / total)
    increase = total * (sampled + before + after) / sampled
    return increase if function == "increase" else increase / (end - begin)


def _aggregated(operator: str, vector: Vector, modifier: Any) -> Vector:
    kept = set(modifier.labels) if modifier is not None else set[str]()
    groups: dict[Labels, list[float]] = {}
    for labels, value in vector.items():
        groups.setdefault(_only(labels, kept), []).append(value)
    match operator:
        case "sum":
            return {labels: sum(values) for labels, values in groups.items()}
        case "max":
            return {labels: max(values) for labels, values in groups.items()}
    raise NotImplementedError(operator)


def _only(labels: Labels, names: Iterable[str]) -> Labels:
    return frozenset(pair for pair in labels if pair[0] in names)


_ARITHMETIC: Mapping[str, Callable[[float, float], float]] = {
    "+": lambda one, other: one + other,
    "-": lambda one, other: one - other,
    "*": lambda one, other: one * other,
    "/": lambda one, other: one / other if other else math.nan,
}
_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    ">": lambda one, other: one > other,
    "<": lambda one, other: one < other,
}


def _combined(operator: str, left: Value, right: Value, modifier: Any) -> Value:
    if isinstance(left, float) and isinstance(right, float):
        return _ARITHMETIC[operator](left, right)
    if isinstance(left, float):
        assert isinstance(right, dict)
        return {labels: _ARITHMETIC[operator](left, value) for labels, value in right.items()}
    on = modifier.matching.labels if modifier is not None and modifier.matching is not None else None

    def matching(labels: Labels) -> Labels:
        return labels if on is None else _only(labels, on)

    if isinstance(right, dict) and operator in ("and", "or", "unless"):
        there = {matching(labels) for labels in (left if operator == "or" else right)}
        if operator == "or":
            return left | {labels: value for labels, value in right.items() if matching(labels) not in there}
        return {labels: value for labels, value in left.items() if (matching(labels) in there) == (operator == "and")}
    others = {matching(labels): value for labels, value in right.items()} if isinstance(right, dict) else None
    result: Vector = {}
    for labels, one in left.items():
        other = right if isinstance(right, float) else (others or {}).get(matching(labels))
        if other is None:
            continue
        if operator in _ARITHMETIC:
            result[labels] = _ARITHMETIC[operator](one, other)
        elif _COMPARISONS[operator](one, other):
            result[labels] = one
    return result


def firing(
    rules: Iterable[Mapping[str, Any]], series: Iterable[Series], every_s: float, at: Iterable[float]
) -> list[set[Labels]]:
    """Which alerts fire at some times, evaluated all along, with the labels that `ALERTS` has of them."""
    evaluator, wanted = Evaluator(series), sorted(at)
    parsed = [(rule, promql_parser.parse(rule["expr"]), seconds(rule.get("for", "0s"))) for rule in rules]
    since: dict[tuple[str, Labels], float] = {}
    found: list[set[Labels]] = []
    steps = [step * every_s for step in range(int(wanted[-1] // every_s) + 1)]
    for index, now in enumerate(steps):
        alerts: set[Labels] = set()
        active: dict[tuple[str, Labels], float] = {}
        for rule, expression, for_s in parsed:
            for labels in evaluator.vector(expression, now):
                key = (rule["alert"], labels)
                active[key] = since.get(key, now)
                if now - active[key] >= for_s:
                    own = {**rule["labels"], "alertname": rule["alert"], "alertstate": "firing"}
                    alerts.add(frozenset(own.items()) | labels)
        since = active
        upto = steps[index + 1] if index + 1 < len(steps) else math.inf
        found += [alerts] * (bisect_left(wanted, upto) - bisect_left(wanted, now))
    return found


def run(
    test: Mapping[str, Any], rules: Iterable[Mapping[str, Any]], every_s: float
) -> list[tuple[str, set[Labels], set[Labels]]]:
    """A test of promtool's format: for each of its times what should fire, and what does."""
    interval_s = seconds(test["interval"])
    series = [Series.read(one["series"], str(one["values"]), interval_s) for one in test.get("input_series", [])]
    cases = sorted(test["promql_expr_test"], key=lambda case: seconds(case["eval_time"]))
    assert {case["expr"] for case in cases} == {'ALERTS{alertstate="firing"}'}, "that is all that is understood here"
    fired = firing(rules, series, every_s, [seconds(case["eval_time"]) for case in cases])
    wanted = [{labels_in(one["labels"]) for one in case["exp_samples"]} for case in cases]
    return [(case["eval_time"], want, have) for case, want, have in zip(cases, wanted, fired, strict=True)]


def read_tests(text: str) -> list[tuple[str, float, Mapping[str, Any]]]:
    """The tests of a file: name, seconds between evaluations, the test."""
    file = yaml.safe_load(text)
    return [(test["name"], seconds(file["evaluation_interval"]), test) for test in file["tests"]]
