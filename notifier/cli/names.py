"""Names of channels and endpoints that a person types: who mistypes one must not take "nothing found" for an answer."""

from __future__ import annotations

from collections.abc import Iterable

import typer

from notifier.config import Settings
from notifier.settings.faults import nearest


def require_endpoint(name: str, settings: Settings, *, hint: str = "ENDPOINT") -> None:
    """
    See that the settings have this endpoint.

    Args:
        hint: which part of the command line names it.

    Raises:
        typer.BadParameter: they do not; with those that they have.
    """
    _require("endpoint", name, [one.name for one in settings.endpoints], hint)


def require_channel(name: str, settings: Settings, *, hint: str = "CHANNEL") -> None:
    """
    See that the settings have this channel.

    Args:
        hint: which part of the command line names it.

    Raises:
        typer.BadParameter: they do not; with those that they have.
    """
    _require("channel", name, [one.name for one in settings.channels], hint)


def _require(kind: str, name: str, known: Iterable[str], hint: str) -> None:
    names = list(known)
    if name in names:
        return
    if not names:
        raise typer.BadParameter(f"the settings have no {kind}s.", param_hint=hint)
    raise typer.BadParameter(f"the settings have no {kind} {name!r}. {nearest(name, names)}", param_hint=hint)
