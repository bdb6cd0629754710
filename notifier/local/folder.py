"""The folder in which local services keep their data: one user at a time."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from notifier.local.errors import LocalFailed


@contextlib.contextmanager
def held(folder: Path) -> Iterator[int]:
    """
    Make `folder` if need be and hold it until the block ends or the process does; gives the lock's file descriptor.

    Raises:
        LocalFailed: somebody else holds it, or it can't be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise LocalFailed(f"{folder} can't be written: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LocalFailed(
                f"{folder} is in use by another run; wait for its end, or work in another folder"
            ) from None
        yield lock.fileno()
