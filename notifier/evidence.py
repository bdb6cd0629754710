"""
Evidence: one record of the inbox, and the quarantine's record that is made of it (contract, section 6).

Whatever is needed to verify and fold it again at any later time stands in the record itself: the bytes as they arrived, the
channel's policy at that moment, the fingerprint of the key that verified them.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Literal

import msgspec

from notifier.errors import Reason
from notifier.record import Record

USABLE = "usable"


class Kind(StrEnum):
    """Where evidence comes from."""

    NOTIFICATION = "notification"
    REGISTRATION = "registration"
    RETURN = "return"
    INQUIRY = "inquiry"
    SETTLEMENT = "settlement"
    OPERATOR = "operator"


class Policy(msgspec.Struct, frozen=True):
    """A channel's settings that the fold judges by, as they stood when the evidence was appended."""

    currency: str
    seller_id: str | None
    partner_id: str
    orders: Literal["open", "registered"]


class Evidence(msgspec.Struct, frozen=True):
    """One piece of evidence. `order` is None where no order number could be read from it."""

    kind: Kind
    channel: str
    protocol: str
    received_at: datetime
    key: str
    """Fingerprint of the key that verified it; never the key."""
    verdict: str
    """`usable`, or the reason that the message alone gives for setting it aside."""
    policy: Policy
    evidence_id: str
    order: str | None
    body: bytes
    content_type: str = ""
    traceparent: str | None = None


def evidence_id(channel: str, protocol: str, verified: bytes) -> str:
    """
    Name evidence by the exact bytes that were verified, so that a resend with shuffled fields has the same name.

    It traces, it does not deduplicate: a resend with a newer `notify_time` has another.
    """
    return hashlib.sha256(b"\0".join((channel.encode(), protocol.encode(), verified))).hexdigest()


def trace_id(traceparent: str | None) -> str | None:
    """The id of the trace that a `traceparent` belongs to (W3C Trace Context, section 3.2.2.3), for log lines."""
    return traceparent[3:35] if traceparent is not None else None


def rfc3339(at: datetime) -> str:
    """`2026-11-22T09:30:05.000000Z`: UTC, always with microseconds."""
    return (
        f"{at.astimezone(UTC).isoformat('T', 'microseconds')[:26]}Z"  # half of strftime's cost; 26: without its +00:00
    )


_encode = msgspec.json.Encoder().encode


@lru_cache(maxsize=1024)
def _policy(written: bytes) -> Policy:
    """A channel's records name the same policy again and again."""
    return _decode_policy(written)


_decode_policy = msgspec.json.Decoder(Policy).decode


def to_record(evidence: Evidence) -> Record:
    """The inbox record of this evidence."""
    headers = [
        ("kind", evidence.kind.value.encode()),
        ("channel", evidence.channel.encode()),
        ("protocol", evidence.protocol.encode()),
        ("received_at", rfc3339(evidence.received_at).encode()),
        ("key", evidence.key.encode()),
        ("verdict", evidence.verdict.encode()),
        ("policy", _encode(evidence.policy)),
        ("evidence_id", evidence.evidence_id.encode()),
        ("content_type", evidence.content_type.encode()),
    ]
    if evidence.traceparent is not None:
        headers.append(("traceparent", evidence.traceparent.encode()))
    return Record(f"{evidence.channel}/{evidence.order or ''}".encode(), evidence.body, tuple(headers))


def from_record(record: Record) -> Evidence:
    """
    Read an inbox record back.

    Raises:
        KeyError, ValueError: the record is none that this project wrote.
    """
    headers = dict(record.headers)
    channel = headers["channel"].decode()
    order = record.key[len(channel) + 1 :].decode()
    traceparent = headers.get("traceparent")
    return Evidence(
        kind=Kind(headers["kind"].decode()),
        channel=channel,
        protocol=headers["protocol"].decode(),
        received_at=datetime.fromisoformat(headers["received_at"].decode()),
        key=headers["key"].decode(),
        verdict=headers["verdict"].decode(),
        policy=_policy(headers["policy"]),
        evidence_id=headers["evidence_id"].decode(),
        order=order or None,
        body=record.value,
        content_type=headers["content_type"].decode(),
        traceparent=traceparent.decode() if traceparent is not None else None,
    )


def to_quarantine(inbox: Record, reason: Reason, partition: int, offset: int) -> Record:
    """The quarantine's record of an inbox record: the same bytes, why, and from where (which identifies a repetition)."""
    extra = (
        ("reason", reason.value.encode()),
        ("inbox_partition", str(partition).encode()),
        ("inbox_offset", str(offset).encode()),
    )
    return Record(inbox.key, inbox.value, inbox.headers + extra)
