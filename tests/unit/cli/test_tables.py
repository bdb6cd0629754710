"""Tables in a terminal: what is in a cell is all there, in one piece, and nothing in it is taken for markup."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from notifier.cli import tables
from notifier.cli.tables import Listing, add, table

ENDPOINTS = ("endpoint", "state", "accepted", "p50/p99 ms", "waiting", "next", "dead")
ORDERS = ("changed", "order", "", "status", "amount", "paid", "flags")
QUARANTINE = ("id", "received", "order", "reason", "amount", "")
DELIVERIES = ("last news", "endpoint", "order", "", "state", "answer, and what is next")
SHOWN = {
    "endpoints": (
        ENDPOINTS,
        ("shop-oms", "suspended", "100.0% of 1500", "812/9901", "1500 for 12 min", "in 55 s", "12"),
    ),
    "an endpoint with the longest name": (ENDPOINTS, ("e" * 40, "active", "", "", "", "", "")),
    "a flagged order": (
        ORDERS,
        (
            "2026-11-24 15:49",
            "shop-hkd/T1",
            "v2",
            "paid",
            "HK$128.00",
            "HK$128.00",
            "amount_mismatch refund_amount_unknown",
        ),
    ),
    "the longest order number": (
        ORDERS,
        ("2026-11-24 15:49", f"shop/{'9' * 64}", "v2", "paid", "HK$1.00", "HK$1.00", ""),
    ),
    "quarantine": (
        QUARANTINE,
        ("14-0", "2026-11-24 12:59", "shop-hkd/T1", "currency_mismatch", "HK$123,456.78", "held"),
    ),
    "a word that is longer than its place": (("order", "why"), ("o" * 35, f"for {'w' * 29}")),
    "deliveries": (
        DELIVERIES,
        ("11-24 15:50:30", "shop-oms", "shop-hkd/T12", "v1", "waiting", "nobody listens there; waits for 81 s"),
    ),
}


def listing(columns: tuple[str, ...], cells: tuple[str, ...]) -> Listing:
    shown = table(*columns)
    add(shown, *cells)
    return shown


def drawn(width: int, shown: Listing) -> str:
    screen = io.StringIO()
    Console(file=screen, width=width).print(shown)
    return screen.getvalue()


@pytest.mark.parametrize("width", [120, 80, 72, 64])
@pytest.mark.parametrize(("columns", "cells"), SHOWN.values(), ids=SHOWN.keys())
def test_nothing_is_cut_and_no_word_is_broken(width: int, columns: tuple[str, ...], cells: tuple[str, ...]) -> None:
    """Half an amount is another amount, and `oldes` and `_misma` are no words: each was seen in a terminal of 80."""
    said = drawn(width, listing(columns, cells))

    words = {word.rstrip(",;") for cell in cells for word in cell.split() if len(word) < width - 5}
    assert words - {word.rstrip(",;") for word in said.split()} == set()
    assert [line for line in said.splitlines() if len(line) > width or line != line.rstrip()] == []


def test_the_usual_lists_are_tables_in_eighty_columns() -> None:
    """What is a table is read column by column; a paragraph for each row is the way out, not the rule."""
    for name in ("endpoints", "quarantine", "deliveries"):
        said = drawn(80, listing(*SHOWN[name])).splitlines()
        assert [word for column in SHOWN[name][0] for word in column.split() if word not in said[1]] == [], name


def test_what_has_no_place_beside_stands_below_its_row() -> None:
    said = drawn(80, listing(*SHOWN["a flagged order"])).splitlines()

    assert said[1].split() == ["changed", "order", "status", "amount", "paid"]
    assert said[3].split() == ["2026-11-24", "15:49", "shop-hkd/T1", "v2", "paid", "HK$128.00", "HK$128.00"]
    assert said[4].strip() == "flags: amount_mismatch refund_amount_unknown"


def test_behind_a_pipe_a_row_is_a_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Who greps for an order wants all that stands beside it; a pipe has no width."""
    monkeypatch.delenv("COLUMNS")

    tables.screen().print(listing(*SHOWN["a flagged order"]))

    (line,) = [line for line in capsys.readouterr().out.splitlines() if "shop-hkd/T1" in line]
    assert line.endswith("amount_mismatch refund_amount_unknown")


def test_brackets_are_no_markup() -> None:
    assert "[/red]" in drawn(80, listing(QUARANTINE, ("14-0", "", "[/red]", "[b]", "", "")))


def test_a_newline_in_a_cell_begins_a_line_there() -> None:
    said = drawn(80, listing(("part", "finding"), ("keys", "is a test key\n→ Put the real one there.")))

    assert said.splitlines()[3:5] == [" keys  is a test key", "       → Put the real one there."]
