"""What most commands have in common: where the settings are, and how a result is printed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from notifier import config
from notifier.checks.words import in_words
from notifier.cli.chosen import Chosen
from notifier.config import Settings
from notifier.errors import Unavailable

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE", help="The settings file. Default: what NOTIFIER_CONFIG names, else notifier.toml."
    ),
]
NoConfigFile = Annotated[Path | None, typer.Option("--config", metavar="FILE", hidden=True)]
"""For a command that needs no settings: who names the file behind every command is not told that this one has no such option."""
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


class CommandFailed(Exception):
    """A command could not do its work. The message is for the person who called it: what, why, and what to do. Exit status 1."""


def chosen_file(context: typer.Context, config_file: Path | None) -> Path | None:
    """The file that `--config` names, after the command or before it; None where it was not given."""
    if config_file is not None:
        return config_file
    return _chosen(context).file


def _chosen(context: typer.Context) -> Chosen:
    return context.obj if isinstance(context.obj, Chosen) else Chosen()


def read_settings(context: typer.Context, config_file: Path | None, *, needs: str | None = None) -> Settings:
    """
    The settings.

    Args:
        needs: the list that the command can't work without, `channels` or `endpoints`. A missing `notifier.toml` is a fault if
            that list is not in the environment; without it, what is not set has its default.

    Raises:
        SettingsFault: with all faults.
    """
    env = config.environment()
    needs_file = needs is not None and f"NOTIFIER__{needs.upper()}" not in env
    return config.load(chosen_file(context, config_file), env, needs_file=needs_file, text=_chosen(context).text)


@contextmanager
def reaching_kafka(settings: Settings) -> Iterator[None]:
    """
    Work with Kafka in a command that a person waits for: what does not answer is told with where it was looked for.

    Raises:
        CommandFailed: Kafka did not answer.
    """
    try:
        with silent_kafka():
            yield
    except Unavailable as error:
        has_none = settings.text is None and "NOTIFIER__KAFKA__BOOTSTRAP_SERVERS" not in config.environment()
        default = " (the default: this folder has no notifier.toml; `notifier init` writes one)" if has_none else ""
        raise CommandFailed(
            f"Kafka does not answer at {settings.kafka.bootstrap_servers}{default}: {in_words(error.why)}. "
            "Start it (on a laptop: `notifier local up`), or set kafka.bootstrap_servers to where it is, and "
            "kafka.security_protocol to what it speaks."
        ) from error


@contextmanager
def silent_kafka() -> Iterator[None]:
    """Without the complaints of Kafka's client, one for each attempt: they would stand around our one message."""
    library, silence = logging.getLogger("aiokafka"), logging.NullHandler()
    library.addHandler(silence)
    was_heard, library.propagate = library.propagate, False
    try:
        yield
    finally:
        library.propagate = was_heard
        library.removeHandler(silence)


def print_json(value: object) -> None:
    """One JSON document, on one line of stdout."""
    typer.echo(msgspec.json.encode(value))
