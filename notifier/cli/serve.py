"""`notifier serve`: the ingress."""

from __future__ import annotations

from typing import Annotated

import typer

from notifier.app import run_serve
from notifier.cli.options import ConfigFile, chosen_file, read_settings


def serve(
    context: typer.Context,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, max=256, metavar="N", help="Processes that share the public port. Default: ingress.workers, 1."
        ),
    ] = None,
    config_file: ConfigFile = None,
) -> None:
    """
    Run the ingress: take AlipayHK's notifications at `ingress.public`.

    Each is verified, made durable in Kafka, and only then answered `success`. Health and metrics are at `ingress.internal`:
    `/health/ready`, `/metrics`. It starts without Kafka too, and is ready once Kafka is there.

    Log lines go to stdout; `notifier logs` explains them. SIGHUP lets it take over changed channels, keys and limits. SIGTERM or
    Ctrl-C ends it, after what is in flight.
    """
    settings = read_settings(context, config_file, needs="channels")
    run_serve(settings, workers=workers, config_file=chosen_file(context, config_file))


def register(app: typer.Typer) -> None:
    """Mount the command."""
    app.command("serve", epilog="Example: `notifier serve --workers 2`")(serve)
