"""Whatever ended a command, as one message for the person who called it, and as an exit status."""

from __future__ import annotations

import typer

from notifier.checks.programs import program_on
from notifier.checks.words import in_words
from notifier.cli.options import CommandFailed
from notifier.cli.usage import told
from notifier.config import SettingsFault
from notifier.errors import Unavailable
from notifier.local import LocalFailed
from notifier.logs import failure
from notifier.processes.listening import CannotListenError

FAILED = 1
"""It was asked well, and the answer is bad or could not be had."""
WRONG_USE = 2
"""What was asked is wrong: the line itself, a name in it that the settings do not have, or the settings."""


def tell(error: Exception) -> int:
    """Say on stderr what went wrong; the exit status for it (contract, section 2)."""
    while isinstance(error, ExceptionGroup):  # a task group wraps what happened in it
        error = error.exceptions[0]
    if isinstance(error, typer.TyperException):
        said = told(error)
        if said:
            typer.echo(said, err=True)
        return WRONG_USE
    typer.echo(f"notifier: {_in_words(error)}", err=True)
    return WRONG_USE if isinstance(error, SettingsFault) else FAILED


def _in_words(error: Exception) -> str:
    match error:
        case CannotListenError(taken=address) if address is not None:
            program = program_on(address.port)
            return f"{error} It is {program}." if program is not None else str(error)
        case SettingsFault() | CommandFailed() | CannotListenError() | LocalFailed():
            return str(error)
        case Unavailable():
            return f"{error.what} does not answer ({in_words(error.why)}); start it, or look at its address in the settings"
        case OSError() if error.filename is not None and error.strerror:
            return f"{error.filename}: {error.strerror.lower()}"
        case _:
            fault = failure(error)
            return f"a fault of its own ended this command: {fault['error']} at {fault['where']}; please report it"
