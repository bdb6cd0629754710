"""How each endpoint is doing, from the records of several partitions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from notifier.deliveries import delivery, endpoint_state
from notifier.deliveries.delivery import DeliveryRecord, Lane, Outcome, Ref, settle, wait
from notifier.deliveries.delivery_report import Report
from notifier.deliveries.endpoint_report import Health, Healths
from notifier.deliveries.endpoint_state import EndpointState, State, Why, change, first_met
from notifier.record import Record, Stored

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
DUE = NOON + timedelta(minutes=5)
MET = first_met("oms", start=0, at=NOON - timedelta(days=9))


def attempt(order: str, outcome: Outcome, *, took_ms: float = 10.0, status: int = 500, endpoint: str = "oms") -> Record:
    ref = Ref(1, 7, f"evt_{order}")
    lane = {
        Outcome.ACCEPTED: settle(Lane(), ref, now=NOON),
        Outcome.DEAD: settle(Lane(), ref, now=NOON, is_dead=True),
        Outcome.FAILED: wait(Lane(), [ref], since=NOON - timedelta(minutes=3), attempt=1, due=DUE),
    }[outcome]
    return delivery.to_record(
        DeliveryRecord(
            ref.event_id, endpoint, "shop", order, 1, 0, 7, 1, outcome, status, took_ms, None, lane.next_attempt_at, lane
        )
    )  # fmt: skip


def health(
    *partitions: list[Record], at: datetime = NOON, in_settings: tuple[str, ...] = ("oms",)
) -> dict[str, Health]:
    """By endpoint. `at`: when all records were appended; it is noon."""
    healths = Healths(in_settings, NOON)
    for partition, records in enumerate(partitions):
        report = Report()
        for offset, record in enumerate(records):
            told = report.take(Stored(record, offset, round(at.timestamp() * 1000)))
            if told is not None:
                healths.attempted(told, at)
        healths.take(partition, report)
    return {one.endpoint: one for one in healths}


def state(of: EndpointState) -> Record:
    return endpoint_state.to_record(of)


def test_an_endpoint_s_attempts_and_what_waits_are_counted_over_all_partitions() -> None:
    accepted = [attempt(f"A{number}", Outcome.ACCEPTED, took_ms=number, status=204) for number in range(1, 9)]

    found = health(accepted, [attempt("B", Outcome.FAILED, took_ms=900.0)], [attempt("C", Outcome.DEAD, took_ms=100.0)])

    one = found["oms"]
    assert (one.attempts, one.success_rate, one.p50_ms, one.p99_ms) == (10, 0.8, 5.0, 900.0)
    assert (one.waiting, one.dead) == (1, 1)
    assert (one.oldest_waiting_since, one.next_attempt_at) == (NOON - timedelta(minutes=3), DUE)
    assert (one.last_status_code, one.state) == (500, State.ACTIVE)


def test_failures_in_a_row_are_those_since_the_last_acceptance_in_any_partition() -> None:
    """Partitions are read one after the other, so what was accepted later may be read first."""
    healths, report = Healths(("oms",), NOON), Report()
    told = [
        (Outcome.FAILED, 1), (Outcome.FAILED, 5), (Outcome.ACCEPTED, 3), (Outcome.FAILED, 2), (Outcome.ACCEPTED, 1),
        (Outcome.FAILED, 6),
    ]  # fmt: skip
    for offset, (outcome, minute) in enumerate(told):
        one = report.take(Stored(attempt(f"T{offset}", outcome), offset, 0))
        assert one is not None
        healths.attempted(one, NOON - timedelta(hours=1) + timedelta(minutes=minute))

    assert healths.failures_in_a_row("oms") == 2, "of minutes 5 and 6"


def test_an_attempt_that_was_appended_again_is_one_attempt() -> None:
    """What waits is renewed daily, and repaired: the same record lies there twice."""
    failed = attempt("B", Outcome.FAILED)

    assert health([failed, failed])["oms"].attempts == 1


def test_attempts_of_the_day_before_yesterday_count_no_more() -> None:
    found = health([attempt("A", Outcome.FAILED)], at=NOON - timedelta(hours=25))["oms"]

    assert (found.attempts, found.success_rate, found.p50_ms) == (0, None, None)
    assert found.waiting == 1, "what waits does"


FAILING = change(MET, State.SUSPENDED, Why.FAILING, at=NOON)
GONE = change(MET, State.SUSPENDED, Why.GONE, at=NOON)
BY_WORD = change(MET, State.SUSPENDED, Why.OPERATOR, at=NOON, command=5)


@pytest.mark.parametrize(
    ("states", "expected", "why"),
    [
        ((), (State.ACTIVE, None, 0, 0), "never met"),
        ((MET, MET), (State.ACTIVE, Why.FIRST_MET, 0, 2), "all is well"),
        ((GONE, GONE), (State.SUSPENDED, Why.GONE, 2, 0), "it answered 410"),
        ((GONE, MET), (State.SUSPENDED, Why.GONE, 1, 1), "one process has heard 410, another not yet"),
        ((FAILING, BY_WORD), (State.SUSPENDED, Why.OPERATOR, 2, 0), "an operator's word is what has to be undone"),
        ((FAILING, GONE), (State.SUSPENDED, Why.GONE, 2, 0), "only this needs a person"),
    ],
)
def test_partitions_that_differ_are_told_as_such(
    states: tuple[EndpointState, ...], expected: tuple[object, ...], why: str
) -> None:
    one = health(*([state(of)] for of in states))["oms"]

    assert (one.state, one.reason, one.partitions_suspended, one.partitions_active) == expected, why


def test_an_operator_s_word_is_told_with_where_it_lies() -> None:
    one = health([], [state(BY_WORD)])["oms"]

    assert (one.command_partition, one.command_offset, one.since) == (1, 5, NOON)


def test_nothing_is_due_for_who_is_left_alone() -> None:
    waiting = attempt("B", Outcome.FAILED)

    assert health([waiting, state(BY_WORD)])["oms"].next_attempt_at is None
    assert health([waiting, state(FAILING)])["oms"].next_attempt_at == DUE, "it is probed"


def test_who_left_the_settings_is_told_of_while_something_waits() -> None:
    left = [attempt("A", Outcome.ACCEPTED, endpoint="old"), attempt("B", Outcome.FAILED, endpoint="left")]

    found = health(left)

    assert {name: one.is_in_settings for name, one in found.items()} == {"oms": True, "left": False}
