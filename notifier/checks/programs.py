"""Which program of this machine listens on a port (Linux; elsewhere, and for programs of other users, nobody can say)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_LISTENS = "0A"
"""TCP_LISTEN, in the column `st` (proc(5), /proc/net/tcp; include/net/tcp_states.h)."""

_OURS = re.compile(r"(.*/)?notifier|notifier\.worker")
"""The word of a command line that starts this project: the command, `-m notifier`, or an ingress' worker."""

_SHOWN_CHARS_MAX = 60
_UNTYPED = {"--ends-with-stdin": 1, "--settings-on": 2}
"""What a supervisor adds to the command line of its children, which nobody types, and how many words that is."""


@dataclass(frozen=True, slots=True)
class Program:
    """A running program."""

    pid: int
    words: tuple[str, ...]
    """Its command line. What a shell was told with `-c` is one word of it, and starts nothing of ours itself."""

    @property
    def is_ours(self) -> bool:
        """Whether it is this project's own command."""
        return str(self).startswith("notifier ")

    def __str__(self) -> str:
        at = next((at for at, word in enumerate(self.words[:6]) if _OURS.fullmatch(word)), None)
        if at is None:
            return f"{' '.join(self.words)[:_SHOWN_CHARS_MAX]} (pid {self.pid})"
        return f"notifier {' '.join(_typed(self.words[at + 1 :]))[:_SHOWN_CHARS_MAX]} (pid {self.pid})"


def _typed(words: Sequence[str]) -> Iterator[str]:
    at = 0
    while at < len(words):
        untyped = _UNTYPED.get(words[at], 0)
        if not untyped:
            yield words[at]
        at += untyped or 1


def program_on(port: int, proc: Path = _PROC) -> Program | None:
    """
    The program that listens on this TCP port; None where it can't be told.

    Of ours it is the one that a person has started, and would end: a child of `notifier run` is started again when it is killed.
    """
    sockets = {f"socket:[{inode}]" for table in ("tcp", "tcp6") for inode in _inodes(proc / "net" / table, port)}
    if not sockets:
        return None
    found = next((_program(folder) for folder in _processes(proc) if _holds_one(folder / "fd", sockets)), None)
    while found is not None and found.is_ours:
        parent = _parent(proc, found)
        if parent is None or not parent.is_ours:
            break
        found = parent
    return found


def _parent(proc: Path, program: Program) -> Program | None:
    try:
        status = (proc / str(program.pid) / "status").read_text(encoding="utf-8", errors="replace")
    except OSError:  # gone
        return None
    parent = re.search(r"^PPid:\s*(\d+)$", status, re.MULTILINE)
    return _program(proc / parent[1]) if parent else None


def _inodes(table: Path, port: int) -> Iterator[str]:
    try:
        lines = table.read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return
    for line in lines:
        columns = line.split()
        if columns[3] == _LISTENS and int(columns[1].rpartition(":")[2], 16) == port:
            yield columns[9]


def _processes(proc: Path) -> Iterator[Path]:
    """The lowest number first: who began to listen, before the children that it handed the socket to."""
    yield from sorted((one for one in proc.iterdir() if one.name.isdecimal()), key=lambda one: int(one.name))


def _holds_one(descriptors: Path, sockets: set[str]) -> bool:
    try:
        return any(str(one.readlink()) in sockets for one in descriptors.iterdir())
    except OSError:  # another user's, or gone
        return False


def _program(folder: Path) -> Program | None:
    try:
        words = (folder / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    except OSError:
        return None
    return Program(int(folder.name), tuple(word.decode(errors="replace") for word in words))
