"""`notifier logs`: the catalogue, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from notifier.catalogue import CATALOGUE

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
