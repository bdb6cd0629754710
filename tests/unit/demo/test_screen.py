"""What a demo writes where no terminal is: nothing twice, no more than a line a second, and how it ended."""

from __future__ import annotations

from dataclasses import replace

import pytest

from notifier.demo.progress import NOTHING
from notifier.demo.screen import LINE_EVERY_S, Screen, line

FEW = replace(NOTHING, accepted=3)
MORE = replace(FEW, accepted=4)
ALL = replace(MORE, accepted=5)


def test_a_line_comes_when_something_changed_and_the_last_one_always(capsys: pytest.CaptureFixture[str]) -> None:
    with Screen(is_quiet_on_stdout=False).progress(5) as show:
        show(NOTHING, 10.0)  # nothing happened yet
        show(FEW, 10.1)
        show(MORE, 10.2)  # too soon
        show(MORE, 10.1 + LINE_EVERY_S)
        show(MORE, 20.0)  # nothing new
        show(ALL, 20.1)
        show(ALL, 30.0)

    assert capsys.readouterr().out.splitlines() == [line(seen) for seen in (FEW, MORE, ALL)]


def test_how_it_stood_at_the_end_is_told_however_soon_it_came(capsys: pytest.CaptureFixture[str]) -> None:
    with Screen(is_quiet_on_stdout=False).progress(5) as show:
        show(FEW, 10.0)
        show(ALL, 10.1)

    assert capsys.readouterr().out.splitlines() == [line(FEW), line(ALL)]
