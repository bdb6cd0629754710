"""Who listens on a port, as Linux tells it."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path

import pytest

from notifier.checks.programs import Program, program_on

ON_LINUX = pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="only Linux tells it")


@pytest.mark.parametrize(
    ("command", "shown", "is_ours"),
    [
        ("/venv/bin/python /venv/bin/notifier serve --workers 2", "notifier serve --workers 2 (pid 7)", True),
        ("/usr/bin/python3 -P -m notifier --ends-with-stdin consume orders", "notifier consume orders (pid 7)", True),
        (
            "/usr/bin/python3 -P -m notifier --ends-with-stdin --settings-on 15 --config a.toml serve",
            "notifier --config a.toml serve (pid 7)",
            True,
        ),
        ("/usr/sbin/nginx -g daemon off;", "/usr/sbin/nginx -g daemon off; (pid 7)", False),
        ("vi notifier.toml", "vi notifier.toml (pid 7)", False),
        ("x" * 200, f"{'x' * 60} (pid 7)", False),
    ],
)
def test_a_program_is_known_by_its_command(command: str, shown: str, is_ours: bool) -> None:
    program = Program(7, tuple(command.split()))

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


def _process(proc: Path, pid: int, parent: int, command: Sequence[str], *sockets: int) -> None:
    folder = proc / str(pid)
    (folder / "fd").mkdir(parents=True)
    (folder / "cmdline").write_bytes("\0".join([*command, ""]).encode())
    (folder / "status").write_text(f"Name:\tpython\nPid:\t{pid}\nPPid:\t{parent}\n")
    for number, inode in enumerate(sockets):
        (folder / "fd" / str(number)).symlink_to(f"socket:[{inode}]")


@pytest.mark.parametrize(
    ("supervisor", "told"),
    [
        (["/venv/bin/python", "/venv/bin/notifier", "run"], "notifier run (pid 20)"),
        (["/lib/systemd/systemd", "--user"], "notifier serve (pid 30)"),
        (["/bin/sh", "-c", "cd shop; notifier serve"], "notifier serve (pid 30)"),
    ],
    ids=["what a person has typed", "it was started by itself", "a shell was told to"],
)
def test_of_ours_the_one_is_told_that_a_person_has_started(supervisor: list[str], told: str, tmp_path: Path) -> None:
    """`notifier --settings-on 15 serve` was told, which nobody has typed; and who ends that sees it started again."""
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "tcp").write_text(f"sl local rem st\n0: 0100007F:{8080:04X} 00000000:0000 0A a b c d e 77\n")
    (tmp_path / "net" / "tcp6").write_text("sl local rem st\n")
    _process(tmp_path, 10, 1, ["/bin/bash"])
    _process(tmp_path, 20, 10, supervisor)
    child = "/venv/bin/python -P -m notifier --ends-with-stdin --settings-on 15 serve"
    _process(tmp_path, 30, 20, child.split(), 77)

    assert str(program_on(8080, tmp_path)) == told
