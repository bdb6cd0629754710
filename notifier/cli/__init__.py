"""
The command line: what there is, and what becomes of whatever goes wrong.

A command's module is imported when it is called, so that `notifier --help` is there at once. Whatever goes wrong ends in one
message on stderr and the exit status of the contract, section 2, never in a traceback.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from notifier import __version__
from notifier.cli.chosen import Chosen
from notifier.cli.orphan import end_with_stdin
from notifier.processes import hangup
from notifier.processes.handing import taken

PROGRAM = "notifier"


@dataclass(frozen=True, slots=True)
class Entry:
    """A command before it is imported: what it is called, its line in `notifier --help`, and where it is."""

    name: str
    summary: str
    module: str
    panel: str


_SERVICES = "Services"
_SETTING_UP = "Setting up"
_LOOKING = "Looking and trying"

COMMANDS = (
    Entry("init", "Write a settings file that works at once, with test keys.", "notifier.cli.init", _SETTING_UP),
    Entry("local", "Real Kafka and Redis for this folder, in the background.", "notifier.cli.local", _SETTING_UP),
    Entry("check", "Look at everything that has to be right, and say how to mend it.", "notifier.cli.check", _SETTING_UP),
    Entry("topics", "Compare the Kafka topics with what is needed; create what is missing.", "notifier.cli.topics", _SETTING_UP),
    Entry("run", "Run everything: the ingress and all consumers.", "notifier.cli.run", _SERVICES),
    Entry("serve", "Run the ingress: take AlipayHK's notifications.", "notifier.cli.serve", _SERVICES),
    Entry("consume", "Run one consumer job: orders or fanout.", "notifier.cli.consume", _SERVICES),
    Entry("demo", "See the whole pipeline at work, with a simulated AlipayHK and merchants.", "notifier.demo.command", _LOOKING),
    Entry("simulate", "Send a notification as AlipayHK would, or a forged one.", "notifier.cli.simulate", _LOOKING),
    Entry("listen", "Be a merchant's system: verify and print webhooks.", "notifier.cli.listen", _LOOKING),
    Entry("orders", "Was it paid, who was told, and why not: one order, or a list.", "notifier.cli.orders", _LOOKING),
    Entry("deliveries", "Who was told what, when, and with which answer; tell it again.", "notifier.cli.deliveries", _LOOKING),
    Entry("endpoints", "How each endpoint is doing; suspend, resume or ping one.", "notifier.cli.endpoints", _LOOKING),
    Entry("quarantine", "What was set aside, and why; release a held payment.", "notifier.cli.quarantine", _LOOKING),
    Entry("tail", "Follow the events of the orders topic.", "notifier.cli.tail", _LOOKING),
    Entry("logs", "Explain each log line: what it means and what to do.", "notifier.cli.logs", _LOOKING),
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; the exit status."""
    try:
        status = root().main(arguments, prog_name=PROGRAM, standalone_mode=False)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except Exception as error:  # noqa: BLE001 - the end of the line: the fault is told, nothing goes on
        from notifier.cli.faults import tell  # noqa: PLC0415 - it knows every part of the project

        return tell(error)
    return status if isinstance(status, int) else 0


def root() -> TyperGroup:
    """The command `notifier` with all that it has."""
    app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")
    app.callback()(_root)
    group = _as_group(get_command(app))
    for entry in COMMANDS:
        group.add_command(_Later(entry), entry.name)
    return _as_group(_without_types(group))


def load(entry: Entry) -> Any:
    """
    The command itself; typer's own types of commands are private.

    Its module has `register`, which puts it into an app that is given, or an `app` of its own.
    """
    with _ending_at_once():
        module = import_module(entry.module)
    app = typer.Typer(add_completion=False, rich_markup_mode="markdown")
    if hasattr(module, "register"):
        module.register(app)
        return _without_types(get_command(app))
    app.add_typer(module.app, name=entry.name)
    return _without_types(_as_group(get_command(app)).commands[entry.name])


def _without_types(command: Any) -> Any:
    """Show a switch in the help without the word `<bool>` behind it: nothing is written there."""
    for inner in getattr(command, "commands", {}).values():
        _without_types(inner)
    for parameter in (*command.params, command.get_help_option(command.context_class(command))):
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""
    return command


@contextmanager
def _ending_at_once() -> Iterator[None]:
    """
    Let Ctrl-C end the process without a word while the block imports: nothing has begun that would have to be put in order.

    As an exception it would come out of any line of any library, and some make another fault of it.
    """
    is_ours = threading.current_thread() is threading.main_thread()
    if not is_ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _as_group(command: object) -> TyperGroup:
    assert isinstance(command, TyperGroup), "an app with a callback or with groups is one"
    return command


class _Later(TyperCommand):
    """A command that shows in the list, and becomes itself when it is called."""

    def __init__(self, entry: Entry) -> None:
        super().__init__(entry.name, help=entry.summary, rich_help_panel=entry.panel)
        self._entry = entry

    def make_context(self, *args: Any, **options: Any) -> Any:
        """
        Where typer turns the rest of the line into a call: from here on the command itself is at work.

        Importing a service takes a second: a SIGHUP that comes meanwhile is for its settings, and must not end it.
        """
        if self._entry.panel == _SERVICES:
            hangup.expect()
        return load(self._entry).make_context(*args, **options)


def _show_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"alipayhk-notifier {__version__}")
        raise typer.Exit


def _root(
    context: typer.Context,
    config_file: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="The settings file, here or after the command. Default: what NOTIFIER_CONFIG names, else notifier.toml.",
        ),
    ] = None,
    ends_with_stdin: Annotated[bool, typer.Option("--ends-with-stdin", hidden=True)] = False,
    settings_on: Annotated[int | None, typer.Option("--settings-on", hidden=True)] = None,
    _version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version and end.")
    ] = False,
) -> None:
    """
    Take AlipayHK's payment notifications, keep them safe in Kafka, and tell merchants' systems.

    New here? `notifier demo` shows it at work. For a setup of your own, in an empty folder: `notifier local up`,
    `notifier init`, `notifier topics --apply`, `notifier run`.

    Exit status: 0 done; 1 it was asked well, and something was found or failed; 2 the line, a name in it, or the settings are
    wrong.
    """
    context.obj = Chosen(config_file, None if settings_on is None else taken(settings_on))
    if ends_with_stdin:
        end_with_stdin()
