"""The entry of one worker of `serve --workers N`; started by `notifier.processes.workers`, not by hand."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

from notifier import config
from notifier.app import run, serve_as_worker, speak
from notifier.processes.handing import taken
from notifier.processes.reloading import Reloading


def main(arguments: list[str]) -> None:
    """
    Work on the public socket until the parent says otherwise.

    Args:
        arguments: the settings file, if one was named; the file numbers, with commas between, of the public socket, of the line
            to the parent, and of the settings in use, if there are any in a file.
    """
    *named, numbers = arguments
    public, control, *handed = map(int, numbers.split(","))
    config_file, env = Path(named[0]) if named else None, config.environment()
    settings = config.load(config_file, env, needs_file=False, text=taken(handed[0]) if handed else None)
    reloading = Reloading(settings, config.reader(config_file, env))
    speak(settings)
    with socket.socket(fileno=public) as public_socket, socket.socket(fileno=control) as control_socket:
        run(serve_as_worker(reloading, public_socket, control_socket))


if __name__ == "__main__":
    main(sys.argv[1:])
