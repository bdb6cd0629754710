"""How fast an endpoint is called: laws on a simulated endpoint, with no clock but the numbers here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from itertools import repeat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.telling.pace import FAILURES_IN_A_ROW, PROBE_S_MAX, Pace, Phase

DEFAULT = {"concurrency": 8, "pause_s": 5.0, "pause_s_max": PROBE_S_MAX, "suspend_after_s": 300.0}
"""As the settings have it where they say nothing."""

lots = st.floats(0, 1, exclude_max=True)


def pace_of(*, random: Callable[[], float] = lambda: 1.0, **settings: float) -> Pace:
    """A pace whose pauses are as long as may be."""
    given = DEFAULT | settings
    return Pace(
        concurrency=int(given["concurrency"]),
        pause_s=given["pause_s"],
        pause_s_max=given["pause_s_max"],
        suspend_after_s=given["suspend_after_s"],
        random=random,
    )


def throttled(*, random: Callable[[], float] = lambda: 1.0, **settings: float) -> Pace:
    """A pace after just as many failures as it takes, at 0."""
    pace = pace_of(random=random, **settings)
    for _ in range(FAILURES_IN_A_ROW):
        pace.failed(0.0)
    assert pace.phase is Phase.THROTTLED
    return pace


class Endpoint:
    """An endpoint that more wait for than it can ever take: whenever its pace allows an attempt, one begins."""

    def __init__(self, pace: Pace, durations_s: Iterator[float], now: float = 0.0) -> None:
        self.pace = pace
        self.now = now
        self.begun: list[float] = []
        self.most_at_once = 0
        self._durations_s = durations_s
        self._ends: list[float] = []

    def run(self, until: float, answers: Iterator[bool]) -> None:
        """Until that time, attempts end with these answers."""
        while True:
            while len(self._ends) < self.pace.limit(self.now):
                self.pace.begin(self.now)
                self.begun.append(self.now)
                heappush(self._ends, self.now + next(self._durations_s))
            self.most_at_once = max(self.most_at_once, len(self._ends))
            pause_s = self.pace.ready_in_s(self.now)
            assert self._ends or pause_s > 0.0, "nothing is under way, and nothing may ever begin"
            at = self._ends[0] if self._ends else self.now + pause_s
            if at > until:
                self.now = until
                return
            self.now = max(at, self.now)
            if self._ends:
                heappop(self._ends)
                if next(answers):
                    self.pace.accepted(self.now)
                else:
                    self.pace.failed(self.now)


@given(
    before=st.lists(st.booleans(), max_size=40),
    durations_s=st.lists(st.floats(0.001, 0.01) | st.floats(0.1, 10.0), min_size=1, max_size=20),
    lot=lots,
)
def test_an_endpoint_that_is_dead_for_a_minute_gets_no_more_than_twenty_requests_in_it(
    before: list[bool], durations_s: list[float], lot: float
) -> None:
    """Whatever happened before, however many wait, whether it refuses at once or hangs."""
    pace = pace_of(random=lambda: lot)
    endpoint = Endpoint(pace, cycle(durations_s))
    dead_from = 0.0
    for answer in before:
        endpoint.run(dead_from := dead_from + (0.02 if answer else 2.0), repeat(answer))
    begun = len(endpoint.begun)

    endpoint.run(dead_from + 60.0, repeat(False))

    assert len(endpoint.begun) - begun <= 20


def cycle(values: list[float]) -> Iterator[float]:
    """The values again and again."""
    while True:
        yield from values


@given(
    concurrency=st.integers(1, 40),
    answers=st.lists(st.booleans(), min_size=1, max_size=60),
    durations_s=st.lists(st.floats(0.1, 10.0), min_size=1, max_size=10),
    lot=lots,
)
def test_no_more_are_in_flight_than_the_endpoint_may_have(
    concurrency: int, answers: list[bool], durations_s: list[float], lot: float
) -> None:
    endpoint = Endpoint(pace_of(concurrency=concurrency, random=lambda: lot), cycle(durations_s))

    for number, answer in enumerate(answers):
        endpoint.run(number + 1.0, repeat(answer))

        assert 0 <= endpoint.pace.limit(endpoint.now) <= concurrency
    assert endpoint.most_at_once <= concurrency


@given(
    answers=st.lists(st.booleans(), max_size=60),
    durations_s=st.lists(st.floats(0.1, 10.0), min_size=1, max_size=10),
    lot=lots,
)
def test_whatever_happened_an_endpoint_that_accepts_again_is_found_and_gets_all_it_may_have(
    answers: list[bool], durations_s: list[float], lot: float
) -> None:
    """L1: nobody stays throttled or suspended for what is over."""
    endpoint = Endpoint(pace_of(random=lambda: lot), cycle(durations_s))
    for number, answer in enumerate(answers):
        endpoint.run(number + 1.0, repeat(answer))

    endpoint.run(endpoint.now + 10.0 + PROBE_S_MAX + 10.0 * 10, repeat(True))

    assert endpoint.pace.phase is Phase.STEADY
    assert endpoint.pace.limit(endpoint.now) == 8


@given(
    rows=st.lists(st.integers(0, FAILURES_IN_A_ROW - 1), min_size=1, max_size=50),
    concurrency=st.integers(1, 20),
)
def test_an_order_that_fails_at_an_endpoint_that_accepts_others_throttles_nobody(
    rows: list[int], concurrency: int
) -> None:
    """Any acceptance forgets what failed before it, and at every moment something may begin."""
    pace = pace_of(concurrency=concurrency)

    for now, failures in enumerate(rows):
        for _ in range(failures):
            pace.failed(float(now))
            assert pace.limit(float(now)) >= 1
        pace.accepted(float(now))

    assert pace.phase is Phase.STEADY
    assert pace.limit(float(len(rows))) == concurrency


def test_each_failure_in_a_row_leaves_less_in_flight_until_it_is_one() -> None:
    """So an endpoint that dies with 8 in flight is met by those 8, and no others come after them."""
    pace = pace_of()

    limits = []
    for _ in range(FAILURES_IN_A_ROW - 1):
        pace.failed(0.0)
        limits.append(pace.limit(0.0))

    assert limits == [7, 6, 5, 4, 3, 2, 1]


def test_the_pause_doubles_with_each_failure_up_to_a_minute() -> None:
    pace, now, pauses_s = throttled(), 0.0, []

    for _ in range(6):
        pauses_s.append(pace.ready_in_s(now))
        assert pace.limit(now) == 0
        now += pauses_s[-1]
        assert pace.limit(now) == 1
        pace.begin(now)
        pace.failed(now)

    assert pauses_s == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]


def test_a_pause_is_drawn_from_its_upper_half() -> None:
    """What failed together does not come back together, and not too soon either."""
    assert throttled(random=lambda: 0.0).ready_in_s(0.0) == 2.5
    assert throttled(random=lambda: 0.5).ready_in_s(0.0) == 3.75


def test_those_in_flight_when_it_was_throttled_pay_for_one_pause_together() -> None:
    pace = throttled()

    for _ in range(20):
        pace.failed(1.0)

    assert pace.ready_in_s(1.0) == 4.0


def test_a_probe_of_whose_end_nobody_tells_is_followed_by_a_pause() -> None:
    """Its partition was taken away in the middle: that is no leave to call again at once."""
    pace = throttled()

    pace.begin(5.0)

    assert pace.limit(5.0) == 0
    assert pace.ready_in_s(5.0) == 5.0


def test_who_asks_to_be_left_alone_for_longer_is() -> None:
    pace = throttled()
    pace.begin(5.0)

    pace.failed(5.0, wish_s=120.0)

    assert pace.ready_in_s(5.0) == 120.0


def test_who_has_only_failed_for_long_is_suspended_and_called_in_the_same_measure() -> None:
    pace = throttled()
    now = 0.0

    while now < 300.0:
        assert pace.phase is Phase.THROTTLED
        now += pace.ready_in_s(now)
        pace.begin(now)
        pace.failed(now)

    assert pace.phase is Phase.SUSPENDED
    assert pace.ready_in_s(now) == 60.0


def test_one_that_fails_rarely_but_always_is_suspended_too() -> None:
    """It never comes to eight in a row, where there is little to tell it."""
    pace = pace_of()

    pace.failed(0.0)
    pace.failed(299.0)
    assert not pace.is_paused
    pace.failed(300.0)

    assert pace.is_suspended
    assert pace.limit(300.0) == 0


def test_an_acceptance_begins_the_time_to_suspension_anew() -> None:
    pace = pace_of()

    pace.failed(0.0)
    pace.accepted(200.0)
    pace.failed(250.0)
    pace.failed(400.0)

    assert pace.phase is Phase.STEADY


@pytest.mark.parametrize("phase", [Phase.THROTTLED, Phase.SUSPENDED])
def test_recovery_rises_from_one_by_one_with_each_acceptance(phase: Phase) -> None:
    pace = throttled(suspend_after_s=300.0 if phase is Phase.THROTTLED else 5.0)
    pace.begin(5.0)
    if phase is Phase.SUSPENDED:
        pace.failed(5.0)
    assert pace.phase is phase

    limits = []
    for _ in range(8):
        pace.accepted(20.0)
        limits.append(pace.limit(20.0))

    assert limits == [1, 2, 3, 4, 5, 6, 7, 8]
    assert pace.phase is Phase.STEADY


def test_a_failure_while_it_recovers_halves_what_may_be_in_flight() -> None:
    pace = throttled()
    for _ in range(7):
        pace.accepted(5.0)

    limits = [pace.limit(5.0)]
    for _ in range(3):
        pace.failed(5.0)
        limits.append(pace.limit(5.0))
    pace.accepted(5.0)
    limits.append(pace.limit(5.0))

    assert limits == [7, 3, 1, 1, 2]
    assert pace.phase is Phase.RECOVERING


def test_one_that_fails_again_while_it_recovers_is_throttled_from_the_first_pause() -> None:
    pace = throttled()
    pace.begin(5.0)
    pace.accepted(5.0)

    for _ in range(FAILURES_IN_A_ROW):
        pace.failed(6.0)

    assert pace.phase is Phase.THROTTLED
    assert pace.ready_in_s(6.0) == 5.0


def test_an_operator_s_word_begins_with_one_at_a_time() -> None:
    pace = throttled(suspend_after_s=1.0)
    pace.failed(1.0)
    assert pace.is_suspended

    pace.resume()

    assert pace.phase is Phase.RECOVERING
    assert pace.limit(1.0) == 1
    for _ in range(FAILURES_IN_A_ROW - 1):
        pace.failed(1.5)
    assert pace.phase is Phase.RECOVERING, "what failed before is forgotten"


@given(lot=lots)
def test_one_that_was_suspended_for_another_process_is_probed_soon(lot: float) -> None:
    pace = pace_of(random=lambda: lot)

    pace.suspend(100.0)

    assert pace.is_suspended
    assert pace.ready_in_s(100.0) <= 5.0
    assert pace.limit(105.0) == 1


def test_while_the_fault_is_ours_a_failure_throttles_at_once_and_suspends_nobody() -> None:
    pace = pace_of()

    for now in (0.0, 200.0, 400.0, 1000.0):
        pace.failed(now, is_ours=True)
        assert pace.phase is Phase.THROTTLED
    pace.failed(1299.0)

    assert not pace.is_suspended, "the time until the last of them does not count"
    pace.failed(1300.0)
    assert pace.is_suspended


def test_who_accepted_something_lately_or_is_suspended_already_is_not_failing() -> None:
    pace = pace_of()
    assert not pace.is_failing(0.0), "nobody has called it"

    pace.accepted(10.0)
    pace.failed(11.0)
    assert not pace.is_failing(14.9)
    assert pace.is_failing(15.0)
    pace.failed(311.0)
    assert pace.is_suspended
    assert not pace.is_failing(311.0)
