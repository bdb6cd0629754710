"""`notifier local`: Kafka and Redis in the background, for this folder."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from notifier.cli.options import NoConfigFile
from notifier.local import KAFKA_SETTING, REDIS_SETTING, LocalFailed
from notifier.local import down as stop_services
from notifier.local import status as look_at_services
from notifier.local import up as start_services

app = typer.Typer(
    help="Real Kafka and Redis for this folder, running in the background until `down`.", no_args_is_help=True
)


@app.command()
def up(_config_file: NoConfigFile = None) -> None:
    """
    Start local Kafka and Redis and leave them running.

    Data, logs and ports are kept under .local/ of this folder, and the next `up` has the same ports. A service whose
    address the environment sets (NOTIFIER__KAFKA__BOOTSTRAP_SERVERS, NOTIFIER__REDIS__URL) is used instead of starting
    one. The first time, Kafka's jars are downloaded.

    Standard output is just these two settings, a line NAME=value each.
    """
    try:
        addresses = start_services(Path.cwd(), _tell)
    except (LocalFailed, OSError) as error:
        _fail(error)
    print(f"{KAFKA_SETTING}={addresses.bootstrap_servers}")
    print(f"{REDIS_SETTING}={addresses.redis_url}")


@app.command()
def down(_config_file: NoConfigFile = None) -> None:
    """Stop what `up` started in this folder. Data and ports stay for the next time."""
    try:
        stop_services(Path.cwd(), _tell)
    except (LocalFailed, OSError) as error:
        _fail(error)


@app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array: service, state, address, pid.")] = False,
    _config_file: NoConfigFile = None,
) -> None:
    """Show whether this folder's Kafka and Redis run and answer; exit status 1 if one does not."""
    try:
        services = look_at_services(Path.cwd())
    except (LocalFailed, OSError) as error:
        _fail(error)
    if as_json:
        print(json.dumps([asdict(service) for service in services]))
    else:
        for service in services:
            process = f"  process {service.pid}" if service.pid else ""
            print(f"{service.service}   {service.state:13}  {service.address or '-'}{process}")
    if any(service.state == "stopped" for service in services):
        _tell("`notifier local up` starts what is stopped.")
    for service in services:
        if service.state == "not answering":
            _tell(
                f"{service.service} was stopped (`kill -CONT {service.pid}` lets it go on), or it hangs: `notifier local down`, "
                "then `notifier local up`."
            )
    if any(service.state not in {"running", "given"} for service in services):
        raise typer.Exit(1)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _fail(error: LocalFailed | OSError) -> NoReturn:
    _tell(f"notifier local: {error}")
    raise typer.Exit(1) from error
