"""Tables and cells as the commands that look things up show them."""

from __future__ import annotations

from rich import box
from rich.table import Table
from rich.text import Text

from notifier.cli.words import money, plain

_WHOLE = frozenset(
    (
        "",
        "id",
        "order",
        "changed",
        "received",
        "last news",
        "endpoint",
        "accepted",
        "p50/p99 ms",
        "waiting",
        "oldest",
        "next",
        "dead",
        "kind",
        "reason",
        "status",
        "state",
        "amount",
        "paid",
        "refunded",
    )
)
"""Columns that stay in one piece where a terminal is narrow, as long as others can fold."""


def table(*columns: str, title: str | None = None) -> Table:
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left", title_style="bold")
    for column in columns:
        is_money = column in {"amount", "paid", "refunded"}
        made.add_column(
            column,
            overflow="fold",
            no_wrap=column in _WHOLE,
            justify="right" if is_money else "left",
        )
    return made


def add(shown: Table, *cells: str | Text) -> None:
    """
    Add a row. A text that may be a stranger's is shown as it is, whatever rich would read into its brackets.

    Where there is no room at all a cell folds: half an amount would be another amount.
    """
    texts = [cell if isinstance(cell, Text) else Text(cell) for cell in cells]
    for one in texts:
        one.no_wrap = False
    shown.add_row(*texts)


_STATUS_STYLES = {"paid": "green", "refunded": "magenta", "closed": "dim"}


def status(status: str) -> Text:
    return Text(plain(status), style=_STATUS_STYLES.get(status, ""))


def money_cell(amount: object, currency: str) -> str:
    return money(amount, currency) if isinstance(amount, int) else ""


def text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def rows(value: object) -> list[dict[str, object]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
