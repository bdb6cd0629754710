"""Lanes: what two owners know of one is joined, and nothing settled or waiting is lost (design, sections 5 and 6)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from notifier.deliveries import delivery
from notifier.deliveries.delivery import (
    Again,
    DeliveryRecord,
    Lane,
    Outcome,
    Redriven,
    Ref,
    give_up_unheard,
    join,
    merge,
    redrive,
    settle,
    wait,
)
from notifier.errors import NewerStateError
from notifier.record import Record

NOW = datetime(2026, 11, 22, 9, 30, 5, tzinfo=UTC)

Step = tuple[str, int, int]
"""What happened, to which version, and a number to draw times and attempts from."""

WHAT = ("wait", "accepted", "dead", "tried", "unheard", "redrive", "once more", "once more, dead")

STEPS = st.lists(st.tuples(st.sampled_from(WHAT), st.integers(1, 6), st.integers(0, 9)), max_size=12)


def _ref(version: int) -> Ref:
    """An event lies where it lies: both owners know one offset of a version."""
    return Ref(version, 800 + version, f"evt_{version:032x}")


def _at(number: int) -> datetime:
    return NOW + timedelta(seconds=number)


def _after(steps: list[Step], lane: Lane | None = None) -> Lane:
    """A lane as fan-out's steps make it."""
    lane = lane or Lane()
    for what, version, number in steps:
        if what == "wait":
            lane = wait(lane, [_ref(version)], since=_at(number), attempt=0, due=_at(number))
        elif what == "tried" and lane.first:
            lane = wait(lane, [], since=_at(number), attempt=lane.attempt + 1, due=_at(number))
        elif what in ("accepted", "dead"):
            lane = settle(lane, _ref(version), now=_at(number), is_dead=what == "dead")
        elif what == "unheard":
            lane = give_up_unheard(lane, _ref(version))
        elif what == "redrive":
            lane = redrive(lane, [_ref(version)], round_=number, now=_at(number))
        elif what.startswith("once more") and isinstance(lane.first, Again):
            lane = settle(lane, lane.first, now=_at(number), is_dead=what.endswith("dead"))
    return lane


LANES = STEPS.map(_after)


@given(LANES)
def test_a_lane_is_well_formed(lane: Lane) -> None:
    """Waiting lies in version order above what is settled, nothing of it is given up; it has its times, an idle lane has none."""
    assert list(lane.waiting) == sorted(set(lane.waiting))
    assert all(ref.version > lane.settled for ref in lane.waiting)
    assert not {ref.version for ref in lane.dead} & {ref.version for ref in lane.waiting}
    assert max((lane.settled, *(ref.version for ref in lane.waiting))) <= lane.known
    assert (lane.since is None) == (lane.next_attempt_at is None) == (lane.first is None)
    assert lane.attempt == 0 or lane.first is not None


@given(LANES, LANES)
def test_it_does_not_matter_whose_record_lands_last(one: Lane, other: Lane) -> None:
    assert join(one, other) == join(other, one)


@given(LANES, LANES)
def test_a_state_joined_again_adds_nothing(one: Lane, other: Lane) -> None:
    both = join(one, other)

    assert join(one, one) == one
    assert join(both, one) == both
    assert join(both, other) == both


@given(LANES, LANES, LANES)
def test_three_states_join_to_the_same_facts_in_any_grouping(one: Lane, two: Lane, three: Lane) -> None:
    """When the first is due and how often it was tried is advice, the rest is the lane."""
    left, right = join(join(one, two), three), join(one, join(two, three))

    assert (left.settled, left.known, left.waiting, left.dead, left.again) == (
        right.settled,
        right.known,
        right.waiting,
        right.dead,
        right.again,
    )


@given(LANES, LANES)
def test_a_join_forgets_nothing_settled_and_loses_nothing_that_waits(one: Lane, other: Lane) -> None:
    both = join(one, other)

    assert both.settled == max(one.settled, other.settled)
    assert both.known == max(one.known, other.known)
    assert set(both.dead) == set(one.dead) | set(other.dead)
    assert set(both.waiting) == {
        ref for ref in {*one.waiting, *other.waiting} if ref.version > both.settled and ref not in both.dead
    }
    if both.first:
        assert both.since is not None
        assert both.next_attempt_at is not None


@given(LANES, LANES)
def test_the_one_who_tried_the_first_one_most_often_knows_when_it_is_due(one: Lane, other: Lane) -> None:
    both = join(one, other)

    tried = [lane for lane in (one, other) if lane.first and lane.first == both.first]
    assert both.attempt == max((lane.attempt for lane in tried), default=0)
    if tried:
        assert both.next_attempt_at in {lane.next_attempt_at for lane in tried if lane.attempt == both.attempt}
        assert both.since == min(lane.since for lane in tried if lane.since)


def test_however_early_that_is() -> None:
    tried = wait(Lane(), [_ref(2)], since=NOW, attempt=3, due=_at(5))
    seen = wait(Lane(), [_ref(2)], since=NOW, attempt=0, due=_at(60))

    assert join(tried, seen) == join(seen, tried) == tried


def test_an_event_that_lies_twice_in_the_log_waits_once() -> None:
    """A late append leaves the same version at two offsets; compaction keeps the later one."""
    early = wait(Lane(), [Ref(2, 815, "evt_00000000000000000000000000000002")], since=NOW, attempt=1, due=_at(5))
    late = wait(Lane(), [Ref(2, 900, "evt_00000000000000000000000000000002")], since=_at(1), attempt=0, due=_at(2))

    for both in (join(early, late), join(late, early)):
        assert both.waiting == (Ref(2, 900, "evt_00000000000000000000000000000002"),)
        assert (both.attempt, both.next_attempt_at, both.since) == (1, _at(5), NOW)


def test_so_is_a_dead_letter_that_lies_twice() -> None:
    one = settle(Lane(), Ref(2, 815, "evt_00000000000000000000000000000002"), now=NOW, is_dead=True)
    other = settle(Lane(), Ref(2, 900, "evt_00000000000000000000000000000002"), now=NOW, is_dead=True)

    assert join(one, other).dead == join(other, one).dead == (Ref(2, 900, "evt_00000000000000000000000000000002"),)


@given(LANES, st.integers(1, 7), st.integers(0, 9))
def test_what_is_waited_for_is_known_until_it_is_settled(lane: Lane, version: int, number: int) -> None:
    waiting = wait(lane, [_ref(version)], since=_at(number), attempt=0, due=_at(number))

    assert waiting.knows(version)
    is_new = version > lane.settled and _ref(version) not in lane.dead
    assert set(waiting.waiting) == set(lane.waiting) | ({_ref(version)} if is_new else set())
    assert (waiting.settled, waiting.dead) == (lane.settled, lane.dead)


@given(LANES, st.integers(1, 7), st.integers(0, 9))
def test_to_wait_again_changes_nothing(lane: Lane, version: int, number: int) -> None:
    once = wait(lane, [_ref(version)], since=_at(number), attempt=0, due=_at(number))

    assert wait(once, [_ref(version)], since=_at(number), attempt=0, due=_at(number)) == once


def test_a_later_version_does_not_hurry_the_first_one() -> None:
    lane = wait(Lane(), [_ref(2)], since=NOW, attempt=3, due=_at(60))

    assert wait(lane, [_ref(3)], since=_at(9), attempt=0, due=_at(9)) == msgspec.structs.replace(
        lane, known=3, waiting=(_ref(2), _ref(3))
    )


def test_a_lower_version_goes_first_and_has_its_own_times() -> None:
    lane = wait(Lane(), [_ref(3)], since=NOW, attempt=3, due=_at(60))

    lane = wait(lane, [_ref(2)], since=_at(9), attempt=1, due=_at(10))

    assert lane.first == _ref(2)
    assert (lane.since, lane.attempt, lane.next_attempt_at) == (_at(9), 1, _at(10))


@given(LANES, st.integers(1, 7), st.integers(0, 9), st.booleans())
def test_settled_never_falls_and_what_waits_behind_is_due_at_once(
    lane: Lane, version: int, number: int, is_dead: bool
) -> None:
    after = settle(lane, _ref(version), now=_at(number), is_dead=is_dead)

    assert after.settled == max(lane.settled, version)
    assert after.known >= lane.known
    assert set(after.waiting) == {ref for ref in lane.waiting if ref.version > after.settled}
    assert set(lane.dead) <= set(after.dead)
    assert after.attempt == 0
    assert after.next_attempt_at == (_at(number) if after.first else None)
    assert (_ref(version) in after.dead) == (_ref(version) in lane.dead or (is_dead and version > lane.settled))


@given(LANES, LANES)
def test_settling_after_a_join_is_never_behind_settling_before_it(one: Lane, other: Lane) -> None:
    """An owner that settles on an older state loses nothing of the newer one when the two are joined."""
    first = one.first
    if not isinstance(first, Ref):
        return

    settled = settle(one, first, now=NOW)

    assert join(settled, other).settled >= max(first.version, other.settled)
    assert first not in join(settled, other).waiting


@given(LANES, st.integers(1, 7))
def test_what_was_given_up_unheard_is_a_dead_letter_and_takes_nothing_with_it(lane: Lane, version: int) -> None:
    """Too much waited already: it is seen and can be asked for again; what waited before it is told all the same."""
    after = give_up_unheard(lane, _ref(version))

    assert after.knows(version)
    assert after.waiting == lane.waiting
    if not lane.knows(version):
        assert _ref(version) in after.dead


@given(LANES, st.integers(1, 7), st.integers(10, 19))
def test_a_redriven_delivery_is_told_again_under_its_id_and_once_for_each_command(
    lane: Lane, version: int, command: int
) -> None:
    asked = redrive(lane, [_ref(version)], round_=command, now=NOW)

    assert redrive(asked, [_ref(version)], round_=command, now=_at(9)) == asked
    if _ref(version) in lane.waiting:
        assert asked == lane
    else:
        assert Again(version, 800 + version, f"evt_{version:032x}", command) in asked.turns
        assert _ref(version) not in asked.dead_letters
    assert (asked.waiting, asked.settled, asked.dead) == (lane.waiting, lane.settled, lane.dead)


@given(LANES, st.integers(1, 7), st.integers(10, 19), st.booleans())
@example(_after([("redrive", 1, 0), ("wait", 1, 0)]), 1, 10, False)
def test_what_a_redriven_delivery_came_to_survives_every_join(
    lane: Lane, version: int, command: int, is_dead: bool
) -> None:
    """A state from before its end, landing late, does not have it told again; a later command does."""
    asked = redrive(lane, [_ref(version)], round_=command, now=NOW)
    turn = Again(version, 800 + version, f"evt_{version:032x}", command)
    if turn not in asked.turns:  # it waits for its first time, so this command asks for nothing
        assert asked == lane
        return

    told = settle(asked, turn, now=NOW, is_dead=is_dead)

    for both in (join(told, asked), join(asked, told), join(lane, told)):
        assert turn not in both.turns
        assert (_ref(version) in both.dead_letters) == is_dead
    later = redrive(told, [_ref(version)], round_=command + 1, now=NOW)
    assert [one.round for one in join(told, later).again if one.version == version] == [command + 1]


def test_a_redriven_delivery_comes_after_what_waits() -> None:
    lane = settle(Lane(), _ref(1), now=NOW, is_dead=True)
    lane = wait(lane, [_ref(2)], since=NOW, attempt=3, due=_at(60))

    asked = redrive(lane, [_ref(1)], round_=4, now=_at(9))

    assert [turn.version for turn in asked.turns] == [2, 1]
    assert (asked.attempt, asked.next_attempt_at) == (3, _at(60))
    assert settle(asked, _ref(2), now=_at(61)).first == Again(1, 801, f"evt_{1:032x}", 4, Redriven.WAITING)


def _delivery(lane: Lane, *, attempt: int = 0, version: int = 1) -> DeliveryRecord:
    return DeliveryRecord(
        event_id=f"evt_{version:032x}",
        endpoint="shop-oms",
        channel="shop-hkd",
        order="T20260001",
        version=version,
        event_partition=17,
        event_offset=800 + version,
        attempt=attempt,
        outcome=Outcome.WAITING,
        status_code=None,
        duration_ms=None,
        error=None,
        next_attempt_at=lane.next_attempt_at,
        lane=lane,
    )


RECORDS = st.builds(
    lambda lane, attempt, version: delivery.to_record(_delivery(lane, attempt=attempt, version=version)),
    LANES,
    st.integers(0, 3),
    st.integers(1, 6),
)


@given(RECORDS)
def test_a_record_is_read_back_to_the_byte(record: Record) -> None:
    assert delivery.to_record(delivery.from_record(record)) == record


@given(RECORDS, RECORDS)
def test_a_merge_holds_the_join_and_keeps_bytes_where_it_can(known: Record, new: Record) -> None:
    """Repair appends what was merged: bytes that nobody wrote before would be a third version of the truth."""
    before, after = delivery.from_record(known).lane, delivery.from_record(new).lane

    merged = merge(known, new)

    joined = delivery.from_record(merged).lane
    assert joined == join(before, after)
    assert merged.key == known.key
    if joined == after:
        assert merged == new
    elif joined == before:
        assert merged == known
    assert delivery.from_record(merged).next_attempt_at == joined.next_attempt_at or merged in (known, new)


@given(RECORDS, RECORDS)
def test_a_merge_is_stable_however_often_either_is_read_again(known: Record, new: Record) -> None:
    merged = merge(known, new)

    for again in (merge(merged, merged), merge(merged, known), merge(merged, new)):
        assert delivery.from_record(again).lane == delivery.from_record(merged).lane
    assert merge(None, new) == new
    assert merge(new, new) == new


def test_a_record_of_a_later_release_is_left_alone() -> None:
    record = delivery.to_record(msgspec.structs.replace(_delivery(Lane()), state_version=delivery.STATE_VERSION + 1))

    with pytest.raises(NewerStateError):
        delivery.from_record(record)


def test_so_is_one_whose_lane_has_a_shape_of_its_own() -> None:
    later = {"state_version": delivery.STATE_VERSION + 1, "lane": {"ranges": []}}

    with pytest.raises(NewerStateError):
        delivery.from_record(Record(b"shop-oms/shop-hkd/T1", msgspec.json.encode(later)))


def test_what_nobody_here_wrote_is_no_delivery() -> None:
    with pytest.raises(msgspec.DecodeError):
        delivery.from_record(Record(b"shop-oms/shop-hkd/T1", b"{}"))
