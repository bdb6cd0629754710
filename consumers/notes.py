"""What a commit carries beside its offset, and what its next reader makes of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import msgspec

from consumers.view import bounds_reaching
from notifier.kafka.group import Commit
from notifier.ports import LogReader
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


@dataclass(frozen=True, slots=True)
class Resumed:
    """What the last committer left of an input's partition, and what of it may be believed."""

    start: int
    end: int
    """The input's bounds, as they are now."""
    committed: int | None
    """The offset of the last commit; None where there is none."""
    is_recent: bool
    """Was that commit readable, and not too long ago? Else it says nothing about the log that the view is of (rule 9)."""
    known_end: int
    """The end of that log as the committer knew it (rule 4); 0 unless the commit is recent."""


class Commits(Protocol):
    """Knows what was last committed (`consumers.partition.Feed`)."""

    async def committed(self, topic: str) -> Commit | None:
        """What was last committed of a topic's partition."""
        ...


async def resume(
    commits: Commits, reader: LogReader, topic: str, partition: int, *, now: datetime, too_long: timedelta
) -> Resumed:
    """
    Read what the last owner of a partition has committed of its input, beside what the input is now.

    Args:
        too_long: how old a commit may be before it is not believed any more.

    Raises:
        RecreatedTopicError: the input ends below what was committed.
        Unavailable: no answer.
    """
    commit = await commits.committed(topic)
    start, end = await bounds_reaching(
        reader,
        topic,
        partition,
        commit.offset if commit is not None else 0,
        remedy="to start over on purpose, delete the consumer group",
    )
    noted = read_note(commit.metadata) if commit is not None else None
    # one from the future was made by a clock that is wrong, or ours is: how old it is nobody knows
    is_recent = noted is not None and abs(now - noted.at) <= too_long
    return Resumed(
        start, end, commit.offset if commit else None, is_recent, noted.end if noted is not None and is_recent else 0
    )
