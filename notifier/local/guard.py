"""
The process that ends the servers when whoever started them can't: killed, or fallen over.

It reads one process a line from its parent. The pipe closes when the parent is gone, however it went; then whatever of
the list still runs is ended. Unlike Linux's PR_SET_PDEATHSIG, this does not depend on which thread started a server, and
macOS has it too.
"""

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict

from notifier.local.process import Process, end


@contextlib.contextmanager
def guard(lock: int) -> Iterator[Callable[[Process], None]]:
    """
    Give a function that puts a process under guard until the block ends or this process does.

    The guard shares `lock`, a file descriptor, so that a folder counts as in use until the last server in it is gone.
    """
    with subprocess.Popen(
        [sys.executable, "-c", "from notifier.local.guard import main; main()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
        pass_fds=[lock],
    ) as watcher:

        def watch(process: Process) -> None:
            assert watcher.stdin is not None
            watcher.stdin.write(json.dumps(asdict(process)) + "\n")
            watcher.stdin.flush()

        yield watch


def main() -> None:
    """Wait for the end of standard input, then end what was named on it."""
    watched = [Process(**json.loads(line)) for line in sys.stdin]
    for process in watched:
        end(process, signal.SIGTERM, within_s=5.0)
