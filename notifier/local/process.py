"""
Processes that are known by more than their id.

An id is given to another program once its process is gone, and `local down` may run days after `local up`. So a process
is known by its id *and* the moment it began, and no signal is sent before both were looked at.
"""

import contextlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from notifier.local.environment import environment

_LOOK_EVERY_S = 0.02
_KILLED_WITHIN_S = 10.0  # what SIGKILL needs at most, where a disk is slow to let go


@dataclass(frozen=True, slots=True)
class Process:
    """One process: its id, and when it began as the system tells it ("" if it was gone before anyone could look)."""

    pid: int
    began: str


def spawn(command: tuple[str, ...], log_path: Path) -> Process:
    """
    Start `command` in a session of its own, its output appended to the file at `log_path`.

    A session of its own, because Ctrl-C in a terminal goes to everything in the foreground: the servers end after the
    work that uses them, not with it.

    Raises:
        OSError: the program or the log file can't be opened.
    """
    log_path.touch(mode=0o600)
    pid = os.posix_spawn(
        command[0],
        command,
        environment(),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log_path), os.O_WRONLY | os.O_APPEND, 0),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
    return Process(pid, began(pid) or "")


def is_running(process: Process) -> bool:
    """Whether this very process is alive; another one that got its id is not it."""
    with contextlib.suppress(ChildProcessError):  # not our child: an earlier command started it
        os.waitpid(process.pid, os.WNOHANG)  # a child of ours stays in the table until it is asked for
    return process.began != "" and began(process.pid) == process.began


def end(process: Process, first: signal.Signals, within_s: float) -> None:
    """Send `first`, wait `within_s` seconds, then kill; returns once it is gone. Nothing happens to a stranger of the same id."""
    for signum, patience_s in ((first, within_s), (signal.SIGKILL, _KILLED_WITHIN_S)):
        if not is_running(process):
            return
        os.kill(process.pid, signum)
        deadline = time.monotonic() + patience_s
        while is_running(process) and time.monotonic() < deadline:
            time.sleep(_LOOK_EVERY_S)


def began(pid: int) -> str | None:
    """When the process with this id began, as text to compare; None if there is none, or only its unread exit status is left."""
    stat = Path(f"/proc/{pid}/stat")
    try:
        # proc(5): `pid (name) state … starttime …`; the name may hold blanks and brackets, so count from the last bracket.
        fields = stat.read_text().rpartition(")")[2].split()
    except OSError:
        return None if Path("/proc/self/stat").exists() else _began_by_ps(pid)
    state, threads, ticks = fields[0], int(fields[17]), fields[19]
    # Java's first thread is a zombie long before the others have ended and let go of files and ports.
    if state in {"Z", "X"} and threads <= 1:
        return None
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()  # the ticks count from here
    return f"{boot} {ticks}"


def _began_by_ps(pid: int) -> str | None:
    """The same where there is no /proc (macOS)."""
    listed = subprocess.run(  # noqa: S603 - program and arguments are our own
        ["/bin/ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    state, _, start = listed.stdout.strip().partition(" ")
    return None if not start or state.startswith("Z") else start.strip()
