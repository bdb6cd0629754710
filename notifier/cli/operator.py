"""Who gives a word, and how it is written: options of the commands that change something."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

from notifier.cli.options import CommandFailed
from notifier.release import TEXT_CHARS_MAX


def line(given: str) -> str:
    """A text that people write and others read, on one line."""
    said = given.strip()
    if not said or len(said) > TEXT_CHARS_MAX or not said.isprintable():
        raise typer.BadParameter(f"it is 1 to {TEXT_CHARS_MAX} printable characters on one line.")
    return said


By = Annotated[
    str | None, typer.Option(parser=line, metavar="WHO", help="Who says so. Default: who is logged in here.")
]


def who() -> str:
    """
    Who is logged in here.

    Raises:
        CommandFailed: nobody, by name.
    """
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without a name for its user
        raise CommandFailed("nobody is logged in here by name; say who you are with --by.") from None
