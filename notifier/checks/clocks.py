"""This machine's clock beside the others'. Keys begin and end by it, and webhooks are dated by it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from notifier.checks.finding import Finding, fault, ok, warning
from notifier.evidence import Evidence
from notifier.record import Stored

APART_MS = 2_000
"""More than machines that keep their time are ever apart."""
FAR_APART_MS = 120_000
"""Receivers refuse a webhook whose time is more than 300 s off (Standard Webhooks' libraries), and may be off themselves."""

_REMEDY = "Let a time service (chrony, systemd-timesyncd) set the clocks of both machines."


def judge_offset(name: str, whose: str, offset_ms: float, uncertain_ms: float) -> Finding:
    """
    Judge how far another clock is ahead of ours (negative: behind).

    Args:
        uncertain_ms: how much of it may be the time that asking took.
    """
    apart = abs(offset_ms) - uncertain_ms
    if apart <= APART_MS:
        return ok(name, f"{whose} clock and ours are together, within {max(abs(offset_ms), uncertain_ms) / 1000:.1f} s")
    told = f"{whose} clock is {abs(offset_ms) / 1000:.1f} s {'ahead of' if offset_ms > 0 else 'behind'} ours"
    return (fault if apart > FAR_APART_MS else warning)(name, told, _REMEDY)


def judge_broker(newest: Sequence[tuple[Stored, Evidence]], now_ms: int) -> list[Finding]:
    """
    The brokers' clock, from what they have dated: Kafka tells its time to nobody who does not write.

    A record is appended after it was received and before it is looked at, so a date outside of that is a clock that is wrong.
    """
    if not newest:
        return []
    ahead_ms = max(stored.appended_at_ms for stored, _ in newest) - now_ms
    behind_ms = max(round(one.received_at.timestamp() * 1000) - stored.appended_at_ms for stored, one in newest)
    if ahead_ms > APART_MS:
        return [judge_offset("clock.kafka", "Kafka's", ahead_ms, 0)]
    if behind_ms > APART_MS:
        return [judge_offset("clock.kafka", "Kafka's", -behind_ms, 0)]
    return [ok("clock.kafka", "Kafka's dates fit ours")]
