"""`notifier logs`: the catalogue, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from notifier.watching.catalogue import CATALOGUE

Notifier = Callable[..., int]


def test_json_is_the_contract_s(notifier: Notifier, capsys: pytest.CaptureFixture[str]) -> None:
    assert notifier("logs", "--json") == 0

    rows = json.loads(capsys.readouterr().out)
    assert [row["event"] for row in rows] == [entry.name for entry in CATALOGUE]
    assert {tuple(row) for row in rows} == {("event", "level", "fields", "meaning", "action")}


def test_the_table_has_every_event(notifier: Notifier, capsys: pytest.CaptureFixture[str]) -> None:
    assert notifier("logs") == 0

    said = capsys.readouterr().out
    assert [entry.name for entry in CATALOGUE if entry.name not in said] == []


def test_one_line_is_explained_whole(notifier: Notifier, capsys: pytest.CaptureFixture[str]) -> None:
    """Who is called at night has a name, and wants what it means and what to do."""
    assert notifier("logs", "key.expiring") == 0

    said = " ".join(capsys.readouterr().out.split())
    (entry,) = [one for one in CATALOGUE if one.name == "key.expiring"]
    assert said.startswith("key.expiring warning A key of this channel")
    assert all(part in said for part in (entry.meaning, f"What to do: {entry.action}", ", ".join(entry.fields)))
    assert "notifier_channel_keys_end_timestamp_seconds" in said
    assert "NotifierKeyExpiring" in said


def test_a_kind_is_all_of_its_lines(notifier: Notifier, capsys: pytest.CaptureFixture[str]) -> None:
    assert notifier("logs", "settings", "--json") == 0

    rows = json.loads(capsys.readouterr().out)
    assert [row["event"] for row in rows] == ["settings.reloaded", "settings.refused"]


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("delivery.exausted", "Did you mean delivery.exhausted"),
        ("expiring", "Did you mean key.expiring?"),
        ("zzz", "`notifier logs` has them all."),
    ],
)
def test_a_name_that_is_none_is_told_with_its_neighbours(
    name: str, remedy: str, notifier: Notifier, capsys: pytest.CaptureFixture[str]
) -> None:
    assert notifier("logs", name) == 2

    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith(f"notifier logs: NAME: no log line is called {name!r}. {remedy}")
