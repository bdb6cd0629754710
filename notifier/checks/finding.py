"""What a check finds: one line for a person, one flat object for a program."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "fault"]


@dataclass(frozen=True, slots=True)
class Finding:
    """
    One thing that was looked at.

    Args:
        name: what it is, its group first: `channels.shop-hkd.keys[0]`.
        state: `warning` works and should not stay so; `fault` does not work, or loses something.
        message: what was found, without a full stop.
        remedy: what to do, a sentence; empty where nothing is to be done.
    """

    name: str
    state: State
    message: str
    remedy: str = ""

    @property
    def group(self) -> str:
        """The part of the installation that it belongs to."""
        return self.name.partition(".")[0]

    def as_json(self) -> dict[str, str | None]:
        """The object that `notifier check --json` lists."""
        return {"name": self.name, "state": self.state, "message": self.message, "remedy": self.remedy or None}


def ok(name: str, message: str) -> Finding:
    """All is well with it."""
    return Finding(name, "ok", message)


def warning(name: str, message: str, remedy: str) -> Finding:
    """It works and should not stay so."""
    return Finding(name, "warning", message, remedy)


def fault(name: str, message: str, remedy: str) -> Finding:
    """It does not work, or it loses something."""
    return Finding(name, "fault", message, remedy)


def has_fault(findings: Iterable[Finding]) -> bool:
    """Whether a command that found this has failed."""
    return any(one.state == "fault" for one in findings)
