"""The story of one order: its state, its events, the evidence behind them, and who was told."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field

import msgspec

from notifier import evidence
from notifier.cli import told
from notifier.cli.looking import Look
from notifier.deliveries.delivery_report import Report
from notifier.events import OrderEvent
from notifier.kafka.follower import Followed
from notifier.record import Record

MADE, ASIDE, REPEATED, UNREAD = "made", "aside", "repeated", "unread"
"""What a piece of evidence came to: a version of the order; quarantine; nothing new; the orders job has not come to it yet."""


class _Value(msgspec.Struct):
    """A record of the orders topic as far as it is shown: the private state is left alone, so any release's will do."""

    event: OrderEvent
    order: dict[str, object]


_decode = msgspec.json.Decoder(_Value).decode


@dataclass(frozen=True, slots=True)
class Happened:
    """One event of the order, and what it came to."""

    event: OrderEvent
    order: dict[str, object]
    at: str | None
    """When the evidence that caused it was received."""
    partition: int
    offset: int

    @property
    def as_json(self) -> dict[str, object]:
        """Flat."""
        return msgspec.structs.asdict(self.event) | {
            "at": self.at,
            "status": self.order.get("status"),
            "paid": self.order.get("paid"),
            "refunded": self.order.get("refunded"),
            "partition": self.partition,
            "offset": self.offset,
        }


@dataclass(slots=True)
class Story:
    """What the topics tell of an order. Without events nothing usable was told about it."""

    channel: str
    order: str
    partition: int
    events: list[Happened] = field(default_factory=list)
    """By version; old ones may have been compacted away."""
    evidence: list[dict[str, object]] = field(default_factory=list)
    deliveries: Report = field(default_factory=Report)

    @property
    def as_json(self) -> dict[str, object]:
        """The contract's document (section 2)."""
        return {
            "order": self.events[-1].order if self.events else None,
            "events": [one.as_json for one in self.events],
            "evidence": self.evidence,
            "deliveries": [msgspec.structs.asdict(one) for one in self.deliveries],
        }


async def tell(look: Look, channel: str, order: str, *, is_whole: bool) -> Story:
    """
    Read what there is about an order; all of it lies in one partition.

    Args:
        is_whole: every piece of evidence that the inbox still has, not only what changed something or was set aside.

    Raises:
        NewerStateError: a later release wrote its deliveries.
    """
    story = Story(channel, order, look.partition_of(channel, order))
    story.events = await _events(look, story)
    aside = {
        int(one.stored.record.header("inbox_offset") or b"-1"): one.stored.record
        async for one in _own(look, look.topics.quarantine, story)
    }
    if is_whole or not story.events:
        inbox = {one.stored.offset: one.stored.record async for one in _own(look, look.topics.inbox, story)}
    else:
        inbox = await _inbox_at(look, story, {one.event.inbox_offset for one in story.events} | aside.keys())
    read_upto = await look.scanner.committed(look.topics.group("orders"), look.topics.inbox, story.partition)
    story.evidence = _rows(story, inbox, aside, read_upto)
    async with aclosing(look.records(look.topics.deliveries, [story.partition])) as records:
        async for one in records:
            _, slash, rest = one.stored.record.key.partition(b"/")
            if not slash or rest == _key(story):  # without: what is about an endpoint
                story.deliveries.take(one.stored)
    return story


def _key(story: Story) -> bytes:
    return f"{story.channel}/{story.order}".encode("utf-8", "surrogateescape")


async def _own(look: Look, topic: str, story: Story) -> AsyncGenerator[Followed, None]:
    """A topic's records of this order."""
    async with aclosing(look.records(topic, [story.partition])) as records:
        async for one in records:
            if one.stored.record.key == _key(story):
                yield one


async def _events(look: Look, story: Story) -> list[Happened]:
    found: dict[int, Happened] = {}
    async for one in _own(look, look.topics.orders, story):
        try:
            value = _decode(one.stored.record.value)
        except msgspec.DecodeError:
            continue  # none of ours; fan-out's log says so
        at = one.stored.record.header("ce_time")
        found[value.event.version] = Happened(
            value.event, value.order, at.decode() if at is not None else None, one.partition, one.stored.offset
        )
    return [found[version] for version in sorted(found)]


async def _inbox_at(look: Look, story: Story, offsets: Iterable[int]) -> dict[int, Record]:
    """What the inbox still has at these offsets, and of this order."""
    found = {}
    for offset in sorted(offsets):
        stored = await look.reader.one(look.topics.inbox, story.partition, offset)
        if stored is not None and stored.record.key == _key(story):
            found[offset] = stored.record
    return found


def _rows(story: Story, inbox: dict[int, Record], aside: dict[int, Record], read_upto: int) -> list[dict[str, object]]:
    made = {one.event.inbox_offset: one for one in story.events}
    rows = []
    for offset in sorted(inbox.keys() | aside.keys() | made.keys()):
        happened, kept = made.get(offset), aside.get(offset)
        record = inbox.get(offset) or kept
        reason = kept.header("reason") if kept is not None else None
        rows.append(
            (_read(record, story.partition, offset) if record is not None else _remembered(story, made[offset]))
            | {
                "effect": _effect(happened, kept, is_read=offset < read_upto),
                "version": happened.event.version if happened is not None else None,
                "reason": reason.decode() if reason is not None else None,
                "is_kept": offset in inbox,
            }
        )
    return rows


def _effect(happened: Happened | None, kept: Record | None, *, is_read: bool) -> str:
    if happened is not None:
        return MADE
    if kept is not None:
        return ASIDE
    return REPEATED if is_read else UNREAD


def _read(record: Record, partition: int, offset: int) -> dict[str, object]:
    try:
        return told.row(evidence.from_record(record), partition, offset)
    except (KeyError, ValueError):  # none of ours: it is in quarantine as internal_error
        return told.unreadable(partition, offset)


def _remembered(story: Story, happened: Happened) -> dict[str, object]:
    """The inbox keeps evidence for 30 days; what its event says of it stays."""
    event = happened.event
    return told.unreadable(story.partition, event.inbox_offset) | {
        "channel": story.channel,
        "order": story.order,
        "kind": event.cause,
        "received_at": happened.at,
        "evidence_id": event.evidence_id,
        "why": event.reason,
    }
