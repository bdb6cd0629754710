"""
SIGHUP: read the settings again (contract, section 3). From the first moment of a process, and told apart from a terminal's end.

Python would end a process by this signal; one that comes before the settings are in use must not be lost either, since they may
have been read just before they were changed. So it is caught as early as possible, remembered, and obeyed once somebody follows.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

_STANDARD_FILES = (0, 1, 2)
_WORD = b"r"


class _Hangup:
    """What is known of it in this process."""

    __slots__ = ("terminals", "was_heard")

    def __init__(self) -> None:
        self.was_heard = False
        self.terminals: tuple[int, ...] = ()


_hangup = _Hangup()


def expect() -> None:
    """Remember the signal until somebody follows it. Call it before the settings are read, in the main thread."""
    _hangup.terminals = tuple(number for number in _STANDARD_FILES if os.isatty(number))
    signal.signal(signal.SIGHUP, _remember)


def _remember(_signal: int, _frame: FrameType | None) -> None:
    _hangup.was_heard = True


def follow(reload: Callable[[], None], stop: Callable[[str], None]) -> None:
    """
    Call `reload` at each SIGHUP from now on, and for one that came before; the loop is running.

    A terminal that is closed sends the same signal to what runs in it: then `stop` is called, with the signal's name.
    """
    loop = asyncio.get_running_loop()

    def heard() -> None:
        if is_terminal_gone(_hangup.terminals):
            stop(signal.SIGHUP.name)
        else:
            reload()

    loop.add_signal_handler(signal.SIGHUP, heard)
    if _hangup.was_heard:
        _hangup.was_heard = False
        loop.call_soon(heard)


def tell(line: socket.socket) -> None:
    """
    Pass it on to a child that has the other end of this line as its standard input (`notifier.cli.orphan`).

    Not by the signal itself: that would end a child whose interpreter is just starting, and in the line it waits for it.
    """
    with suppress(
        OSError
    ):  # full: it has been told often enough; broken: it is gone, and will read anew when it is back
        line.send(_WORD, socket.MSG_DONTWAIT)


def hear(said: bytes) -> None:
    """Take what was read from such a line."""
    if _WORD in said:
        os.kill(os.getpid(), signal.SIGHUP)


def is_terminal_gone(terminals: tuple[int, ...]) -> bool:
    """Whether one of these files, which were terminals, is none any more: it was closed at its other end."""
    return any(not os.isatty(number) for number in terminals)
