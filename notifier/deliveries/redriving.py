"""
Which deliveries an operator's redrive is about, and how they are asked for: in few commands, each for one endpoint.

Pure. Asked for twice is told twice, so what waits already, and what was asked for and is not obeyed yet, is left out: a redrive
that was interrupted can be repeated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import msgspec

from notifier.deliveries.command import Wanted
from notifier.deliveries.delivery_report import Delivery, State


class Verdict(StrEnum):
    """What a redrive makes of a delivery that it is about."""

    AGAIN = "again"
    WAITS = "waits"
    """It waits to be told already, or was asked for and fan-out has not come to it."""
    GONE = "gone"
    """Its event was superseded and compacted away: there is nothing left to send."""


Named = tuple[str, str, str, int]
"""A delivery: endpoint, channel, order and version."""


def named(one: Delivery) -> Named:
    """Which one it is."""
    return one.endpoint, one.channel, one.order, one.version


@dataclass(frozen=True, slots=True)
class Selection:
    """
    What an operator asked for; what is not said selects everything.

    Times are those at which it was given up or accepted. Of what has been compacted since that is not known; it is more than a
    day ago (`kept_from`).
    """

    endpoint: str | None
    event_id: str | None
    since: datetime | None
    until: datetime | None
    with_accepted: bool
    kept_from: datetime
    """From here on the topic has every record."""

    def judge(self, one: Delivery, asked: Collection[Named]) -> Verdict | None:
        """What to do about a delivery; None: it is not meant. `asked`: what fan-out has been asked for and not come to."""
        if not self._is_named(one):
            return None
        match one.state:
            case State.WAITING | State.SUSPENDED:
                return Verdict.WAITS if one.is_redriven or one.event_id == self.event_id else None
            case State.DEAD:
                pass
            case State.ACCEPTED:
                if not self.with_accepted:
                    return None
            case State.SKIPPED:
                return Verdict.GONE if self._is_within(one.told_at) else None
        if not self._is_within(one.told_at):
            return None
        return Verdict.WAITS if named(one) in asked else Verdict.AGAIN

    def _is_named(self, one: Delivery) -> bool:
        return self.endpoint in (None, one.endpoint) and self.event_id in (None, one.event_id)

    def _is_within(self, at: datetime | None) -> bool:
        if at is None:
            return self.since is None or self.since < self.kept_from
        return (self.since is None or self.since <= at) and (self.until is None or at < self.until)


class Counted(msgspec.Struct, frozen=True):
    """Of one endpoint: what was found."""

    endpoint: str
    dead: int
    """Dead letters to be told again."""
    accepted: int
    """Accepted ones to be told again."""
    waiting: int
    """Asked for before, and not told yet."""
    gone: int


@dataclass(frozen=True, slots=True)
class Batch:
    """What one command asks for."""

    partition: int
    endpoint: str
    deliveries: tuple[Wanted, ...]


class Plan:
    """What a redrive will ask for, gathered partition by partition."""

    def __init__(self) -> None:
        self._wanted: dict[tuple[int, str], list[Wanted]] = {}
        self._counts: dict[str, Counter[str]] = {}

    def take(self, partition: int, one: Delivery, verdict: Verdict) -> None:
        """Take a delivery with what was made of it."""
        kind = one.state.value if verdict is Verdict.AGAIN else verdict.value
        self._counts.setdefault(one.endpoint, Counter())[kind] += 1
        if verdict is Verdict.AGAIN:
            wanted = Wanted(one.channel, one.order, one.version, one.event_offset, one.event_id)
            self._wanted.setdefault((partition, one.endpoint), []).append(wanted)

    @property
    def total(self) -> int:
        """How many deliveries will be asked for."""
        return sum(map(len, self._wanted.values()))

    @property
    def counts(self) -> list[Counted]:
        """By endpoint."""
        return [
            Counted(
                endpoint,
                dead=found[State.DEAD.value],
                accepted=found[State.ACCEPTED.value],
                waiting=found[Verdict.WAITS.value],
                gone=found[Verdict.GONE.value],
            )
            for endpoint, found in sorted(self._counts.items())
        ]

    def batches(self, size_max: int) -> Iterator[Batch]:
        """The commands, in turns over partitions and endpoints: none is told last of all."""
        parts = [
            [Batch(partition, endpoint, some) for some in _some_at_once(wanted, size_max)]
            for (partition, endpoint), wanted in sorted(self._wanted.items())
        ]
        for turn in range(max(map(len, parts), default=0)):
            yield from (part[turn] for part in parts if turn < len(part))


def _some_at_once(wanted: Sequence[Wanted], size_max: int) -> Iterable[tuple[Wanted, ...]]:
    for at in range(0, len(wanted), size_max):
        yield tuple(wanted[at : at + size_max])
