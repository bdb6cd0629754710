"""The code is held to the catalogue of log lines, and the catalogue to the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from notifier.watching.catalogue import CATALOGUE, Entry

ROOT = Path(__file__).parents[2]
LEVELS = ("debug", "info", "warning", "error")
ON_EVERY_LINE = {"timestamp", "level", "event", "service", "instance"}
# Nothing under such a name belongs into a log line (S12).
NEVER = re.compile(r"token|secret|sign(ature)?$|body$|buyer|email|phone|password|payload|headers|url$")
ENTRIES = {entry.name: entry for entry in CATALOGUE}
_LOGGERS = {"log", "_log"}


@dataclass(frozen=True, slots=True)
class Line:
    """One place in the code that writes a log line."""

    place: str
    level: str
    event: str | None
    fields: frozenset[str]
    """Those that are passed on (`**fields`) among them."""


def _lines_in(path: Path) -> Iterator[Line]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    chosen = dict(_chosen_levels(tree))
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute() as method) if (level := _level(method)) is not None:
                yield _line(tree, node, level, f"{path.relative_to(ROOT)}:{node.lineno}")
            case ast.Call(func=ast.Name(id=name)) if name in chosen:
                for level in chosen[name]:
                    yield _line(tree, node, level, f"{path.relative_to(ROOT)}:{node.lineno}")


def _chosen_levels(tree: ast.Module) -> Iterator[tuple[str, tuple[str, ...]]]:
    """`write = log.error if it_lasts else log.warning`: from then on `write` is either."""
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.IfExp(body=one, orelse=other)):
                levels = (_level(one), _level(other))
                if None not in levels:
                    yield name, tuple(level for level in levels if level is not None)


def _level(node: ast.expr) -> str | None:
    match node:
        case ast.Attribute(value=ast.Name(id=logger), attr=method) if logger in _LOGGERS:
            level = "error" if method == "exception" else method
            return level if level in LEVELS else None
    return None


def _line(tree: ast.Module, call: ast.Call, level: str, place: str) -> Line:
    names: set[str] = set()
    for keyword in call.keywords:
        names |= {keyword.arg} if keyword.arg is not None else _passed_on(tree, keyword.value)
    if "exc_info" in names or (isinstance(call.func, ast.Attribute) and call.func.attr == "exception"):
        names = names - {"exc_info"} | {"error", "where"}
    event = call.args[0].value if call.args and isinstance(call.args[0], ast.Constant) else None
    return Line(
        place=place,
        level=level,
        event=event if isinstance(event, str) else None,
        fields=frozenset(names),
    )


def _passed_on(tree: ast.Module, node: ast.expr) -> set[str]:
    """The names in what stands behind `**`: a dict as it is written, a variable or a function of the file, or `failure`."""
    match node:
        case ast.Dict(keys=keys):
            return {str(key.value) for key in keys if isinstance(key, ast.Constant)}
        case ast.IfExp(body=one, orelse=other):
            return _passed_on(tree, one) | _passed_on(tree, other)
        case ast.Call(func=ast.Name(id="failure")):
            return {"error", "where"}
        case ast.Call(func=ast.Name(id=name)) | ast.Name(id=name):
            found = [_passed_on(tree, value) for value in _values_of(tree, name)]
            assert found, f"nobody can see which fields **{name} holds"
            return set().union(*found)
    raise AssertionError(f"nobody can see which fields **{ast.unparse(node)} holds")


def _values_of(tree: ast.Module, name: str) -> Iterator[ast.expr]:
    """What a variable of the file is set to or updated with, or what a function of it returns."""
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=[ast.Name(id=target)], value=value) if target == name:
                yield value
            case ast.AnnAssign(target=ast.Name(id=target), value=ast.expr() as value) if target == name:
                yield value
            case ast.Call(func=ast.Attribute(value=ast.Name(id=target), attr="update"), args=[value]) if target == name:
                yield value
            case ast.FunctionDef(name=target) if target == name:
                yield from (inner.value for inner in ast.walk(node) if isinstance(inner, ast.Return) and inner.value)


LINES = [
    line
    for package in ("notifier", "consumers")
    for path in sorted((ROOT / package).rglob("*.py"))
    for line in _lines_in(path)
]


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.place)
def test_every_line_is_in_the_catalogue(line: Line) -> None:
    """Name, level and fields: whoever watches knows each line before it comes."""
    assert line.event is not None, "the name of an event stands where the line is written"
    assert line.event in ENTRIES, "add it to notifier/watching/catalogue.py, with its meaning and what to do"
    entry = ENTRIES[line.event]
    assert line.level in entry.levels
    assert line.fields <= set(entry.fields)


def test_every_entry_is_written_somewhere() -> None:
    """An entry that no code writes is an alarm that never comes."""
    written = {line.event for line in LINES}

    assert {name for name in ENTRIES if name not in written} == set()


def test_every_field_of_an_entry_is_written_somewhere() -> None:
    """A field that no line has is a promise that is not kept."""
    given = {name: set[str]() for name in ENTRIES}
    for line in LINES:
        if line.event in given:
            given[line.event] |= line.fields

    missing = {name: set(ENTRIES[name].fields) - fields for name, fields in given.items()}

    assert {name: fields for name, fields in missing.items() if fields} == {}


@pytest.mark.parametrize("entry", CATALOGUE, ids=lambda entry: entry.name)
def test_an_entry_says_what_it_means_and_what_to_do(entry: Entry) -> None:
    """For someone who is woken by it."""
    assert re.fullmatch(r"[a-z]+\.[a-z_]+", entry.name)
    assert set(entry.levels) <= set(LEVELS)
    assert entry.meaning.endswith(".")
    assert entry.action.endswith(".")
    if "error" in entry.levels:
        assert entry.action != "None.", "an error is something that a person must act on"
    assert set(entry.as_json()) == {"event", "level", "fields", "meaning", "action"}


@pytest.mark.parametrize("entry", CATALOGUE, ids=lambda entry: entry.name)
def test_no_field_could_hold_a_secret_or_a_person(entry: Entry) -> None:
    """Ids, counts, sizes and durations; never bodies, keys, signatures, payer data (S12)."""
    assert not [name for name in entry.fields if NEVER.search(name)]
    assert not ON_EVERY_LINE & set(entry.fields)


def test_no_name_stands_twice() -> None:
    """Two entries of one name would hide one another."""
    assert len(ENTRIES) == len(CATALOGUE)


CONTRACT = """
notification.accepted           info            verdict body_bytes duration_ms
notification.rejected           warning         reason channel count
notification.not_stored         error           reason
order.changed                   info            event_type status version since_received_ms
evidence.repeated               info
evidence.quarantined            warning         reason
delivery.attempted              info            attempt outcome status_code duration_ms retry_in_s since_received_ms
delivery.exhausted              error
endpoint.suspended              warning
endpoint.resumed                info
job.progress                    info            lag oldest_age_s in_flight waiting
view.repaired                   warning         records duration_ms
log.healed                      warning         records
kafka.unavailable               warning/error
kafka.recovered                 info
redis.unavailable               warning/error
redis.recovered                 info
producer.replaced               warning
partition.stuck                 warning/error   topic partition
channel.failing                 error           channel
channel.silent                  warning         channel
key.expiring                    warning         channel not_after
evidence.resent_late            warning         channel order evidence_id
service.started                 info            public internal listen
service.stopped                 info
partitions.assigned             info            topic partitions
partitions.revoked              info            topic partitions
"""
"""Contract, section 8: other people's queries and alarms hold to these names."""


@pytest.mark.parametrize("line", CONTRACT.strip().splitlines(), ids=lambda line: line.split()[0])
def test_the_lines_of_the_contract_are_there(line: str) -> None:
    """With their levels and fields; more fields may come beside them."""
    name, levels, *named = line.split()

    assert ENTRIES[name].levels == tuple(levels.split("/"))
    assert set(named) <= set(ENTRIES[name].fields)
