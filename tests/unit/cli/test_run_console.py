"""The console of `notifier run`: whose line it is, and what went wrong, at a glance."""

from __future__ import annotations

import pytest

from notifier.cli.run import console_line

LINE = b"12:00:00.123 %b service.started          pid=1\n"


def test_whose_line_it_is_comes_first() -> None:
    assert console_line("orders", LINE % b"info   ", is_coloured=False) == b"orders  " + LINE % b"info   "


@pytest.mark.parametrize(("level", "colour"), [("info   ", None), ("warning", b"\x1b[33m"), ("error  ", b"\x1b[31m")])
def test_in_colours_what_went_wrong_stands_out(level: str, colour: bytes | None) -> None:
    painted = console_line("orders", LINE % level.encode(), is_coloured=True)

    assert painted.startswith(b"\x1b[32morders  \x1b[0m")
    assert painted.endswith(b"\n")
    assert (colour is None) or colour in painted
    assert (b"\x1b[33m" in painted, b"\x1b[31m" in painted) == (level == "warning", level.strip() == "error")


def test_what_is_no_line_of_ours_comes_through() -> None:
    """A library may write to standard output by itself."""
    assert b"odd" in console_line("fanout", b"odd\n", is_coloured=True)
    assert console_line("fanout", b"\xff\n", is_coloured=False) == b"fanout  \xff\n"
