"""`notifier logs`: the catalogue of log lines, for who reads them."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from notifier.cli.options import AsJson, NoConfigFile, print_json
from notifier.cli.tables import indented, screen
from notifier.watching.catalogue import CATALOGUE, Entry
from notifier.watching.runbook import markdown, metrics_of

NEAR_MAX = 5
_LEVEL_STYLES = {"info": "green", "warning": "yellow", "error": "red"}


Name = Annotated[
    str | None, typer.Argument(metavar="NAME", help="Only this line: delivery.exhausted. Or all of a kind: delivery.")
]
AsMarkdown = Annotated[
    bool, typer.Option("--markdown", help="Print the runbook, with the metrics and alerts of each line.")
]


def logs(
    name: Name = None, as_json: AsJson = False, as_markdown: AsMarkdown = False, _config_file: NoConfigFile = None
) -> None:
    """
    Explain each log line, or one: what it means, and what to do about it.

    Every service writes its log on stdout, one JSON object a line. `event` is the name in this list. Beside the fields that
    are listed, each line has `timestamp`, `level`, `event`, `service`, `instance` and `version`.

    Levels: `info` is a result, `warning` mends itself, `error` needs a person now.
    """
    if as_markdown and name is not None:
        raise typer.BadParameter("the runbook has all lines; leave the name out.", param_hint="--markdown")
    if as_markdown:
        print(markdown(), end="")
        return
    entries = CATALOGUE if name is None else _named(name)
    if as_json:
        print_json([entry.as_json() for entry in entries])
    else:
        console = screen()
        for entry in entries:
            _print_one(console, entry)


def _named(name: str) -> list[Entry]:
    """
    One line, or all of a kind.

    Raises:
        typer.BadParameter: there is none of this name; with those that may be meant.
    """
    found = [entry for entry in CATALOGUE if name in (entry.name, entry.name.partition(".")[0])]
    if found:
        return found
    names = [entry.name for entry in CATALOGUE]
    holding = [one for one in names if name in one]
    near = holding or get_close_matches(name, names, n=NEAR_MAX, cutoff=0.5)
    remedy = f"Did you mean {', '.join(near[:NEAR_MAX])}?" if near else "`notifier logs` has them all."
    raise typer.BadParameter(f"no log line is called {name!r}. {remedy}", param_hint="NAME")


def _print_one(console: Console, entry: Entry) -> None:
    head = Text(entry.name, style="bold").append("  ")
    console.print(head.append(_levels(entry)), soft_wrap=True)
    said = [Text(entry.meaning), Text(f"What to do: {entry.action}")]
    for title, names in (("Fields", entry.fields), ("Metrics", metrics_of(entry)), ("Alerts", entry.alerts)):
        if names:
            said.append(Text(f"{title}: {', '.join(names)}", style="dim"))
    for one in said:
        console.print(*indented(console, one, "  "), sep="\n")
    console.print()


def _levels(entry: Entry) -> Text:
    text = Text(style="not bold")
    for at, level in enumerate(entry.levels):
        text.append(" or " if at else "").append(level, style=_LEVEL_STYLES.get(level, ""))
    return text


def register(app: typer.Typer) -> None:
    """Mount the command."""
    app.command("logs", epilog="Example: `notifier logs delivery.exhausted`")(logs)
