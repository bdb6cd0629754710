"""
Settings handed to a child, so that it begins with those that are in use and not with whatever lies in the file by then.

A child that dies is started again at any moment: also while the file is being edited, or was refused. What is handed is the text
of the settings file as it was last taken over, through an open file without a name; the child's own reload reads the named one.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

_CHUNK_BYTES = 1_048_576


@contextmanager
def handed(text: str | None) -> Iterator[int | None]:
    """
    The number of an open file that holds the text, for a child that is started within the block; None where there is none.

    It has no name, so that nobody else finds the secrets in it, and is gone once both have closed it.
    """
    if text is None:
        yield None
        return
    number = os.memfd_create("settings") if hasattr(os, "memfd_create") else _unnamed()
    with open(number, "wb") as file:
        file.write(text.encode())
        file.flush()
        yield number


def _unnamed() -> int:
    """Where the system has no files in memory alone (macOS)."""
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def taken(number: int) -> str:
    """The text that was handed over under this number; the file is closed."""
    parts, at = list[bytes](), 0
    try:
        while part := os.pread(
            number, _CHUNK_BYTES, at
        ):  # from its beginning: the position is shared with who wrote it
            parts.append(part)
            at += len(part)
    finally:
        os.close(number)
    return b"".join(parts).decode()
