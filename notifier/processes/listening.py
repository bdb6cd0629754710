"""Taking an address to listen on, so that what goes wrong is one clear sentence."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from notifier.config import Address

BACKLOG = 1024
"""Connections that may wait to be accepted; the kernel's own limit (somaxconn) may be lower."""

_WHY = {
    errno.EADDRINUSE: "another program listens there. End it, or choose another port",
    errno.EACCES: "that port needs more rights. Choose one above 1023",
    errno.EADDRNOTAVAIL: "this machine has no such address",
}


class CannotListenError(Exception):
    """
    An address cannot be listened on. The message is for the person who started the program: which, why, what to do.

    Args:
        taken: the address, where another program has it.
    """

    def __init__(self, message: str, taken: Address | None = None) -> None:
        super().__init__(message)
        self.taken = taken


@contextmanager
def listening(address: Address, setting: str) -> Iterator[socket.socket]:
    """
    A socket that listens there, closed at the end. Without SO_REUSEPORT: a second program on the same port has to be seen.

    Args:
        setting: what names the address in the settings or on the command line, for the message.

    Raises:
        CannotListenError: it cannot be had.
    """
    try:
        sock = _bound(address)
    except OSError as error:
        why = _WHY.get(error.errno or 0) or (error.strerror or "unknown").lower()
        where = "" if setting.startswith("-") else f": {setting} in the settings, or {_variable(setting)}=HOST:PORT"
        taken = address if error.errno == errno.EADDRINUSE else None
        raise CannotListenError(f"cannot listen on {address} ({setting}): {why}{where}.", taken) from error
    with sock:
        yield sock


def _variable(setting: str) -> str:
    return f"NOTIFIER__{setting.upper().replace('.', '__')}"


def _bound(address: Address) -> socket.socket:
    found = socket.getaddrinfo(address.host or None, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, where = (
        min(found, key=lambda one: one[0] != socket.AF_INET) if address.host else found[0]
    )
    sock = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":  # elsewhere it means something else: two programs on one port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1 if address.host else 0)
        sock.bind(where)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def address_of(sock: socket.socket) -> Address:
    """Where a socket really listens: the port that the system chose where 0 was asked for."""
    host, port = sock.getsockname()[:2]
    return Address(str(host), int(port))
