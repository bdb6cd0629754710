"""`notifier logs`: the catalogue of log lines, for who reads them."""

from __future__ import annotations

from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from notifier.catalogue import CATALOGUE, Entry
from notifier.cli.options import AsJson, print_json
from notifier.runbook import markdown

_LEVEL_STYLES = {"info": "green", "warning": "yellow", "error": "red"}


AsMarkdown = Annotated[
    bool, typer.Option("--markdown", help="Print the runbook, with the metrics and alerts of each line.")
]


def logs(as_json: AsJson = False, as_markdown: AsMarkdown = False) -> None:
    """
    Explain each log line: what it means, and what to do about it.

    Every service writes its log on stdout, one JSON object a line. `event` is the name in this table. Beside the fields that
    are listed, each line has `timestamp`, `level`, `event`, `service`, `instance` and `version`.

    Levels: `info` is a result, `warning` mends itself, `error` needs a person now.
    """
    if as_json:
        print_json([entry.as_json() for entry in CATALOGUE])
        return
    if as_markdown:
        print(markdown(), end="")
        return
    table = Table(box=box.SIMPLE_HEAD, show_lines=True, pad_edge=False)
    table.add_column("event", ratio=3)
    table.add_column("meaning", ratio=4)
    table.add_column("what to do", ratio=4)
    for entry in CATALOGUE:
        table.add_row(_head(entry), Text(entry.meaning), Text(entry.action))
    Console().print(table)


def _head(entry: Entry) -> Text:
    text = Text(entry.name, style="bold")
    for at, level in enumerate(entry.levels):
        text.append("\n" if at == 0 else " or ", style="not bold")
        text.append(level, style=f"not bold {_LEVEL_STYLES.get(level, '')}")
    text.append(f"\n{' '.join(entry.fields)}", style="not bold dim")
    return text


def register(app: typer.Typer) -> None:
    """Mount the command."""
    app.command("logs", epilog="Example: `notifier logs --json`")(logs)
