"""`notifier init`: a settings file to start from, with keys and secrets of its own."""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Annotated

import typer

from notifier.cli.keys import new_pair, private_path
from notifier.cli.options import CommandFailed, NoConfigFile
from notifier.config import DEFAULT_FILE, Kafka, Redis
from notifier.local import Addresses, addresses_of

PUBLIC_KEY = Path("keys/shop-hkd-test.pem")
CHANNEL = "shop-hkd"

_SECRET_BYTES = 32
_WORDS_AT = 48
_FOR_ALL, _FOR_US = 0o644, 0o600

_START_SERVICES = """\
  export $(notifier local up)    Kafka and Redis for this folder, above what notifier.toml says; again in each terminal
"""
_SERVICES_ARE_THERE = """\
  notifier local status          are this folder's Kafka and Redis up? `notifier local up` starts them
"""
_NEXT = """\
  notifier topics --apply        make the Kafka topics
  notifier check                 is everything as it has to be?
  notifier run                   everything; Ctrl-C ends it
and, each in a terminal of its own:
  notifier listen                be the merchant: print each webhook
  notifier simulate pay shop-hkd T1 128.00
  notifier tail                  follow the events
"""


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write; made if it is not there.")] = Path(),
    _config_file: NoConfigFile = None,
) -> None:
    """
    Write a `notifier.toml` that works at once, every setting in it explained.

    It has a channel `shop-hkd` with a fresh token and a fresh test key, whose private half `notifier simulate` signs with, and
    an endpoint `shop-oms` on this machine, where `notifier listen` listens. Kafka and Redis are those of this folder's
    `notifier local up`, if there is one.

    Nothing is ever overwritten.
    """
    known = addresses_of(folder)
    private, public = new_pair()
    _write_all(
        folder,
        {
            DEFAULT_FILE: (settings_text(known or default_addresses()).encode(), _FOR_US),
            PUBLIC_KEY: (public, _FOR_ALL),
            private_path(PUBLIC_KEY): (private, _FOR_US),
        },
    )
    typer.echo("\nNext:")
    if folder != Path():
        typer.echo(f"  cd {folder}")
    typer.echo((_SERVICES_ARE_THERE if known else _START_SERVICES) + _NEXT, nl=False)


def default_addresses() -> Addresses:
    """What the settings have where nothing is said."""
    return Addresses(Kafka().bootstrap_servers, Redis().url)


def settings_text(addresses: Addresses) -> str:
    """The text of a new settings file, with a token and a secret that nobody else has."""
    template = Template(files("notifier.cli").joinpath("notifier.toml.in").read_text(encoding="utf-8"))
    text = template.substitute(
        bootstrap_servers=json.dumps(addresses.bootstrap_servers),  # JSON's text is one of TOML's
        redis_url=json.dumps(addresses.redis_url),
        token=secrets.token_urlsafe(24),
        secret=f"whsec_{base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()}",
    )
    # what was put in is longer or shorter than its name: the words beside it stand below one another all the same
    return re.sub(r"^(\w.*\S) +# ", lambda line: f"{line[1]:<{_WORDS_AT}}# ", text, flags=re.MULTILINE)


def _write_all(folder: Path, contents: dict[Path, tuple[bytes, int]]) -> None:
    """
    Write all files or none, each with its mode; say which.

    Raises:
        CommandFailed: one is there already, or the folder can't be written.
    """
    there = [str(folder / name) for name in contents if os.path.lexists(folder / name)]
    if there:
        raise CommandFailed(
            f"nothing was written: {', '.join(there)} {'is' if len(there) == 1 else 'are'} there already. "
            "Move away what is there, or name another folder: `notifier init DIR`."
        )
    written: list[Path] = []
    try:
        for name, (content, mode) in contents.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            # O_EXCL: also what came to be since we looked is not overwritten
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            written.append(path)
            with open(file, "wb") as opened:
                opened.write(content)
    except OSError as fault:
        for path in written:
            path.unlink(missing_ok=True)
        why = (fault.strerror or "no reason given").lower()
        raise CommandFailed(
            f"{fault.filename or folder} cannot be written: {why}. Name a folder that can: `notifier init DIR`."
        ) from fault
    for path in written:
        typer.echo(f"wrote {path}")


def register(app: typer.Typer) -> None:
    """Mount the command."""
    app.command("init", epilog="Example: `notifier init shop`")(init)
