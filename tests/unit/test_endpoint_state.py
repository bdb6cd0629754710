"""What is remembered of an endpoint: the higher round holds, a command is obeyed once, time stands still while left alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.deliveries import endpoint_state
from notifier.deliveries.endpoint_state import EndpointState, Round, State, Why, change, first_met, join, read_for_it
from notifier.errors import NewerStateError
from notifier.record import Record

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)

CHANGES: dict[str, tuple[State, Why]] = {
    "failing": (State.SUSPENDED, Why.FAILING),
    "accepted": (State.ACTIVE, Why.ACCEPTED),
    "gone": (State.SUSPENDED, Why.GONE),
}

Step = tuple[str, int]
STEPS = st.lists(
    st.tuples(st.sampled_from((*CHANGES, "suspend", "resume", "read", "caught up")), st.integers(0, 60)).filter(
        lambda step: step[1] > 0
    ),
    max_size=8,
)


def _after(steps: list[Step]) -> EndpointState:
    state, at, command = first_met("shop-oms", start=7, at=NOON, behind=7), NOON, 0
    for what, seconds in steps:
        at += timedelta(seconds=seconds)
        if what in CHANGES:
            state = change(state, *CHANGES[what], at=at)
        elif what in ("read", "caught up"):
            state = read_for_it(state, seconds if what == "read" else None)
        else:
            command += 1
            to = State.SUSPENDED if what == "suspend" else State.ACTIVE
            state = change(state, to, Why.OPERATOR, at=at, command=command)
    return state


STATES = STEPS.map(_after)


@given(STATES, STATES)
def test_it_does_not_matter_whose_record_lands_last(one: EndpointState, other: EndpointState) -> None:
    assert join(one, other) == join(other, one)
    assert join(one, one) == one


@given(STATES, STATES, STATES)
def test_nor_in_which_grouping_they_are_joined(one: EndpointState, two: EndpointState, three: EndpointState) -> None:
    assert join(join(one, two), three) == join(one, join(two, three))


@given(STATES, st.sampled_from((State.ACTIVE, State.SUSPENDED)), st.integers(9, 20))
def test_a_command_is_obeyed_once(state: EndpointState, to: State, command: int) -> None:
    obeyed = change(state, to, Why.OPERATOR, at=NOON, command=command)

    assert obeyed.state is to
    assert obeyed.round == Round(command)
    assert change(obeyed, State.ACTIVE, Why.OPERATOR, at=NOON, command=command) == obeyed
    assert change(obeyed, State.SUSPENDED, Why.OPERATOR, at=NOON, command=command - 1) == obeyed
    assert obeyed.round > state.round


@given(STATES)
def test_every_change_is_a_round_above_and_none_where_begins(state: EndpointState) -> None:
    for to, why in CHANGES.values():
        changed = change(state, to, why, at=NOON)

        assert changed == state or changed.round > state.round
        assert changed.start == state.start
        assert join(state, changed) == changed


@given(STATES)
def test_what_is_left_alone_stays_so_until_an_operator_resumes_it(state: EndpointState) -> None:
    """Not even an acceptance that was on its way changes it."""
    if state.is_left_alone:
        for to, why in CHANGES.values():
            assert change(state, to, why, at=NOON) == state
        assert not change(state, State.ACTIVE, Why.OPERATOR, at=NOON, command=99).is_left_alone


@pytest.mark.parametrize(
    ("steps", "counted_s", "word"),
    [
        ([], 100, "nothing happened"),
        ([("failing", 30)], 100, "time runs on while it fails"),
        ([("failing", 30), ("accepted", 10)], 100, "and after it"),
        ([("suspend", 30)], 30, "it stands still from an operator's word on"),
        ([("gone", 30)], 30, "and from a 410 on"),
        ([("suspend", 30), ("resume", 50)], 50, "and runs again when it is resumed"),
        ([("suspend", 30), ("suspend", 20), ("resume", 30)], 50, "said twice, it stands still once"),
        ([("failing", 10), ("gone", 20), ("resume", 10), ("suspend", 10), ("resume", 20)], 70, "each pause counts"),
        ([("gone", 150)], 100, "what began later does not count"),
    ],
)
def test_only_time_in_which_it_is_tried_counts(steps: list[Step], counted_s: int, word: str) -> None:
    assert _after(steps).waited(NOON, NOON + timedelta(seconds=100)) == timedelta(seconds=counted_s), word


@given(STATES, st.integers(0, 60))
def test_what_is_read_beside_the_others_only_goes_on(state: EndpointState, upto: int) -> None:
    """A zombie's record of less, landing late, has nothing read again; who has caught up stays with the others."""
    read, caught_up = read_for_it(state, upto), read_for_it(state, None)

    assert caught_up.behind is None
    assert join(caught_up, read) == join(read, caught_up) == caught_up
    if state.behind is None:
        assert read == state
    else:
        assert read.behind == max(state.behind, upto)


@given(STATES, STATES)
def test_a_record_is_read_back_to_the_byte_and_merged_whole(one: EndpointState, other: EndpointState) -> None:
    known, new = endpoint_state.to_record(one), endpoint_state.to_record(other)

    assert endpoint_state.from_record(known) == one
    assert endpoint_state.merge(known, new) in (known, new)
    assert endpoint_state.from_record(endpoint_state.merge(known, new)) == join(one, other)


def test_a_record_of_a_later_release_is_left_alone() -> None:
    later = {"state_version": endpoint_state.STATE_VERSION + 1, "mood": "well"}

    with pytest.raises(NewerStateError):
        endpoint_state.from_record(Record(b"shop-oms", msgspec.json.encode(later)))


def test_what_was_heard_before_an_operator_resumed_it_does_not_undo_that() -> None:
    """A process that stood still wrote its 410 down after the word that came later, and what waited was left alone for good."""
    resumed = change(first_met("oms", start=0, at=NOON), State.ACTIVE, Why.OPERATOR, at=NOON, command=6)

    before = change(resumed, State.SUSPENDED, Why.GONE, at=NOON - timedelta(milliseconds=1))
    after = change(resumed, State.SUSPENDED, Why.GONE, at=NOON)

    assert before == resumed
    assert after.is_left_alone
