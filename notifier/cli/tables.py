"""
Tables and cells as the commands that look things up show them: nothing is ever cut, and no word is broken.

A table that is too wide for its terminal puts its prose below each row, and where that is too wide as well, each row is a
paragraph. Where there is no terminal, nobody says how wide it may be: then it is as wide as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from notifier.cli.words import money, plain
from notifier.config import environment

_PROSE = frozenset(
    (
        "answer, and what is next",
        "as AlipayHK sent it",
        "event",
        "finding",
        "flags",
        "has",
        "last answer",
        "made",
        "needs",
        "why",
    )
)
"""Columns that may fold, between their words."""
_RIGHT = frozenset(("amount", "paid", "refunded"))
_PROSE_CHARS_MIN = 20
"""What is worth a column of its own; a longer word needs more."""
_GAP = "  "
_UNBOUNDED_CHARS = 10_000


def screen() -> Console:
    """Standard output. Behind a pipe it has no width, unless COLUMNS names one."""
    console = Console()
    return console if console.is_terminal or environment().get("COLUMNS") else Console(width=_UNBOUNDED_CHARS)


@dataclass(slots=True)
class Listing:
    """A table for people, which rich can print."""

    columns: tuple[str, ...]
    title: str | None = None
    has_heading: bool = True
    rows: list[tuple[Text, ...]] = field(default_factory=list)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """In the first of the three shapes that fits."""
        yield Text(self.title or "", style="bold")
        every = list(range(len(self.columns)))
        whole = [at for at in every if self.columns[at] not in _PROSE]
        for inside in (every, whole):
            widths = self._widths(inside, options.max_width)
            if widths is not None:
                yield from self._table(console, widths)
                return
        yield from self._paragraphs(console)

    def _widths(self, inside: Sequence[int], width: int) -> dict[int, int] | None:
        """How wide each of these columns is; None: they do not fit side by side."""
        widest, least = {}, {}
        for at in inside:
            texts = [Text(self.columns[at]), *(row[at] for row in self.rows)]
            widest[at] = max(cell_len(line) for text in texts for line in text.plain.split("\n"))
            least[at] = widest[at]
            if self.columns[at] in _PROSE:
                words = [cell_len(word) for text in texts for word in text.plain.split()]
                least[at] = min(widest[at], max(_PROSE_CHARS_MIN, *words))
        room = width - 1 - len(_GAP) * (len(inside) - 1)
        while sum(widest.values()) > room:
            foldable = [at for at in inside if widest[at] > least[at]]
            if not foldable:
                return None
            widest[max(foldable, key=lambda at: widest[at])] -= 1
        return widest

    def _table(self, console: Console, widths: dict[int, int]) -> Iterator[Text]:
        if self.has_heading:
            yield self._line({at: Text(self.columns[at], style="bold") for at in widths}, widths)
            yield Text(f" {'─' * (sum(widths.values()) + len(_GAP) * (len(widths) - 1))}")
        below = [at for at in range(len(self.columns)) if at not in widths]
        for row in self.rows:
            folded = {at: row[at].wrap(console, widths[at]) for at in widths}
            for number in range(max(len(lines) for lines in folded.values())):
                yield self._line({at: lines[number] for at, lines in folded.items() if number < len(lines)}, widths)
            for at in below:
                if row[at].plain:
                    yield from indented(console, self._named(at, row[at]), "     ")
        yield Text()

    def _line(self, cells: dict[int, Text], widths: dict[int, int]) -> Text:
        line = Text(" ")
        for at, width in widths.items():
            cell = cells.get(at, Text()).copy()
            cell.align("right" if self.columns[at] in _RIGHT else "left", width)
            line.append_text(cell).append(_GAP)
        line.rstrip()
        return line

    def _named(self, at: int, cell: Text) -> Text:
        """A cell that does not stand below its heading."""
        column = self.columns[at]
        return Text.assemble((f"{column}{':' if column in _PROSE else ''} ", "dim"), cell) if column else cell

    def _paragraphs(self, console: Console) -> Iterator[Text]:
        for row in self.rows:
            named = [self._named(at, cell) for at, cell in enumerate(row) if cell.plain]
            yield from indented(console, Text(", ").join(named), "  ")
            yield Text()


def indented(console: Console, text: Text, indent: str) -> Iterator[Text]:
    """A text, folded between its words, with this before each line."""
    for line in text.wrap(console, console.width - len(indent)):
        line.rstrip()
        yield Text(indent).append_text(line)


def table(*columns: str, title: str | None = None) -> Listing:
    """An empty table; `add` gives it rows."""
    return Listing(columns, title)


def add(shown: Listing, *cells: str | Text) -> None:
    """Add a row. A text that may be a stranger's is shown as it is, whatever rich would read into its brackets."""
    shown.rows.append(tuple(cell if isinstance(cell, Text) else Text(cell) for cell in cells))


_STATUS_STYLES = {"paid": "green", "refunded": "magenta", "closed": "dim"}


def status(status: str) -> Text:
    return Text(plain(status), style=_STATUS_STYLES.get(status, ""))


def money_cell(amount: object, currency: str) -> str:
    return money(amount, currency) if isinstance(amount, int) else ""


def text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def rows(value: object) -> list[dict[str, object]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
