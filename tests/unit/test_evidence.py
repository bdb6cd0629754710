"""Evidence: what the inbox holds is enough to verify and fold it again."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.errors import Reason
from notifier.evidence import Evidence, Kind, Policy, evidence_id, from_record, rfc3339, to_quarantine, to_record
from notifier.record import Record

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
INSTANTS = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - Hypothesis adds the zone
ORDERS = st.none() | st.from_regex(r"[!-}][!-~]{0,63}", fullmatch=True)
CHANNELS = st.from_regex(r"[a-z0-9-]{1,40}", fullmatch=True)

EVIDENCE = st.builds(
    Evidence,
    kind=st.sampled_from(Kind),
    channel=CHANNELS,
    protocol=st.just("mapi"),
    received_at=INSTANTS,
    key=st.from_regex(r"[0-9a-f]{16}", fullmatch=True),
    verdict=st.sampled_from(("usable", "ambiguous", "bad_field")),
    policy=st.builds(
        Policy,
        currency=st.sampled_from(("HKD", "JPY")),
        seller_id=st.none() | TEXT,
        partner_id=TEXT,
        orders=st.sampled_from(("open", "registered")),
    ),
    evidence_id=st.from_regex(r"[0-9a-f]{64}", fullmatch=True),
    order=ORDERS,
    body=st.binary(max_size=200),
    content_type=TEXT,
    traceparent=st.none() | TEXT,
)

NAMES = ["kind", "channel", "protocol", "received_at", "key", "verdict", "policy", "evidence_id", "content_type"]


@given(EVIDENCE)
def test_evidence_comes_back_from_the_inbox_as_it_went_in(evidence: Evidence) -> None:
    """Order numbers with a slash in them included: the channel's name has none, so the first one divides the key."""
    record = to_record(evidence)

    assert from_record(record) == evidence
    assert to_record(from_record(record)) == record


@given(EVIDENCE)
def test_an_inbox_record_is_the_body_as_received_under_the_orders_key(evidence: Evidence) -> None:
    record = to_record(evidence)

    assert record.value == evidence.body
    assert record.key == f"{evidence.channel}/{evidence.order or ''}".encode()
    assert [name for name, _ in record.headers] == NAMES + (["traceparent"] if evidence.traceparent is not None else [])


@given(EVIDENCE, st.sampled_from(Reason), st.integers(0, 1000), st.integers(0, 2**62))
def test_what_is_set_aside_is_whole_and_says_where_it_came_from(
    evidence: Evidence, reason: Reason, partition: int, offset: int
) -> None:
    inbox = to_record(evidence)

    record = to_quarantine(inbox, reason, partition, offset)

    assert (record.key, record.value) == (inbox.key, inbox.value)
    assert from_record(record) == evidence
    assert record.header("reason") == reason.value.encode()
    assert record.header("inbox_partition") == str(partition).encode()
    assert record.header("inbox_offset") == str(offset).encode()


@pytest.mark.parametrize("missing", NAMES)
def test_a_record_that_lacks_a_header_is_none_of_ours(missing: str) -> None:
    policy = Policy("HKD", None, "2088000000000001", "open")
    at = datetime(2026, 11, 22, tzinfo=UTC)
    record = to_record(Evidence(Kind.NOTIFICATION, "c", "mapi", at, "k", "usable", policy, "e", "o", b""))

    with pytest.raises((KeyError, ValueError)):
        from_record(
            Record(record.key, record.value, tuple(header for header in record.headers if header[0] != missing))
        )


def test_the_reasons_are_the_contracts() -> None:
    assert {reason.value for reason in Reason} == set(
        "ambiguous undecodable bad_field unknown_type unknown_status not_handled request_time payee_mismatch "
        "amount_mismatch currency_mismatch unregistered too_many_facts internal_error".split()
    )


def test_evidence_is_named_by_channel_protocol_and_the_bytes_that_were_verified() -> None:
    assert evidence_id("shop-hkd", "mapi", b"a=1") == hashlib.sha256(b"shop-hkd\x00mapi\x00a=1").hexdigest()


@given(INSTANTS, st.integers(-14, 14))
def test_a_time_is_written_in_utc_with_microseconds(at: datetime, hours: int) -> None:
    written = rfc3339(at.astimezone(timezone(timedelta(hours=hours))))

    assert len(written) == len("2026-11-22T09:30:05.000000Z")
    assert written.endswith("Z")
    assert datetime.fromisoformat(written) == at
