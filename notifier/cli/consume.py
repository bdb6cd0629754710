"""`notifier consume`: one consumer job."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated, BinaryIO, cast

import typer
from rich.console import Console

from consumers.app import run_consume
from consumers.rebuilding import MANY_RECORDS
from notifier.cli.options import ConfigFile, chosen_file, read_settings
from notifier.cli.rebuild_bar import RebuildBar
from notifier.config import Address


class Job(StrEnum):
    """What can be run."""

    ORDERS = "orders"
    FANOUT = "fanout"


def consume(
    context: typer.Context,
    job: Annotated[Job, typer.Argument(metavar="JOB", help="Which job.")],
    listen: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Answer there for health and metrics: /health/ready, /metrics."),
    ] = None,
    config_file: ConfigFile = None,
) -> None:
    """
    Run one consumer job. Any number of processes of a job share its work.

    `orders` folds what the ingress stored into orders, and writes an event for each change. `fanout` tells each event to the
    merchants' endpoints that want it, and tries again until they accept it.

    Where Redis was lost, what it held is built again from the logs first: with a bar in a terminal, else with log lines.

    It starts without Kafka or Redis too, and works once they are there. SIGHUP lets it take over changed endpoints and limits.
    SIGTERM or Ctrl-C ends it; what it had not finished is done by the next process.
    """
    address = None
    if listen is not None:
        try:
            address = Address.parse(listen)
        except ValueError as fault:
            raise typer.BadParameter(f"{fault}.", param_hint="--listen") from None
    # Orders are folded by what stands in each record; whom to tell stands in the settings alone.
    settings = read_settings(context, config_file, needs="endpoints" if job is Job.FANOUT else None)
    named = chosen_file(context, config_file)
    if not (sys.stdout.isatty() and sys.stderr.isatty()):
        run_consume(job.value, settings, listen=address, config_file=named)
        return
    # a person watches: what takes long is a bar, and lines and bar share the screen
    bar = RebuildBar(Console(stderr=True), sys.stdout.buffer, many=MANY_RECORDS)
    out = cast(BinaryIO, bar)  # the part of it that is used
    run_consume(job.value, settings, listen=address, config_file=named, rebuilds=bar, out=out)


def register(app: typer.Typer) -> None:
    """Mount the command."""
    app.command("consume", epilog="Example: `notifier consume orders --listen 127.0.0.1:8082`")(consume)
