"""
What must hold after a run, from what was seen from outside: AlipayHK's answers, the topics, Redis, the merchants.

The demo counts S1 to S11 already (`notifier.demo.check`); here is what needs an oracle, or Redis.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast
from urllib.parse import parse_qsl

import msgspec

from notifier.demo.check import check
from notifier.demo.history import Entry, History
from notifier.demo.records import read_event
from notifier.demo.world.merchants import MERCHANTS
from tests import oracle
from tests.faults.fold import Kept, Told, kept_in, lanes_of, newest_of, told_in
from tests.faults.product import Part
from tests.faults.stage import Stage

EXAMPLES_MAX = 5

Key = tuple[int, bytes]
"""A partition, and a record's key."""


def of_history(history: History, put_there: set[str]) -> Iterator[str]:
    """Everything that can be said without Redis; orders that a fault wrote into a topic itself are left out."""
    seen = _without(history, put_there)
    for verdict in check(seen):
        if verdict.broken:
            yield f"{verdict.name}: {verdict.broken} of {verdict.checked} broken ({verdict.law}): {'; '.join(verdict.examples)}"
    yield from _some(_differing_from_oracle(seen))
    yield from _some(f"{entry.stored.record.key!r} is in quarantine" for entry in seen.quarantine)


def _some(faults: Iterable[str]) -> Iterator[str]:
    """Some of them, and how many there are."""
    found = list(faults)
    yield from found[:EXAMPLES_MAX]
    if len(found) > EXAMPLES_MAX:
        yield f"… and {len(found) - EXAMPLES_MAX} more like this"


def _without(history: History, put_there: set[str]) -> History:
    marks = [number.encode() for number in put_there]

    def of_others(entries: Sequence[Entry]) -> tuple[Entry, ...]:
        return tuple(entry for entry in entries if not entry.stored.record.key.endswith(tuple(marks)))

    return replace(
        history,
        posts=tuple(post for post in history.posts if post.message.order.number not in put_there),
        inbox=of_others(history.inbox),
        orders=of_others(history.orders),
        deliveries=of_others(history.deliveries),
        webhooks=tuple(one for one in history.webhooks if not any(mark in one.body for mark in marks)),
    )


def _differing_from_oracle(history: History) -> Iterator[str]:
    """S4 and S5: each order's end is what the oracle makes of all evidence about it that the inbox has ever held."""
    told: defaultdict[bytes, list[oracle.Message]] = defaultdict(list)
    policies: dict[bytes, oracle.Policy] = {}
    for entry in history.inbox:
        record = entry.stored.record
        told[record.key].append(("notification", dict(parse_qsl(record.value.decode()))))
        policies[record.key] = msgspec.json.decode(record.header("policy") or b"", type=oracle.Policy)
    latest: dict[bytes, tuple[int, object]] = {}
    for entry in history.orders:
        event = read_event(entry)
        if event is not None and event.version > latest.get(event.record.key, (0, None))[0]:
            latest[event.record.key] = event.version, event.data
    for key in sorted(told.keys() | latest.keys()):
        _, data = latest.get(key, (0, None))
        is_so = oracle.as_expected(data) if isinstance(data, dict) else None
        must_be = oracle.expected(policies[key], told[key]) if key in told else None
        if is_so != must_be:
            yield f"{key.decode()} is {is_so}, not {must_be}"


@dataclass(frozen=True, slots=True)
class Views:
    """What Redis holds of both logs, and how many lanes are due."""

    orders: dict[Key, Kept]
    lanes: dict[Key, Told]
    due: int


async def read_views(stage: Stage) -> Views:
    """Read all of it."""
    orders: dict[Key, Kept] = {}
    lanes: dict[Key, Told] = {}
    topics = stage.topics
    for partition in range(stage.cluster.partitions):
        for key, packed in (await _entries(stage, topics.orders, partition)).items():
            orders[partition, key] = kept_in(key, packed)
        for key, packed in (await _entries(stage, topics.deliveries, partition)).items():
            lanes[partition, key] = told_in(kept_in(key, packed).value)
    names = [name async for name in stage.redis.scan_iter(f"{stage.key_prefix}:*:due:*")]
    indexes = [name for name in names if name.endswith(tuple(f":due:{one.name}".encode() for one in MERCHANTS))]
    return Views(
        orders,
        lanes,
        sum([await stage.redis.zcard(name) for name in indexes]),
    )


async def _entries(stage: Stage, topic: str, partition: int) -> dict[bytes, bytes]:
    found = cast(
        "dict[bytes, bytes]", await stage.redis.hgetall(stage.view_name(topic, partition))
    )  # it decodes nothing
    return {key: value for key, value in found.items() if _is_of_an_order(key)}


def _is_of_an_order(key: bytes) -> bool:
    """Neither a field of the view itself, nor about an endpoint or a position."""
    return b"/" in key and not key.startswith((b".", b"~"))


def of_views(views: Views, orders: Sequence[Entry], deliveries: Sequence[Entry], what: str) -> Iterator[str]:
    """S10: Redis holds what a fold of the logs from nothing gives, key by key."""
    yield from _some(_differing(views.orders, newest_of(orders), f"orders of the {what} log"))
    yield from _some(
        _differing(
            views.lanes,
            lanes_of(entry for entry in deliveries if _is_of_an_order(entry.stored.record.key)),
            f"lanes of the {what} log",
        )
    )


def _differing(found: Mapping[Key, object], right: Mapping[Key, object], what: str) -> Iterator[str]:
    for key in sorted(found.keys() | right.keys()):
        if found.get(key) != right.get(key):
            yield f"{what}: {key} is {found.get(key)} in Redis, not {right.get(key)}"


def of_rest(views: Views) -> Iterator[str]:
    """L1: at the end nothing waits."""
    yield from _some(f"{key} still waits" for key, lane in views.lanes.items() if lane.waiting)
    if views.due:
        yield f"{views.due} lanes are in a due index with nothing waiting"


def of_logs(parts: Iterable[Part]) -> Iterator[str]:
    """No process met a bug of its own, or gave anything up."""
    never = ("evidence.failed", "delivery.exhausted", "delivery.skipped", "event.unreadable")
    for part in parts:
        said = Counter(line["event"] for line in part.lines(*never))
        yield from (f"{part.name} said {said[event]} times {event}" for event in never if said[event])


def repeats(history: History) -> int:
    """How many webhooks were accepted that had been accepted before."""
    accepted = Counter((one.merchant, one.webhook_id) for one in history.webhooks if one.is_accepted)
    return sum(count - 1 for count in accepted.values())
