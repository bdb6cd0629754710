"""
The heart of a supervised process: its event loop beats, so that its supervisor sees that it is alive.

A process that is stopped, or whose loop is blocked for good, does not beat. A thread would go on beating, so this is no thread.
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from contextlib import suppress

BEAT_EVERY_S = 1.0


class _Heart:
    """Where the beats of this process go."""

    __slots__ = ("line",)

    def __init__(self) -> None:
        self.line: socket.socket | None = None


_heart = _Heart()


def beat_to(file_number: int) -> None:
    """Let this process' beats go there, if it is a socket; whoever started it with something else does not want them."""
    if stat.S_ISSOCK(os.fstat(file_number).st_mode):
        _heart.line = socket.socket(fileno=os.dup(file_number))


def begin(loop: asyncio.AbstractEventLoop) -> None:
    """Beat as long as this loop runs, where somebody listens."""
    if _heart.line is not None:
        loop.call_soon(_beat, loop, _heart.line)


def _beat(loop: asyncio.AbstractEventLoop, line: socket.socket) -> None:
    # full: the supervisor is held up, and has beats enough; broken: it is gone, which is noticed elsewhere
    with suppress(OSError):
        line.send(b".", socket.MSG_DONTWAIT)
    loop.call_later(BEAT_EVERY_S, _beat, loop, line)
