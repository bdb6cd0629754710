"""What the logs must say: the inbox folded a second time, record by record, and the lanes joined as their records land."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from notifier import deliveries, events, evidence
from notifier.deliveries import delivery
from notifier.deliveries.delivery import Lane, Outcome
from notifier.errors import Unusable
from notifier.events import Telling
from notifier.evidence import USABLE, Evidence
from notifier.order import Changed, Known, SetAside, decide
from notifier.reading import statement_of
from notifier.record import Record
from notifier.settings.endpoints import Endpoint
from notifier.topics import Topics

JUNK = b"not ours"


class Replay:
    """
    A replay of the whole inbox from nothing, kept up as evidence lands, and what fan-out owes for what the orders log holds.

    It uses the pure rules, never the job: no batch, no view, no fault.
    """

    def __init__(self, topics: Topics, endpoints: Sequence[Endpoint]) -> None:
        self._topics = topics
        self._endpoints = endpoints
        self.records: defaultdict[bytes, list[Record]] = defaultdict(list)
        """The one right record of each version of each order."""
        self.aside: dict[int, str] = {}
        """Inbox offsets of what belongs into quarantine, and why."""
        self.messages: list[tuple[int, Record]] = []
        self.lanes: defaultdict[bytes, Lane] = defaultdict(Lane)
        self.given_up: set[tuple[str, str, str, int]] = set()
        """Endpoint, channel, order and version of what is a visible dead letter, or was skipped visibly."""
        self._known: dict[bytes, Known] = {}
        self._changed_at: list[tuple[int, bytes, int]] = []
        self._owed: list[tuple[bytes, int]] = []
        """By offset in the orders log: nothing, or the lanes and version that it is owed to."""
        self._owed_at: list[int] = []
        self._quarantined: set[int] = set()

    def landed(self, topic: str, record: Record, offset: int) -> None:
        """Take account of a record."""
        if topic == self._topics.inbox:
            self.messages.append((offset, record))
            self._fold(record, offset)
        elif topic == self._topics.orders:
            telling = events.telling_of(record)
            for endpoint in self.wanting(telling):
                key = delivery.lane_key(endpoint.name, telling.channel, telling.order)
                self._owed.append((key, telling.version))
                self._owed_at.append(offset)
        elif topic == self._topics.deliveries:
            self._join(record)
        elif topic == self._topics.quarantine:
            self._quarantined.add(int(record.header("inbox_offset") or b"-1"))

    def wanting(self, telling: Telling) -> Iterator[Endpoint]:
        """The endpoints that an event is for."""
        return (one for one in self._endpoints if one.wants(telling.channel, telling.type, telling.flags_added))

    def uncovered(self, topic: str, upto: int, surviving: Sequence[Record]) -> Iterator[str]:
        """What is not durable of the effects of the inputs below an offset, which somebody commits (S9)."""
        if topic == self._topics.inbox:
            newest: dict[bytes, int] = {}
            for record in surviving:
                newest[record.key] = max(newest.get(record.key, 0), events.version_of(record))
            for offset, key, version in self._changed_at:
                if offset < upto and newest.get(key, 0) < version:
                    yield f"{key.decode()} v{version} is nowhere, but inbox {offset} is committed"
            for offset in self.aside:
                if offset < upto and offset not in self._quarantined:
                    yield f"inbox {offset} is not in quarantine, but committed"
        elif topic == self._topics.orders:
            for offset, (key, version) in zip(self._owed_at, self._owed, strict=True):
                if offset < upto and not self.lanes[key].knows(version):
                    yield f"nobody owes {key.decode()} v{version} any more, but orders {offset} is committed"

    def _fold(self, record: Record, offset: int) -> None:
        if record.value == JUNK:
            self.aside[offset] = "internal_error"
            return
        read = evidence.from_record(record)
        if read.verdict != USABLE:
            self.aside[offset] = read.verdict
            return
        try:
            statement = statement_of(read)
        except Unusable as unusable:
            self.aside[offset] = unusable.reason.value
            return
        decision = decide(self._known.get(record.key), statement, read)
        match decision:
            case SetAside(reason=reason):
                self.aside[offset] = reason.value
            case Changed():
                self._change(decision, read, statement.order, offset)

    def _change(self, change: Changed, read: Evidence, order: str, offset: int) -> None:
        record = events.to_record(change, read, order, offset)
        self.records[record.key].append(record)
        self._known[record.key] = events.known_from(record)
        self._changed_at.append((offset, record.key, change.version))
        if change.held is not None:
            self.aside[offset] = change.held.value

    def _join(self, record: Record) -> None:
        told = deliveries.delivery_in(record)
        if told is None:
            return
        self.lanes[record.key] = delivery.join(self.lanes[record.key], told.lane)
        if told.outcome in (Outcome.DEAD, Outcome.SKIPPED):
            self.given_up.add((told.endpoint, told.channel, told.order, told.version))
        for ref in told.lane.dead:
            self.given_up.add((told.endpoint, told.channel, told.order, ref.version))
