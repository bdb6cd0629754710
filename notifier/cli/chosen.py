"""Which settings a command line has chosen before its command."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Chosen:
    """What `notifier` itself was told about the settings; it lies in typer's context."""

    file: Path | None = None
    text: str | None = None
    """The file's content, where a parent has handed it over (`notifier.processes.handing`)."""
