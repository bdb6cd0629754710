"""Whose fault it is when endpoints fail. Its edges in numbers are in `test_callees.py`."""

from __future__ import annotations

from consumers.telling.blame import AT_ONCE_S, CALM_S, Blame


def failing(*, of: int, failing: int, now: float = 0.0) -> Blame:
    """So many have failed."""
    blame = Blame(of)
    for number in range(failing):
        blame.note(f"e{number}", now, is_failing=True)
    return blame


def test_the_verdict_changes_once() -> None:
    blame = Blame(20)

    changes = [blame.note(f"e{number}", 0.0, is_failing=True) for number in range(15)]

    assert changes == [False] * 9 + [True] + [False] * 5
    assert blame.is_ours


def test_one_that_fails_ten_times_is_one() -> None:
    blame = Blame(10)

    for now in range(10):
        blame.note("e", float(now), is_failing=True)

    assert not blame.is_ours


def test_it_is_over_when_it_has_been_calm_for_a_while() -> None:
    """They come back one by one: a verdict that changed with each of them would be a line for each."""
    blame = failing(of=20, failing=12)

    changes = [blame.note(f"e{number}", 10.0 + number, is_failing=False) for number in range(12)]
    assert (changes, blame.is_ours) == ([False] * 12, True)

    assert not blame.note("e12", 10.0 + 2 + CALM_S - 0.1, is_failing=False)
    assert blame.note("e12", 10.0 + 2 + CALM_S, is_failing=False)
    assert not blame.is_ours


def test_who_fails_again_meanwhile_begins_the_calm_anew() -> None:
    blame = failing(of=20, failing=10)

    blame.note("e0", 10.0, is_failing=False)
    blame.note("e0", 10.0 + CALM_S - 1.0, is_failing=True)
    blame.note("e0", 10.0 + CALM_S, is_failing=False)

    assert blame.is_ours


def test_who_is_not_called_any_more_does_not_fail_for_ever() -> None:
    blame = failing(of=20, failing=9)

    assert not blame.note("late", AT_ONCE_S + 0.1, is_failing=True)
    assert blame.failing == ("late",)
