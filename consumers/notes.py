"""What a commit carries beside its offset."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from notifier.topics import DAY_MS

ORDERS_AWAY_TOO_LONG = timedelta(milliseconds=7 * DAY_MS)
"""Half the compaction lag of the orders topic (rule 9): after it, what the last commit relied on may be compacted away."""

DELIVERIES_AWAY_TOO_LONG = timedelta(milliseconds=DAY_MS // 2)
"""The same, of the deliveries topic."""


class Noted(msgspec.Struct):
    """The log's end as its committer knew it (rule 4), and when that was (rule 9)."""

    end: int
    at: datetime


def note(end: int, at: datetime) -> str:
    """A commit's metadata."""
    return msgspec.json.encode(Noted(end, at)).decode()


def read_note(metadata: str) -> Noted | None:
    """A commit's metadata read back; None where it is none of ours."""
    try:
        return msgspec.json.decode(metadata, type=Noted)
    except msgspec.DecodeError:
        return None
