"""Settings that are handed to a child: whole, once, and found by nobody else."""

from __future__ import annotations

import os

import pytest

from notifier.processes.handing import handed, taken


@pytest.mark.parametrize("has_memory_files", [True, False])
def test_what_is_handed_is_taken_whole(has_memory_files: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than a pipe holds, and in the letters of any language."""
    if not has_memory_files:  # as on macOS
        monkeypatch.delattr(os, "memfd_create", raising=False)
    text = "名 = 1\n" * 400_000

    with handed(text) as number:
        assert number is not None
        assert taken(os.dup(number)) == text


def test_where_there_is_no_file_nothing_is_handed() -> None:
    with handed(None) as number:
        assert number is None


def test_it_is_closed_behind_the_child_s_back() -> None:
    """Each start of a child would leave one more open."""
    with handed("a") as number:
        assert number is not None
        taken(its := os.dup(number))

    for one in (number, its):
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(one)
