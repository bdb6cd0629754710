"""A server of this machine: started, seen to be ready, stopped, killed, started again where it was."""

import re
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from notifier.local.errors import LocalFailed
from notifier.local.ports import HOST, is_free
from notifier.local.process import Process, end, is_running, spawn

_LOOK_EVERY_S = 0.02
_STOPPED_WITHIN_S = 20.0  # Kafka closes its logs in well under a second; a busy disk may take longer
_TROUBLE = re.compile(r"ERROR|FATAL|Exception|Caused by|^Error|# |out of memory", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that a server is while it does not run. `command[0]` is a path; `port` is on the loopback address."""

    name: str
    command: tuple[str, ...]
    ports: tuple[int, ...]
    """The port that clients use, then those of its own."""
    log_path: Path
    is_ready: Callable[[], bool]
    """Asks the server for something that it only has to say when it can work."""
    ready_within_s: float


class Server:
    """
    One Kafka or Redis on this machine, on the same port and data however often it is started.

    Tests of faults take it away with `stop` or `kill` and bring it back with `start`.
    """

    def __init__(self, recipe: Recipe, on_spawn: Callable[[Process], None]) -> None:
        """`on_spawn` hears of each new process at once, before it is ready."""
        self._recipe = recipe
        self._process: Process | None = None
        self._on_spawn = on_spawn
        self._log_begin = 0

    @property
    def name(self) -> str:
        return self._recipe.name

    @property
    def address(self) -> str:
        """HOST:PORT, for clients."""
        return f"{HOST}:{self._recipe.ports[0]}"

    @property
    def log_path(self) -> Path:
        return self._recipe.log_path

    @property
    def pid(self) -> int:
        """
        The id of its process.

        Raises:
            LocalFailed: it is not running.
        """
        if self._process is None or not is_running(self._process):
            raise LocalFailed(f"{self.name} is not running")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and is_running(self._process)

    def start(self) -> None:
        """Start it and wait until it is ready; nothing if it runs already. Raises LocalFailed."""
        self.spawn()
        self.wait_ready()

    def spawn(self) -> None:
        """
        Start it without waiting.

        Raises:
            LocalFailed: one of its ports is taken, or it can't be started at all.
        """
        if self.is_running:
            return
        for port in self._recipe.ports:
            if not is_free(port):
                raise LocalFailed(f"{self.name}: port {port} is taken by another program")
        try:
            self._log_begin = self.log_path.stat().st_size if self.log_path.exists() else 0
            self._process = spawn(self._recipe.command, self.log_path)
        except OSError as error:
            raise LocalFailed(f"{self.name} can't be started: {self._recipe.command[0]}: {error}") from error
        self._on_spawn(self._process)

    def wait_ready(self) -> None:
        """
        Wait until it answers.

        Raises:
            LocalFailed: it ended, or did not answer in time (then it is killed); with the lines of its log that matter.
        """
        deadline = time.monotonic() + self._recipe.ready_within_s
        while not self._recipe.is_ready():
            if not self.is_running:
                raise LocalFailed(f"{self.name} ended while starting; {self._last_words()}")
            if time.monotonic() > deadline:
                self.kill()
                raise LocalFailed(
                    f"{self.name} was not ready within {self._recipe.ready_within_s:.0f} s; {self._last_words()}"
                )
            time.sleep(_LOOK_EVERY_S)

    def stop(self) -> None:
        """Let it end in order, and wait until it has."""
        if self._process is not None:
            end_in_order(self._process)

    def kill(self) -> None:
        """End it as a power cut would (SIGKILL), and wait until it is gone."""
        if self._process is not None:
            end(self._process, signal.SIGKILL, _STOPPED_WITHIN_S)

    def _last_words(self) -> str:
        said = last_words(self.log_path, since=self._log_begin)
        return f"its log, {self.log_path}, ends:\n{said}" if said else f"its log, {self.log_path}, says nothing"


def end_in_order(process: Process) -> None:
    """Ask a server to end, and wait until it has."""
    end(process, signal.SIGTERM, _STOPPED_WITHIN_S)


def last_words(log_path: Path, since: int = 0, lines_max: int = 12) -> str:
    """The last lines of a log, from byte `since` on, that speak of trouble; its last lines where none does."""
    try:
        with log_path.open("rb") as log:
            end_of_log = log.seek(0, 2)
            log.seek(max(since, end_of_log - 65_536))
            lines = log.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    trouble = [line for line in lines if _TROUBLE.search(line)]
    return "\n".join(f"  {line[:300]}" for line in (trouble or lines)[-lines_max:])
