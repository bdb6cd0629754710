"""Inbox records made here instead of at the door, as many as a backlog needs."""

from __future__ import annotations

from datetime import UTC, datetime

from notifier.alipayhk import mapi
from notifier.evidence import USABLE, Evidence, Kind, evidence_id, to_record
from notifier.record import Record

from .bodies import stored
from .installation import Installation

_AT = datetime(2026, 11, 22, 9, 30, 30, tzinfo=UTC)


def inbox_record(place: Installation, order: str, status: str, *, after_s: int) -> Record:
    """What the door would append for this message."""
    body = stored(order, status, after_s=after_s)
    (channel,) = place.settings.channels
    return to_record(
        Evidence(
            kind=Kind.NOTIFICATION,
            channel=channel.name,
            protocol=mapi.PROTOCOL,
            received_at=_AT,
            key=channel.ring[0].key.fingerprint,
            verdict=USABLE,
            policy=channel.policy,
            evidence_id=evidence_id(channel.name, mapi.PROTOCOL, body),
            order=order,
            body=body,
            content_type="application/x-www-form-urlencoded; charset=UTF-8",
            traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        )
    )
