"""When a channel has been quiet for far longer than usual, and when it only sleeps (contract, section 8, `channel.silent`)."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from notifier.watching.rhythm import MISSED_MIN, SILENT_S_MIN, Rhythms, Silence

HOUR, DAY = 3600.0, 86_400.0
MONDAY = 1_792_368_000.0
"""2026-10-19 at midnight in UTC; which hour of the day it is in Hong Kong makes no difference."""

PerHour = Callable[[int, int], float]
"""How many come, from the day (0: a Monday) and the hour."""


def by_day(per_hour: float) -> PerHour:
    """Closed from ten in the evening to nine."""
    return lambda _, hour: per_hour if 9 <= hour < 22 else 0.0


def lived(
    per_hour: PerHour, *, days: float, seed: int = 1, rhythms: Rhythms | None = None
) -> list[tuple[float, Silence]]:
    """What is told in some days of a shop's life, and when, in hours since the first Monday."""
    lots, rhythms = random.Random(seed), rhythms or Rhythms()
    told = []
    for minute in range(int(days * 1440)):
        now = MONDAY + 60.0 * minute
        expected = per_hour(minute // 1440, minute % 1440 // 60) / 60
        for _ in range(10):
            if lots.random() < expected / 10:
                rhythms.came("shop", now + lots.random())
        told += [(minute / 60, silence) for silence in rhythms.look(now + 1.0)]
    return told


def until(hour: float, before: PerHour) -> PerHour:
    """As before, and from then on nothing."""
    return lambda day, of_day: before(day, of_day) if day * 24 + of_day < hour else 0.0


@pytest.mark.parametrize("per_hour", [0.5, 3.0, 30.0, 300.0], ids=str)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_shop_that_is_closed_at_night_is_not_missed_at_night(per_hour: float, seed: int) -> None:
    """However long the night is beside the gaps of the day."""
    assert lived(by_day(per_hour), days=10, seed=seed) == []


@pytest.mark.parametrize(
    ("per_hour", "within_h"),
    [
        pytest.param(300.0, 0.35, id="a busy shop: after the quarter of an hour that is the least"),
        pytest.param(30.0, 1.2, id="a shop with one each two minutes: within the hour or so"),
        pytest.param(3.0, 9.0, id="three an hour: before the day is over"),
        pytest.param(0.5, 96.0, id="six a day: in days, not in hours"),
    ],
)
def test_a_shop_that_falls_silent_is_missed_in_its_own_measure(per_hour: float, within_h: float) -> None:
    """Told once, soon for who is heard of often."""
    noon = 5 * 24 + 12

    told = lived(until(noon, by_day(per_hour)), days=12)

    assert len(told) == 1
    (at, silence) = told[0]
    assert noon < at <= noon + within_h
    assert silence.channel == "shop"
    assert silence.missed >= MISSED_MIN
    assert silence.silent_s >= SILENT_S_MIN


def test_a_shop_that_does_not_open_is_missed_in_the_morning() -> None:
    """Nothing is expected of the night, so it is the morning that counts."""
    told = lived(until(5 * 24, by_day(30.0)), days=6)

    assert [5 * 24 + 9 < at < 5 * 24 + 11 for at, _ in told] == [True]


def test_who_is_closed_on_sundays_is_missed_on_the_first_of_them_alone() -> None:
    """Nobody could know of the first; of the others the week before tells."""
    told = lived(lambda day, hour: 0.0 if day % 7 == 6 else by_day(30.0)(day, hour), days=29)

    assert [int(at // 24) for at, _ in told] == [6]


def test_the_first_day_says_nothing() -> None:
    """What is usual at an hour is not known before that hour was seen once."""
    assert lived(until(12, by_day(300.0)), days=1) == []


def test_it_is_told_again_after_it_was_heard() -> None:
    """Each silence once, and the next one is another."""
    told = lived(lambda day, hour: by_day(300.0)(day, hour) if (day, hour) not in {(3, 12), (3, 15)} else 0.0, days=5)

    assert [at // 1 for at, _ in told] == [3 * 24 + 12, 3 * 24 + 15]


def test_a_machine_that_slept_has_missed_nothing() -> None:
    """Hours in which this process did not run are no silence of a channel."""
    rhythms = Rhythms()
    lived(by_day(300.0), days=3.5, rhythms=rhythms)

    assert list(rhythms.look(MONDAY + 3.5 * DAY + 8 * HOUR)) == []


def test_a_channel_that_was_never_heard_is_not_missed() -> None:
    """It may not be in use yet."""
    assert list(Rhythms().look(MONDAY)) == []
