"""`notifier run`: everything, each service its own supervised process."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

import typer

from notifier import config, logs
from notifier.app import Stop, finish_s_max
from notifier.app import run as run_to_the_end
from notifier.cli.options import ConfigFile, chosen_file, read_settings
from notifier.config import Address, Settings, environment
from notifier.processes import hangup
from notifier.processes.listening import listening
from notifier.processes.reloading import Reloading
from notifier.processes.supervisor import Child, Lines, Show, supervise

log = logs.get_logger()

SERVICE = "run"
INGRESS_STOP_EXTRA_S = 10.0
"""Beyond what is in flight: the flush, the producer's end, and the workers'."""
CONSUMER_STOP_S_MAX = 15.0
"""What a consumer's last batch, commit and goodbye to its group take at most; what is not committed is read again."""
_NAME_WIDTH = 8
_LEVEL_AT = len("12:00:00.000 ")
_SERVICE_COLOURS = {"ingress": "cyan", "orders": "green", "fanout": "magenta"}
_LEVEL_COLOURS = {"warning": "yellow", "error": "red"}


def run(context: typer.Context, config_file: ConfigFile = None) -> None:
    """
    Run everything: the ingress and all consumers, each its own process.

    One that dies is started again. All log lines come out here; `log.format = "console"` in the settings makes them easier to
    read for people. The consumers' health and metrics are at `consumers.listen_orders` and `listen_fanout`, if they are set.

    It starts without Kafka or Redis too. SIGHUP lets all take over changed channels, keys, endpoints and limits. SIGTERM or
    Ctrl-C ends all in order, within seconds, and nothing is lost.
    """
    settings = read_settings(context, config_file, needs="channels")
    named = chosen_file(context, config_file)
    reloading = Reloading(settings, config.reader(named, environment()))
    _require_free(settings)
    stages = children(reloading, named)
    write = _writer(sys.stdout.buffer)
    is_coloured = sys.stdout.isatty() and not environment().get("NO_COLOR")

    def show(name: str, line: bytes) -> None:
        write(line if settings.log.format == "json" else console_line(name, line, is_coloured=is_coloured))

    logs.configure(
        service=SERVICE,
        instance=f"{socket.gethostname()}-{os.getpid()}",
        format=settings.log.format,
        level=settings.log.level,
        out=cast(BinaryIO, _Named(show)),  # the part of it that is used
    )
    run_to_the_end(_run(stages, show, reloading))


async def _run(stages: Sequence[Sequence[Child]], show: Show, reloading: Reloading) -> None:
    stop, lines = Stop(), Lines()
    stop.on_signals(signal.SIGTERM, signal.SIGINT)
    hangup.follow(reloading.ask, stop.say)
    log.info("service.started", pid=os.getpid())
    async with reloading.at_work(lambda _: lines.tell_to_reload()):
        await supervise(stages, show, stop, lines)
    log.info("service.stopped", reason=stop.reason)


def children(reloading: Reloading, config_file: Path | None) -> list[list[Child]]:
    """What is run, in the order in which it is ended: the ingress first, then those who work on what it took."""
    settings = reloading.settings
    listens = {"orders": settings.consumers.listen_orders, "fanout": settings.consumers.listen_fanout}

    def ingress_stop_s_max() -> float:
        return finish_s_max(reloading.settings) + INGRESS_STOP_EXTRA_S

    def in_use() -> str | None:
        return reloading.settings.text

    return [
        [Child("ingress", partial(_command, config_file, ("serve",)), ingress_stop_s_max, in_use)],
        [
            Child(
                job,
                partial(_command, config_file, ("consume", job, *_listen_option(address))),
                lambda: CONSUMER_STOP_S_MAX,
                in_use,
            )
            for job, address in listens.items()
        ],
    ]


def console_line(name: str, line: bytes, *, is_coloured: bool) -> bytes:
    """A service's line for people: whose it is comes first; in colours, what went wrong stands out."""
    whose = f"{name:<{_NAME_WIDTH}}"
    if not is_coloured:
        return whose.encode() + line
    said = line.decode("utf-8", "backslashreplace").rstrip("\n")
    level = said[_LEVEL_AT:].split(" ", 1)[0]
    return f"{typer.style(whose, fg=_SERVICE_COLOURS.get(name))}{typer.style(said, fg=_LEVEL_COLOURS.get(level))}\n".encode()


def _command(config_file: Path | None, arguments: tuple[str, ...], options: tuple[str, ...]) -> tuple[str, ...]:
    config = () if config_file is None else ("--config", str(config_file))
    # -P: a folder that happens to hold a logging.py or a notifier/ is no part of the program
    return (sys.executable, "-P", "-m", "notifier", "--ends-with-stdin", *options, *config, *arguments)


def _listen_option(address: Address | None) -> tuple[str, ...]:
    return () if address is None else ("--listen", str(address))


def _require_free(settings: Settings) -> None:
    """
    Look whether all addresses can be had before anything starts: a service that can't have its own would be tried for ever.

    Raises:
        CannotListenError: one cannot.
    """
    with ExitStack() as stack:
        for address, setting in (
            (settings.ingress.public, "ingress.public"),
            (settings.ingress.internal, "ingress.internal"),
            (settings.consumers.listen_orders, "consumers.listen_orders"),
            (settings.consumers.listen_fanout, "consumers.listen_fanout"),
        ):
            if address is not None:
                stack.enter_context(listening(address, setting))


def _writer(out: BinaryIO) -> Callable[[bytes], None]:
    def write(line: bytes) -> None:
        # Whole lines, one at a time. A reader that went away is no reason to stop working.
        with suppress(BrokenPipeError):
            out.write(line)
            out.flush()

    return write


class _Named:
    """Our own log lines, with our name before them as the children's have theirs."""

    def __init__(self, show: Show) -> None:
        self._show = show

    def write(self, line: bytes) -> None:
        """What structlog asks for."""
        self._show(SERVICE, line)

    def flush(self) -> None:
        """What structlog asks for; each line is flushed when it is written."""


def register(app: typer.Typer) -> None:
    """Mount the command."""
    app.command("run", epilog="Example: `notifier run --config shop/notifier.toml`")(run)
