"""Tables in a terminal: what is in a cell is all there, and nothing in it is taken for markup."""

from __future__ import annotations

import io
from collections import Counter

import pytest
from rich.console import Console
from rich.text import Text

from notifier.cli.tables import add, table


def drawn(width: int, *cells: str | Text) -> str:
    shown = table("id", "received", "order", "reason", "amount", "")
    add(shown, *cells)
    screen = io.StringIO()
    Console(file=screen, width=width).print(shown)
    return screen.getvalue()


@pytest.mark.parametrize("width", [80, 72, 64])
def test_a_narrow_terminal_cuts_nothing_off(width: int) -> None:
    """Half an amount is another amount: HK$128.00 was once seen as HK$128.0."""
    cells = "14-0", "2026-11-24 12:59", "shop-hkd/T1", "currency_mismatch", "HK$123,456.78", "held"

    assert Counter("".join(cells)) <= Counter(drawn(width, *cells))


def test_brackets_are_no_markup() -> None:
    assert "[/red]" in drawn(80, "14-0", "", "[/red]", "[b]", "", "")
