"""What is outside of us, as small Protocols: the doors and jobs ask for these, adapters give them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

from notifier.record import Record, Stored


class InboxAppender(Protocol):
    """Makes evidence durable in the inbox."""

    @property
    def is_ready(self) -> bool:
        """Are the inbox's partitions known, so that an append can be tried?"""
        ...

    async def append(self, record: Record) -> None:
        """
        Return once the record is on all in-sync replicas.

        Raises:
            Unavailable: `kafka`, why is `kafka_timeout`, `kafka_full` or `stopping`. The outcome is unknown: it may land later.
        """
        ...


class PatientInbox(InboxAppender, Protocol):
    """An inbox whose patience can be set."""

    @property
    def is_answering(self) -> bool:
        """Did Kafka answer when it was asked last?"""
        ...

    def give_up_after(self, timeout_s: float) -> None:
        """How long an append may wait for its acknowledgement from now on."""
        ...


class Appender(Protocol):
    """Appends to logs."""

    async def append(self, topic: str, partition: int, records: Sequence[Record]) -> list[int]:
        """
        Append in order; the offset of each, once all are on all in-sync replicas.

        Raises:
            Unavailable: the outcome is unknown.
        """
        ...


class Chunk(NamedTuple):
    """Some records in their log's order, and the offset below which everything has been read."""

    records: list[Stored]
    next_offset: int


class LogReader(Protocol):
    """Reads logs by offset. Every method raises Unavailable where there is no answer."""

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """The log's start and end: the offset of its first record, and the one after its last."""
        ...

    async def offset_at(self, topic: str, partition: int, at_ms: int) -> int:
        """The offset of the first record appended at or after a time (Unix milliseconds); the end if there is none."""
        ...

    def read(self, topic: str, partition: int, start: int, upto: int) -> AsyncGenerator[Chunk, None]:
        """The records from `start` to at least `upto`; where the log begins later, from its beginning."""
        ...

    async def one(self, topic: str, partition: int, offset: int) -> Stored | None:
        """The record at an offset; None where it is no more."""
        ...

    async def some(self, topic: str, partition: int, offsets: Collection[int]) -> dict[int, Stored]:
        """The records at these offsets, as far as they are still there."""
        ...


class Kept(NamedTuple):
    """A key's latest record as a view keeps it whole: where it lies in the log, and what is needed to have it back."""

    offset: int
    body: bytes


class Pointer(NamedTuple):
    """What a view keeps of a key that has been quiet for long: where its latest record lies, and of which version it is."""

    offset: int
    version: int


class ViewRead(NamedTuple):
    """Entries and the position they were read with, at one moment. No position: nothing was ever written."""

    position: int | None
    entries: list[Kept | Pointer | None]


class DueChange(NamedTuple):
    """A key's place in the due index of a group (an endpoint); `due_ms` None takes it out. Unix milliseconds."""

    group: str
    key: bytes
    due_ms: int | None


class DueGroup(NamedTuple):
    """How many keys of a group are in the due index, and when the first of them is due (Unix milliseconds)."""

    group: str
    keys: int
    first_due_ms: int


class ViewStore(Protocol):
    """Keeps the view of one partition of a log whole. Every method raises Unavailable where there is no answer."""

    async def read(self, topic: str, partition: int, keys: Sequence[bytes]) -> ViewRead:
        """The entries of these keys with the view's position, in one atomic step."""
        ...

    async def write(
        self,
        topic: str,
        partition: int,
        *,
        expected: int | None,
        position: int,
        entries: Mapping[bytes, Kept],
        due: Sequence[DueChange],
    ) -> bool:
        """Move the view, in one atomic step, and only if its position is still the expected one; whether it was."""
        ...

    async def due(
        self, topic: str, partition: int, group: str, *, until_ms: int | None, limit: int, from_ms: int = 0
    ) -> list[tuple[bytes, int]]:
        """The keys of a group that are due from one time to another (None: at any time) and when, the longest due first."""
        ...

    async def due_groups(self, topic: str, partition: int) -> list[DueGroup]:
        """What the due index holds, group by group; none that is empty."""
        ...

    async def rested_upto(self, topic: str, partition: int) -> int:
        """The offset below which every record was offered to `rest`."""
        ...

    async def rest(self, topic: str, partition: int, pointers: Mapping[bytes, Pointer], *, upto: int) -> None:
        """Keep only a pointer of each key whose latest record still lies at the pointer's offset; note how far this has come."""
        ...

    async def drop_below(self, topic: str, partition: int, start: int) -> None:
        """Take out some pointers to what lies below an offset; called again and again, in the end all of them."""
        ...

    async def forget(self, topic: str, partition: int) -> None:
        """Throw the view away."""
        ...


class Verifier(Protocol):
    """Asks AlipayHK whether a notification is its own."""

    async def confirm(self, gateway_url: str, partner_id: str, notify_id: str | None) -> None:
        """
        Return if AlipayHK says that it made this notification for this partner.

        Raises:
            Rejected: 401 `notify_id`, because AlipayHK says that it did not, or there is nothing to ask about.
            Unavailable: `alipayhk`, because it said neither yes nor no in time.
        """
        ...
