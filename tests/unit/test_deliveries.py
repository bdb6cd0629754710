"""The deliveries topic as a whole: what lies in it side by side is told apart and merged by its own rule."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier import deliveries
from notifier.deliveries import Kind, command, delivery, endpoint_state, position
from notifier.deliveries.command import Command, Wanted
from notifier.deliveries.delivery import DeliveryRecord, Lane, Outcome, Ref, wait
from notifier.deliveries.position import Position
from notifier.errors import NewerStateError
from notifier.record import Record

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)

POSITIONS = st.builds(
    Position,
    st.integers(0, 9),
    st.integers(0, 9),
    st.integers(0, 9).map(lambda seconds: NOON + timedelta(seconds=seconds)),
)

ENDPOINT = endpoint_state.to_record(endpoint_state.first_met("shop-oms", start=7, at=NOON))


def _lane(lane: Lane) -> Record:
    return delivery.to_record(
        DeliveryRecord(
            event_id="evt_1",
            endpoint="shop-oms",
            channel="shop-hkd",
            order="T1",
            version=1,
            event_partition=0,
            event_offset=1,
            attempt=0,
            outcome=Outcome.WAITING,
            status_code=None,
            duration_ms=None,
            error=None,
            next_attempt_at=lane.next_attempt_at,
            lane=lane,
        )
    )


WAITING = _lane(wait(Lane(), [Ref(1, 1, "evt_1")], since=NOON, attempt=0, due=NOON))
IDLE = _lane(Lane(settled=1, known=1))


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        (b"~position", Kind.POSITION),
        (b"shop-oms", Kind.ENDPOINT),
        (b"shop-oms/shop-hkd/T1", Kind.LANE),
        (b"shop-oms/shop-hkd/a/b", Kind.LANE),
    ],
)
def test_a_key_says_what_a_record_is_about(key: bytes, kind: Kind) -> None:
    """An order's number may hold a slash; an endpoint's name may not."""
    assert deliveries.kind_of(key) is kind


def test_only_lanes_are_due_and_only_idle_ones_may_rest() -> None:
    """A position or an endpoint that lost its body would have to be looked for each time it is asked for."""
    at = position.to_record(Position(1, 2, NOON))

    assert deliveries.due(WAITING) == ("shop-oms", round(NOON.timestamp() * 1000))
    assert deliveries.due(IDLE) == ("shop-oms", None)
    assert deliveries.due(ENDPOINT) is None
    assert deliveries.due(at) is None
    assert [deliveries.may_rest(record) for record in (WAITING, IDLE, ENDPOINT, at)] == [False, True, False, False]


@given(POSITIONS, POSITIONS, POSITIONS)
def test_a_position_is_the_furthest_of_all(one: Position, two: Position, three: Position) -> None:
    assert position.join(one, two) == position.join(two, one)
    assert position.join(position.join(one, two), three) == position.join(one, position.join(two, three))
    assert position.join(one, one) == one
    assert position.join(one, two).orders == max(one.orders, two.orders)
    assert position.join(one, two).commands == max(one.commands, two.commands)


@given(POSITIONS, POSITIONS)
def test_a_merge_keeps_bytes_where_it_can(one: Position, two: Position) -> None:
    known, new = position.to_record(one), position.to_record(two)

    merged = deliveries.merge(known, new)

    assert position.from_record(merged) == position.join(one, two)
    assert deliveries.merge(None, new) == new
    assert deliveries.merge(merged, known) == deliveries.merge(merged, new) == merged


def test_a_command_is_read_back_to_the_byte() -> None:
    said = Command(
        "redrive", "shop-oms", NOON, by="li", reason="lost", deliveries=(Wanted("shop-hkd", "T1", 1, 7, "evt_1"),)
    )

    record = command.to_record(said)

    assert record.key == b"shop-oms"
    assert command.from_record(record) == said


def test_the_longest_command_fits_into_any_topic() -> None:
    """Kafka's default for `max.message.bytes` is 1 MiB; an order's number has at most 64 characters, a channel's name 40."""
    longest = Wanted("c" * 40, "o" * 64, 256, 2**62, "evt_" + "0" * 32)
    said = Command("redrive", "e" * 40, NOON, deliveries=(longest,) * command.DELIVERIES_MAX)

    assert len(command.to_record(said).value) < 100_000


@pytest.mark.parametrize("read", [position.from_record, command.from_record])
def test_a_record_of_a_later_release_is_left_alone(read: object) -> None:
    assert callable(read)

    with pytest.raises(NewerStateError):
        read(Record(b"shop-oms", msgspec.json.encode({"state_version": 2, "mood": "well"})))
    with pytest.raises(msgspec.DecodeError):
        read(Record(b"shop-oms", b'{"state_version": 1}'))
