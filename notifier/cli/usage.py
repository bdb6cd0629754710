"""What is wrong with a command line, in this project's words: libraries speak of inputs, values and extra arguments."""

from __future__ import annotations

import re

import typer
from pydantic import ValidationError

from notifier.settings.words import rule_of

_REWORDED = (
    (re.compile(r"^Invalid value(?: for '?([^':]+)'?)?: "), r"\1: "),
    (re.compile(r"^Got unexpected extra argument\(s\) \((.*)\)$"), r"there is a word too many: \1."),
    (re.compile(r"'[^']*' is not one of ((?:'[^']*'(?:, )?)+)\."), r"must be one of \1"),
    (re.compile(r"^Option '(.*)' does not take a value\."), r"\1 is given without a value."),
    (re.compile(r"^No such option: (\S+) \(Possible options?: (.*)\)$"), r"no such option: \1. Did you mean \2?"),
    (re.compile(r"(must be at (?:least|most) [0-9]+)\.0$"), r"\1"),
    (re.compile(r"^Option '(.*)' requires an argument\.$"), r"\1 needs a value behind it."),
)


def told(error: typer.TyperException) -> str:
    """One message: which part of the line, what is wrong with it, and where its help is. Empty where help was shown instead."""
    said = _said(error)
    if not said:
        return ""
    command: str = getattr(getattr(error, "ctx", None), "command_path", "notifier")  # its type is typer's own
    return f"{command}: {said}\n`{command} --help` says how it is used."


def _said(error: typer.TyperException) -> str:
    said = error.format_message()
    if isinstance(error.__cause__, ValidationError):  # typer has options judged by pydantic
        said = said.replace(error.message, rule_of(error.__cause__.errors()[0]))
    said = " ".join(said.split())
    for pattern, words in _REWORDED:
        said = pattern.sub(words, said)
    said = said[:1].lower() + said[1:] if said.startswith(("Missing ", "No such ")) else said
    return said if not said or said.endswith((".", "?", ")")) else f"{said}."
