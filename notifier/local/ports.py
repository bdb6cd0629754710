"""Ports on the loopback address."""

import random
import socket

from notifier.local.errors import LocalFailed

HOST = "127.0.0.1"

# Below 32768, where Linux begins to take ports for outgoing connections (ip(7), ip_local_port_range). A client that keeps
# connecting to a stopped server on a port from up there sooner or later gets it as its own: it talks to itself, and the
# server can't come back.
CHOICE = range(20_000, 32_768)
_TRIES_MAX = 200


def is_free(port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as probe:
        probe.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # as servers do; connections in TIME_WAIT don't count
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_ports(count: int) -> list[int]:
    """
    Find `count` different free ports.

    They are drawn, not counted up, so two that look at the same moment rarely find the same one.

    Raises:
        LocalFailed: hardly a port is free.
    """
    drawn = random.sample(CHOICE, _TRIES_MAX)
    free = [port for port in drawn if is_free(port)][:count]
    if len(free) < count:
        raise LocalFailed(f"no free port found on {HOST} between {CHOICE.start} and {CHOICE.stop - 1}")
    return free
