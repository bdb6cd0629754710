"""A process of its own for whatever is measured, whose CPU time can be asked for at any moment."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .child import CPU

STOPPED_WITHIN_S = 15.0


class Measured:
    """A running process of ours."""

    def __init__(self, process: subprocess.Popen[bytes], line: socket.socket, log: Path) -> None:
        self._process = process
        self._line = line
        self.log = log
        """What it wrote: its log lines."""

    def cpu_s(self) -> float:
        """The CPU seconds that it has used, in all its threads. The first answer comes when its imports are done."""
        self._line.sendall(b"?")
        answer = self._line.recv(CPU.size)
        if len(answer) < CPU.size:
            raise RuntimeError(f"a measured process ended early; see {self.log}")
        (seconds,) = CPU.unpack(answer)
        return float(seconds)

    def stop(self) -> None:
        """End it in order, and wait until it has ended."""
        self._process.terminate()
        try:
            self._process.wait(STOPPED_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def measured(folder: Path, role: str, *arguments: str) -> Iterator[Measured]:
    """A process in one of the roles of `tests.benchmarks.child`, for a block; its log goes to `folder`."""
    ours, theirs = socket.socketpair()
    log = folder / f"{role}.log"
    with ours, theirs, log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.child", role, *arguments],
            stdin=theirs.fileno(),
            stdout=out,
            stderr=out,
        )
        theirs.close()
        child = Measured(process, ours, log)
        try:
            child.cpu_s()
            yield child
        finally:
            child.stop()


def result_of(role: str, *arguments: str, timeout_s: float = 60.0) -> str:
    """What a role that ends by itself printed."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        done = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.child", role, *arguments],
            stdin=theirs.fileno(),
            stdout=subprocess.PIPE,
            timeout=timeout_s,
            check=True,
        )
    return done.stdout.decode()
