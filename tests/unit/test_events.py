"""Events: the record of a change carries the whole state, and is told as it is."""

from __future__ import annotations

import json
import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier import events
from notifier.errors import NewerStateError
from notifier.events import event_id, from_record, known_from, telling_of, to_record, version_of
from notifier.order import Changed, decide
from notifier.record import Record
from tests.histories import HISTORIES, POLICIES, evidence_of, fold, notification
from tests.oracle import Message, Policy

RECORD = fold([notification()]).records[0]


@given(HISTORIES, POLICIES)
def test_a_record_carries_all_that_the_fold_goes_on_from(messages: list[Message], policy: Policy) -> None:
    """One write makes the event and the state durable: nothing of an order lives in any other place."""
    folded = fold(messages, policy)
    changes = [decision for decision in folded.decisions if isinstance(decision, Changed)]

    for change, record in zip(changes, folded.records, strict=True):
        known = known_from(record)
        assert known == (change.version, change.facts, change.summary)
        assert version_of(record) == change.version
        assert record.key == b"shop-hkd/T20260001"


@given(HISTORIES, POLICIES)
def test_an_event_is_told_under_one_id_with_one_body(messages: list[Message], policy: Policy) -> None:
    for record in fold(messages, policy).records:
        told, again = telling_of(record), telling_of(record)
        value = json.loads(record.value)

        assert told == again
        assert json.loads(told.body) == {
            "type": value["event"]["type"],
            "timestamp": told.received_at,
            "data": value["order"],
            "id": value["event"]["id"],
            "version": value["event"]["version"],
            "flags_added": value["event"]["flags_added"],
        }
        assert (told.channel, told.order) == ("shop-hkd", "T20260001")
        assert record.header("ce_time") == told.received_at.encode()


@given(HISTORIES, POLICIES)
def test_ids_are_the_events_own(messages: list[Message], policy: Policy) -> None:
    ids = [telling_of(record).event_id for record in fold(messages, policy).records]

    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"evt_[0-9a-f]{32}", one) for one in ids)


NAMED = st.tuples(
    st.sampled_from(("a", "ab", "b")),
    st.sampled_from(("1", "b1", "T")),
    st.integers(1, 12),
    st.sampled_from(("e", "1e")),
)


@given(NAMED, NAMED)
def test_an_id_is_a_function_of_channel_order_version_and_evidence_alone(
    one: tuple[str, str, int, str], other: tuple[str, str, int, str]
) -> None:
    assert (event_id(*one) == event_id(*other)) == (one == other)


def test_an_id_stays_what_it_was() -> None:
    """A replay after an upgrade must come to the ids that merchants have seen."""
    assert event_id("shop-hkd", "T20260001", 2, "00") == "evt_597a4e99ac0cbc126dd63e47096d47e2"


def test_where_a_record_came_from_changes_nothing_else() -> None:
    """`inbox_offset` says where the evidence lies; it filters nothing and is in no id."""
    statement, read = evidence_of(notification())
    change = decide(None, statement, read)
    assert isinstance(change, Changed)

    one, other = (to_record(change, read, "T20260001", offset) for offset in (1, 2))

    assert one.headers == other.headers
    assert one.value == other.value.replace(b'"inbox_offset":2', b'"inbox_offset":1')


def _with(record: Record, **members: object) -> Record:
    return record._replace(value=msgspec.json.encode(json.loads(record.value) | members))


@pytest.mark.parametrize(
    "members",
    [
        pytest.param({}, id="the same shape"),
        pytest.param({"facts": {"another": "shape"}}, id="facts of another shape"),
        pytest.param({"facts": [{"fact": "settled"}]}, id="a fact that is not known here"),
    ],
)
def test_a_record_of_a_later_release_is_left_alone(members: dict[str, object]) -> None:
    later = _with(RECORD, state_version=events.STATE_VERSION + 1, **members)

    with pytest.raises(NewerStateError):
        from_record(later)


def test_but_it_can_be_told() -> None:
    """The event and the order are public and only grow; a merchant need not wait until each process is of one release."""
    later = _with(RECORD, state_version=events.STATE_VERSION + 1, facts={})

    assert json.loads(telling_of(later).body) == json.loads(telling_of(RECORD).body)


def test_a_member_that_was_added_is_passed_over_and_told() -> None:
    order = json.loads(RECORD.value)["order"] | {"colour": "blue"}
    grown = _with(RECORD, order=order)

    assert known_from(grown) == known_from(RECORD)
    assert json.loads(telling_of(grown).body)["data"] == order


def test_a_broken_record_is_no_later_release() -> None:
    with pytest.raises(msgspec.DecodeError):
        from_record(RECORD._replace(value=b'{"state_version": 1}'))
    with pytest.raises(msgspec.DecodeError):
        from_record(RECORD._replace(value=b"{"))


def test_a_record_without_a_version_is_none_of_ours() -> None:
    with pytest.raises(ValueError, match="ce_orderversion"):
        version_of(Record(b"shop-hkd/T20260001", b"{}"))
