"""What a row of the table is: a line of the catalogue, and how the fault that it tells of is caused for real."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from notifier.watching.catalogue import CATALOGUE
from tests.alarms.product import Product

ENTRIES = {entry.name: entry for entry in CATALOGUE}

RULES: dict[str, dict[str, Any]] = {
    rule["alert"]: rule
    for group in yaml.safe_load(
        (Path(__file__).parents[2] / "deploy" / "alerts" / "notifier.rules.yml").read_text(encoding="utf-8")
    )["groups"]
    for rule in group["rules"]
}

Play = Callable[[Product], AbstractAsyncContextManager[None]]
"""Causes the fault; what is behind its `yield` mends it, where a later row does not."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line, seen once."""

    line: str
    how: str
    """What is done, in words."""
    play: Play | None = None
    """None: it comes by itself."""
    level: str = "warning"
    fields: tuple[str, ...] = ()
    """Of the line, those that must say something."""
    said: Mapping[str, object] = field(default_factory=dict)
    """Fields of the line with their values: which one of several it is."""
    count: int = 1
    """How many lines it takes until the alert has a reason."""
    metric: str | None = ""
    """What must rise; empty: the line's own count. None: whoever says it is gone before anybody could ask."""
    goes_away: bool = False
    """The metric is not there any more instead."""
    alert: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    """Of the alert, where other faults raise it, too."""
    falls: str | None = None
    """The alert that must be over once this is mended."""
    from_start: bool = False
    """The line may have been said before."""
    needs: tuple[str, ...] = ()
    """Lines whose rows come before in the scene, and leave behind what this one begins with; they are always played with it."""

    @property
    def expression(self) -> str | None:
        """What must rise."""
        if self.metric == "":
            return f'sum(notifier_log_lines_total{{event="{self.line}", level="{self.level}"}})'
        return self.metric
