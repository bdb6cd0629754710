"""A supervised process does not outlive its supervisor, however that ended; hears its word, and is heard to be alive."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress

from notifier.processes import hangup, heart

END_S_MAX = 30.0
"""Longer than any service takes to end in order; what still runs then hangs."""

_STDIN = 0


def end_with_stdin() -> None:
    """
    Watch standard input, and end this process in order once it closes. Where it is a socket, this process' heart beats into it.

    The supervisor holds the other end, and writes only that the settings are to be read again. The system closes it when the
    supervisor is gone, killed or not; unlike Linux's PR_SET_PDEATHSIG this works everywhere and does not depend on which thread
    started the process.
    """
    hangup.expect()
    heart.beat_to(_STDIN)
    threading.Thread(target=_watch, name="supervisor-watch", daemon=True).start()


def _watch() -> None:
    with suppress(ConnectionResetError):  # a socket ends so where beats were not read any more
        while said := os.read(_STDIN, 4096):
            hangup.hear(said)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(END_S_MAX)
    os.kill(os.getpid(), signal.SIGKILL)
