"""The entry of one worker of `serve --workers N`; started by `notifier.workers`, not by hand."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

from notifier import config
from notifier.app import run, serve_as_worker, speak


def main(arguments: list[str]) -> None:
    """
    Work on the public socket until the parent says otherwise.

    Args:
        arguments: the settings file, if one was named; the file numbers of the public socket and of the line to the parent.
    """
    *config_file, public, control = arguments
    settings = config.load(Path(config_file[0]) if config_file else None, config.environment(), needs_file=False)
    speak(settings)
    with socket.socket(fileno=int(public)) as public_socket, socket.socket(fileno=int(control)) as control_socket:
        run(serve_as_worker(settings, public_socket, control_socket))


if __name__ == "__main__":
    main(sys.argv[1:])
