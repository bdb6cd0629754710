"""What a person sees of a demo: a live table in a terminal, lines elsewhere, then the invariants."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table

from notifier.demo.check import Verdict
from notifier.demo.progress import NOTHING, Seen

LINE_EVERY_S = 1.0


class Showing(Protocol):
    """Takes a look at how it stands, as often as you like."""

    def __call__(self, seen: Seen, now: float) -> None:
        """`now` is in seconds, on any clock."""
        ...


class Screen:
    """Writes for people; on stderr where stdout is for a program."""

    def __init__(self, *, is_quiet_on_stdout: bool) -> None:
        self._console = Console(stderr=is_quiet_on_stdout, highlight=False, soft_wrap=True)

    def tell(self, line: str) -> None:
        """One line."""
        self._console.print(line, markup=False)

    @contextmanager
    def progress(self, posts: int) -> Iterator[Showing]:
        """Show how it goes while the block runs. `posts` is how many there will be if nothing has to be sent again."""
        if not self._console.is_terminal:
            lines = _Lines(self)
            try:
                yield lines
            finally:
                lines.finish()
            return
        with Live(console=self._console, auto_refresh=False) as live:

            def show(seen: Seen, now: float) -> None:
                live.update(_table(seen, posts), refresh=True)

            yield show

    def verdicts(self, verdicts: Sequence[Verdict]) -> None:
        """The invariants, and what breaks them."""
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("")
        table.add_column("what must hold", overflow="fold")
        table.add_column("checked", justify="right")
        table.add_column("broken", justify="right")
        for one in verdicts:
            style = "red" if one.broken else "green"
            table.add_row(one.name, one.law, f"{one.checked:,}", f"[{style}]{one.broken:,}[/]")
        self._console.print(table)
        for one in verdicts:
            for example in one.examples:
                self._console.print(f"{one.name} broken: {example}", markup=False)


class _Lines:
    """A line when something has changed, at most one every `LINE_EVERY_S`; how it stood last is never left out."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._next_at = 0.0
        self._seen = self._told = NOTHING

    def __call__(self, seen: Seen, now: float) -> None:
        self._seen = seen
        if now >= self._next_at and self._tell():
            self._next_at = now + LINE_EVERY_S

    def finish(self) -> None:
        """Tell what is not told yet."""
        self._tell()

    def _tell(self) -> bool:
        if self._seen == self._told:
            return False
        self._screen.tell(line(self._seen))
        self._told = self._seen
        return True


def line(seen: Seen) -> str:
    """All of it on one line."""
    return (
        f"accepted {seen.accepted}  rejected {seen.rejected}  orders {_statuses(seen)}  "
        f"delivered {seen.delivered}  waiting {seen.waiting}  {_latency(seen)}"
    )


def _table(seen: Seen, posts: int) -> Table:
    table = Table(box=box.SIMPLE, show_header=False, pad_edge=False)
    table.add_column(style="dim")
    table.add_column()
    table.add_row(
        "AlipayHK was answered", f"{seen.accepted:,} success, {seen.rejected:,} refused   (of some {posts:,})"
    )
    if seen.unanswered:
        table.add_row("", f"{seen.unanswered:,} not stored, to be sent again")
    table.add_row("orders", _statuses(seen))
    table.add_row("webhooks", f"{seen.delivered:,} delivered, {seen.waiting:,} waiting")
    table.add_row("from POST to webhook", _latency(seen))
    return table


def _statuses(seen: Seen) -> str:
    return ", ".join([f"{count} {status}" for status, count in sorted(seen.by_status.items())]) or "none"


def _latency(seen: Seen) -> str:
    if seen.p50_ms is None or seen.p99_ms is None:
        return "p50 -, p99 -"
    return f"p50 {seen.p50_ms:.0f} ms, p99 {seen.p99_ms:.0f} ms"
