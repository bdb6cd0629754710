"""What the deliveries topic tells of each delivery, gathered from its records."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from notifier.deliveries import delivery, endpoint_state
from notifier.deliveries.delivery import DeliveryRecord, Lane, Outcome, Ref, redrive, settle, wait
from notifier.deliveries.delivery_report import Delivery, Report, State
from notifier.record import Record, Stored

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
DUE = NOON + timedelta(minutes=5)


def ref(version: int) -> Ref:
    return Ref(version, 100 + version, f"evt_{version}")


def record(
    version: int,
    outcome: Outcome,
    lane: Lane,
    *,
    attempt: int = 1,
    status: int | None = None,
    endpoint: str = "shop-oms",
) -> Record:
    one = ref(version)
    return delivery.to_record(
        DeliveryRecord(
            one.event_id,
            endpoint,
            "shop-hkd",
            "T1",
            version,
            0,
            one.offset,
            attempt,
            outcome,
            status,
            12.0,
            None,
            None,
            lane,
        )
    )


def endpoint(state: endpoint_state.State, command: int) -> Record:
    known = endpoint_state.first_met("shop-oms", start=0, at=NOON)
    why = endpoint_state.Why.OPERATOR
    return endpoint_state.to_record(endpoint_state.change(known, state, why, at=NOON, command=command))


SUSPENDED, ACTIVE = endpoint_state.State.SUSPENDED, endpoint_state.State.ACTIVE


def gathered(*records: Record) -> dict[int, Delivery]:
    """By version."""
    found = Report()
    for offset, one in enumerate(records):
        found.take(Stored(one, offset, round(NOON.timestamp() * 1000)))
    return {one.version: one for one in found}


ACCEPTED_1 = record(1, Outcome.ACCEPTED, settle(Lane(), ref(1), now=NOON), status=204)
WAITING_2_3 = wait(Lane(settled=1, known=1), [ref(2), ref(3)], since=NOON, attempt=2, due=DUE)
FAILED_2 = record(2, Outcome.FAILED, WAITING_2_3, attempt=2, status=500)


def test_what_was_accepted_failed_and_waits_behind_it() -> None:
    found = gathered(ACCEPTED_1, FAILED_2)

    assert {version: one.state for version, one in found.items()} == {
        1: State.ACCEPTED,
        2: State.WAITING,
        3: State.WAITING,
    }
    first, second = found[2], found[3]
    assert (first.attempt, first.status_code, first.since, first.next_attempt_at) == (2, 500, NOON, DUE)
    assert first.behind is None
    assert (second.attempt, second.status_code, second.behind, second.event_id) == (0, None, 2, "evt_3")


def test_a_late_record_takes_nothing_back() -> None:
    """Lanes are joined: the attempt that failed lands behind the one that was accepted."""
    accepted = record(2, Outcome.ACCEPTED, settle(WAITING_2_3, ref(2), now=NOON), attempt=3, status=200)

    found = gathered(ACCEPTED_1, accepted, FAILED_2)

    assert (found[2].state, found[2].status_code) == (State.ACCEPTED, 200)
    assert found[3].state is State.WAITING


def test_a_dead_letter_is_one_and_the_lane_goes_on() -> None:
    dead = settle(WAITING_2_3, ref(2), now=NOON, is_dead=True)

    found = gathered(
        record(2, Outcome.DEAD, dead, attempt=9, status=500),
        record(3, Outcome.ACCEPTED, settle(dead, ref(3), now=NOON), status=204),
    )

    assert (found[2].state, found[2].attempt, found[3].state) == (State.DEAD, 9, State.ACCEPTED)


def test_a_dead_letter_outlives_compaction() -> None:
    """Of a lane compaction keeps the last record, and the lane's state in it names what was given up."""
    dead = settle(WAITING_2_3, ref(2), now=NOON, is_dead=True)

    found = gathered(record(3, Outcome.ACCEPTED, settle(dead, ref(3), now=NOON), status=204))

    assert (found[2].state, found[2].attempt, found[2].event_id) == (State.DEAD, None, "evt_2")


def test_what_is_redriven_waits_again_with_what_comes_of_it_now() -> None:
    """The answer of the first time stays where it is; what is shown is of the time that counts."""
    dead = settle(Lane(), ref(1), now=NOON, is_dead=True)
    again = redrive(dead, [ref(1)], round_=5, now=NOON)
    gone = record(1, Outcome.DEAD, dead, attempt=9, status=500)
    asked = record(1, Outcome.WAITING, again, attempt=0)
    failed = record(1, Outcome.FAILED, again, attempt=1, status=503)
    turn = again.first
    assert turn is not None
    accepted = record(1, Outcome.ACCEPTED, settle(again, turn, now=NOON), attempt=2, status=204)

    given_up, waiting, tried, told = (
        gathered(*records)[1]
        for records in ([gone], [gone, asked], [gone, asked, failed], [gone, asked, failed, accepted])
    )

    assert (given_up.state, given_up.is_redriven) == (State.DEAD, False)
    assert (waiting.state, waiting.is_redriven, waiting.status_code) == (State.WAITING, True, None)
    assert (tried.state, tried.status_code) == (State.WAITING, 503)
    assert (told.state, told.status_code, told.is_redriven) == (State.ACCEPTED, 204, True)


def test_what_was_compacted_away_is_skipped() -> None:
    assert gathered(record(2, Outcome.SKIPPED, settle(WAITING_2_3, ref(2), now=NOON)))[2].state is State.SKIPPED


@pytest.mark.parametrize(
    ("words", "state", "why"),
    [
        ((endpoint(SUSPENDED, 1),), State.SUSPENDED, "nothing but probes goes there"),
        ((endpoint(SUSPENDED, 1), endpoint(ACTIVE, 2)), State.WAITING, "it was resumed"),
        (
            (endpoint(SUSPENDED, 3), endpoint(ACTIVE, 2)),
            State.SUSPENDED,
            "the higher round holds, whatever lies last",
        ),
        ((endpoint(ACTIVE, 1),), State.WAITING, "it is well"),
        ((Record(b"shop-oms", b"{"),), State.WAITING, "none of ours"),
    ],
)
def test_what_waits_for_a_suspended_endpoint_says_so(words: tuple[Record, ...], state: State, why: str) -> None:
    found = gathered(ACCEPTED_1, FAILED_2, *words)

    assert (found[1].state, found[2].state) == (State.ACCEPTED, state), why


def test_what_is_no_delivery_is_passed_over() -> None:
    junk = Record(b"shop-oms/shop-hkd/T1", b"no delivery")
    position = Record(b"~position", b'{"orders": 7, "commands": 0, "at": "2026-11-22T12:00:00Z", "state_version": 1}')

    assert set(gathered(junk, position, ACCEPTED_1)) == {1}


def test_two_endpoints_are_two_lanes() -> None:
    found = Report()
    for one in (
        ACCEPTED_1,
        record(1, Outcome.FAILED, wait(Lane(), [ref(1)], since=NOON, attempt=1, due=DUE), endpoint="b"),
    ):
        found.take(Stored(one, 0, 0))

    assert [(one.endpoint, one.state) for one in found] == [("b", State.WAITING), ("shop-oms", State.ACCEPTED)]
    assert found.settled("shop-oms", "shop-hkd", "T1") == 1
    assert found.settled("b", "shop-hkd", "T1") == 0
    assert found.settled("c", "shop-hkd", "T1") == 0
