"""Evidence that was set aside: found in the quarantine topic, and shown without the buyer."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

import msgspec

from notifier import events, evidence
from notifier.alipayhk import form
from notifier.cli import told
from notifier.cli.looking import Look
from notifier.config import Settings
from notifier.errors import Reason, Rejected, Unavailable, Unusable
from notifier.evidence import Evidence, Kind, rfc3339
from notifier.internal.lookup import Lookup
from notifier.record import Record
from notifier.release import RELEASABLE, Word, read_word
from notifier.views import RedisViews

HOLDING = RELEASABLE | {Reason.CURRENCY_MISMATCH}
"""Reasons for which the order knows of the payment, and does not count it."""

_SHOWN = frozenset(
    b"notify_id notify_type notify_time notify_action_type sign_type charset _input_charset partner partner_id seller_id "
    b"out_trade_no trade_no trade_status total_fee total_amount rmb_fee currency payment_type price quantity discount "
    b"is_total_fee_adjust use_coupon gmt_create gmt_payment gmt_close gmt_refund refund_status out_return_no return_amount "
    b"refund_amount error_code".split()
)
"""AlipayHK's fields that are about the trade alone. Whatever else there is may be about the buyer, and stays hidden."""

_SHOWN_BYTES_MAX = 64


@dataclass(frozen=True, slots=True)
class Aside:
    """One piece of evidence in quarantine, and where it lies in the inbox."""

    partition: int
    offset: int
    reason: str
    record: Record
    set_aside_at_ms: int
    """Unix milliseconds, by the broker's clock."""

    @property
    def row(self) -> dict[str, object]:
        """Flat."""
        try:
            read = told.row(evidence.from_record(self.record), self.partition, self.offset)
        except (KeyError, ValueError):  # none of ours: that is why it lies there
            read = told.unreadable(self.partition, self.offset)
        return read | {"reason": self.reason}

    def fields(self) -> dict[str, str | None]:
        """The message's fields as they came; None for what may be about the buyer, and for the signature."""
        try:
            read = evidence.from_record(self.record)
            fields = form.parse(read.body) if read.kind is Kind.NOTIFICATION else {}
        except (KeyError, ValueError, Rejected):
            return {}
        return {name.decode("ascii"): _shown(name, value) for name, value in fields.items()}


def _shown(name: bytes, value: bytes) -> str | None:
    """A value, if it is about the trade alone. One with `&` may hold pieces of another field."""
    is_plain = len(value) <= _SHOWN_BYTES_MAX and value.isascii() and value.decode("ascii").isprintable()
    return value.decode("ascii") if name in _SHOWN and is_plain and b"&" not in value else None


async def asides(look: Look, partition: int | None = None) -> AsyncGenerator[Aside, None]:
    """All that lies in quarantine, or in one partition of it. The same may come twice: it is told by its place."""
    partitions = None if partition is None else [partition]
    async with aclosing(look.records(look.topics.quarantine, partitions)) as records:
        async for one in records:
            headers = dict(one.stored.record.headers)
            try:
                where = int(headers["inbox_partition"]), int(headers["inbox_offset"])
                yield Aside(*where, headers["reason"].decode(), one.stored.record, one.stored.appended_at_ms)
            except (KeyError, ValueError):
                continue  # nothing that this project wrote


@dataclass(frozen=True, slots=True)
class Released:
    """An operator's word by which a held payment counts."""

    at: str
    """RFC 3339: when it was given."""
    by: str | None
    reason: str
    is_read: bool
    """Has the orders job come to it?"""


async def release_of(look: Look, aside: Aside) -> Released | None:
    """The first word that was given about a held payment; the second adds nothing. None: nobody gave one."""
    if aside.reason not in RELEASABLE:
        return None
    async with aclosing(look.records(look.topics.inbox, [aside.partition], begin=aside.offset + 1)) as records:
        async for one in records:
            word = _word(one.stored.record) if one.stored.record.key == aside.record.key else None
            if word is not None and word[1].release.trade_no == aside.row["trade_no"]:
                upto = await look.scanner.committed(look.topics.group("orders"), look.topics.inbox, aside.partition)
                return Released(rfc3339(word[0].received_at), word[1].by, word[1].reason, one.stored.offset < upto)
    return None


def _word(record: Record) -> tuple[Evidence, Word] | None:
    try:
        read = evidence.from_record(record)
        return (read, read_word(read)) if read.kind is Kind.OPERATOR else None
    except (KeyError, ValueError, Unusable):
        return None


class Orders:
    """How the orders behind held payments stand now, as the view in Redis has them."""

    def __init__(self, look: Look, store: RedisViews) -> None:
        async def count() -> int:
            return look.spread_over

        self._lookup = Lookup(look.topics.orders, store, look.reader, partitions=look.spread_over, count=count)
        self.is_away = False
        """Redis, or Kafka, did not answer: then nothing is said of any order any more."""

    @classmethod
    @asynccontextmanager
    async def at_hand(cls, look: Look, settings: Settings) -> AsyncIterator[Orders]:
        """Ready to be asked while the block runs."""
        store = RedisViews(settings.redis.url, key_prefix=settings.redis.key_prefix, ca_file=settings.redis.ca_file)
        try:
            yield cls(look, store)
        finally:
            await store.close()

    async def is_held(self, row: Mapping[str, object]) -> bool | None:
        """Whether the payment that a piece of evidence tells of is held now; None where nobody knows, or there is none."""
        channel, order = row["channel"], row["order"]
        if row["reason"] not in HOLDING or not isinstance(channel, str) or not isinstance(order, str) or self.is_away:
            return None
        try:
            found = await self._lookup.find(channel, order)
        except Unavailable:
            self.is_away = True
            return None
        if found is None:
            return None
        payments = _decode(events.order_in(found)).payments
        return next((one.held is not None for one in payments if one.trade_no == row["trade_no"]), None)


class _Payment(msgspec.Struct):
    trade_no: str
    held: str | None


class _Order(msgspec.Struct):
    payments: tuple[_Payment, ...]


_decode = msgspec.json.Decoder(_Order).decode
