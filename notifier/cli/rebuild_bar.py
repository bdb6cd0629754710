"""A progress bar for views that are built again from their logs, while a consumer runs in a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

REFRESHED_EVERY_S = 0.2


class RebuildBar:
    """
    One bar for all partitions at once, on standard error; it is there only while something is built (`Rebuilds` of consumers).

    Log lines must not break it, so while it is shown they go through it: it is also what they are written to. Whoever reads
    both in one terminal sees the lines above the bar.

    Args:
        console: the terminal.
        out: where log lines go while there is no bar.
        many: up to so many records are not worth a bar.
    """

    def __init__(self, console: Console, out: BinaryIO, *, many: int) -> None:
        self._console = console
        self._out = out
        self._many = many
        self._progress: Progress | None = None
        self._bar = TaskID(0)
        self._refreshed_at = 0.0
        self._building: dict[tuple[str, int], tuple[int, int]] = {}
        """Done and total of each partition that was begun since the bar was shown."""
        self._open: set[tuple[str, int]] = set()

    @contextmanager
    def begin(self, topic: str, partition: int, total: int) -> Iterator[Callable[[int], None]]:
        """Show a partition's part until the block ends: done, or given up."""
        if total < self._many:
            yield lambda _: None
            return
        place = topic, partition
        self._open.add(place)
        self._building[place] = 0, total

        def tell(done: int) -> None:
            self._building[place] = min(done, total), total
            self._show()

        self._show()
        try:
            yield tell
        finally:
            self._open.discard(place)
            if not self._open:
                self._hide()

    def write(self, line: bytes) -> None:
        """Take a log line."""
        if self._progress is None:
            self._out.write(line)
        else:
            text = line.decode("utf-8", "backslashreplace").rstrip("\n")
            self._console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)

    def flush(self) -> None:
        """Let what was taken be seen."""
        self._out.flush()

    def _show(self) -> None:
        if self._progress is None:
            self._progress = Progress(
                TextColumn("building {task.fields[views]} from the log"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[per_s]}"),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
                auto_refresh=False,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._bar = self._progress.add_task("", total=None, views="", per_s="")
            self._progress.start()
        progress = self._progress
        (task,) = progress.tasks
        count = len(self._building)
        progress.update(
            self._bar,
            completed=sum(done for done, _ in self._building.values()),
            total=sum(total for _, total in self._building.values()),
            views="a view" if count == 1 else f"{count} views",
            per_s=f"{task.speed:,.0f}/s" if task.speed else "",
        )
        now = progress.get_time()
        if now - self._refreshed_at >= REFRESHED_EVERY_S:
            self._refreshed_at = now
            progress.refresh()

    def _hide(self) -> None:
        if self._progress is not None:
            self._progress.stop()
        self._progress = None
        self._building.clear()
        self._refreshed_at = 0.0
