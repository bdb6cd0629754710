"""Who listens on a port, as Linux tells it."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from notifier.checks.programs import Program, program_on

ON_LINUX = pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="only Linux tells it")


@pytest.mark.parametrize(
    ("command", "shown", "is_ours"),
    [
        ("/venv/bin/python /venv/bin/notifier serve --workers 2", "notifier serve --workers 2 (pid 7)", True),
        ("/usr/bin/python3 -P -m notifier --ends-with-stdin consume orders", "notifier consume orders (pid 7)", True),
        ("/usr/sbin/nginx -g daemon off;", "/usr/sbin/nginx -g daemon off; (pid 7)", False),
        ("vi notifier.toml", "vi notifier.toml (pid 7)", False),
        ("x" * 200, f"{'x' * 60} (pid 7)", False),
    ],
)
def test_a_program_is_known_by_its_command(command: str, shown: str, is_ours: bool) -> None:
    program = Program(7, command)

    assert str(program) == shown
    assert program.is_ours == is_ours


@ON_LINUX
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["v4", "v6"])
def test_a_listener_of_this_very_process_is_found(family: socket.AddressFamily) -> None:
    with socket.socket(family) as listener:
        listener.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
        port = listener.getsockname()[1]
        before = program_on(port)

        listener.listen()
        found = program_on(port)

    assert before is None, "bound is not listening"
    assert found is not None
    assert found.pid == os.getpid()
    assert program_on(port) is None
