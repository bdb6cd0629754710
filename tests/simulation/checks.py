"""What must hold at the end: the promises of design section 8, read from the logs and from what merchants received."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from urllib.parse import parse_qsl

import msgspec

from consumers.fanout import LANES
from consumers.orders import ORDERS
from consumers.view import Merging, RecreatedTopicError, Snapshot, View
from notifier import deliveries, events, evidence
from notifier.deliveries import Kind, delivery
from notifier.record import Record
from tests import oracle
from tests.fakes import FakeLogs, FakeViews
from tests.simulation.alipayhk import FORGED
from tests.simulation.members import P
from tests.simulation.merchants import Told
from tests.simulation.replay import JUNK
from tests.simulation.world import TOPICS, World

WAYS = {
    "registered": {"pending", "paid", "closed"},
    "pending": {"paid", "closed"},
    "closed": {"paid"},
    "paid": {"refunded"},
    "refunded": {"paid"},
}


async def everything(world: World) -> list[str]:
    """All that is broken; nothing, if all is well."""
    broken = list(world.broken)
    for check in (_promises, _genuine, _records, _status, _oracle, _quarantine, _newest_last, _told, _in_order):
        broken += [f"{check.__doc__} {fault}" for fault in check(world)]
    broken += [f"S10 {fault}" for topic, merging in _MERGING.items() for fault in await _view(world, topic, merging)]
    return broken


_MERGING = {TOPICS.orders: ORDERS, TOPICS.deliveries: LANES}


def _history(world: World, topic: str) -> list[Record]:
    return world.logs.history[topic, P]


def _promises(world: World) -> Iterator[str]:
    """S1"""
    bodies = {record.value for record in _history(world, TOPICS.inbox)}
    for body in world.alipayhk.promised:
        if body not in bodies:
            yield f"{body!r} was answered success and is not in the inbox"


def _genuine(world: World) -> Iterator[str]:
    """S2"""
    for body in world.alipayhk.believed:
        yield f"a forged message was answered success: {body!r}"
    for record in _history(world, TOPICS.inbox):
        if record.value not in world.alipayhk.genuine and record.value != JUNK:
            yield f"the inbox holds {record.value!r}"
    for (topic, _), records in world.logs.history.items():
        for record in records:
            if FORGED.encode() in record.value:
                yield f"{topic} holds {record.value!r}"
    for told in world.merchants.told:
        if FORGED.encode() in told.body:
            yield f"{told.endpoint} was told {told.body!r}"


def _records(world: World) -> Iterator[str]:
    """S11"""
    found: defaultdict[bytes, dict[int, set[Record]]] = defaultdict(lambda: defaultdict(set))
    for record in _history(world, TOPICS.orders):
        found[record.key][events.version_of(record)].add(record)
    for key in sorted(found.keys() | world.replay.records.keys()):
        versions = found[key]
        right = world.replay.records[key]
        if sorted(versions) != list(range(1, len(right) + 1)):
            yield f"{key.decode()} has versions {sorted(versions)}, a replay makes {len(right)}"
        for version, contents in versions.items():
            if contents != set(right[version - 1 : version]):
                yield f"{key.decode()} v{version} is not what a replay makes of it"


def _status(world: World) -> Iterator[str]:
    """S3"""
    for key, records in world.replay.records.items():
        read = [events.from_record(record) for record in records]
        if sum(one.event.type == "order.paid" for one in read) > 1:
            yield f"{key.decode()} is told to be paid twice"
        for before, after in pairwise(one.order for one in read):
            is_at_once = after.status == "refunded" and before.paid == 0 < after.paid  # its refund was read before it
            if before.status != after.status and after.status not in WAYS[before.status] and not is_at_once:
                yield f"{key.decode()} went from {before.status} to {after.status}"


def _oracle(world: World) -> Iterator[str]:
    """S4 and S5"""
    told: defaultdict[bytes, list[oracle.Message]] = defaultdict(list)
    policies: dict[bytes, oracle.Policy] = {}
    for _, record in world.replay.messages:
        if record.value == JUNK or evidence.from_record(record).verdict != evidence.USABLE:
            continue
        policy = evidence.from_record(record).policy
        policies[record.key] = {
            "currency": policy.currency,
            "seller_id": policy.seller_id,
            "partner_id": policy.partner_id,
            "orders": policy.orders,
        }
        told[record.key].append(("notification", dict(parse_qsl(record.value.decode()))))
    surviving = {one.record.key: one.record for one in world.logs.records(TOPICS.orders, P)}
    for key, messages in told.items():
        last = surviving.get(key)
        if _as_oracle_says(last) != oracle.expected(policies[key], messages):
            yield f"{key.decode()} is {_as_oracle_says(last)}, not {oracle.expected(policies[key], messages)}"


def _as_oracle_says(record: Record | None) -> dict[str, object] | None:
    if record is None:
        return None
    return oracle.as_expected(msgspec.json.decode(record.value)["order"])


def _quarantine(world: World) -> Iterator[str]:
    """L2"""
    found = {
        (int(record.header("inbox_offset") or b"-1"), (record.header("reason") or b"").decode())
        for record in _history(world, TOPICS.quarantine)
    }
    if found != set(world.replay.aside.items()):
        yield f"quarantine differs in {sorted(found ^ set(world.replay.aside.items()))}"


def _newest_last(world: World) -> Iterator[str]:
    """S10 (rule 6)"""
    last = {one.record.key: one.record for one in world.logs.records(TOPICS.orders, P)}
    for key, records in world.replay.records.items():
        if last.get(key) != records[-1]:
            yield f"the newest of {key.decode()} does not lie last in the orders log"
    lanes = {one.record.key: one.record for one in world.logs.records(TOPICS.deliveries, P)}
    for key, lane in world.replay.lanes.items():
        if (
            key not in lanes
            or delivery.join(delivery.from_record(lanes[key]).lane, lane) != delivery.from_record(lanes[key]).lane
        ):
            yield f"the newest of {key.decode()} does not lie last in the deliveries log"
    merged: dict[bytes, Record] = {}
    for record in _history(world, TOPICS.deliveries):
        if deliveries.kind_of(record.key) is not Kind.LANE:
            merged[record.key] = deliveries.merge(merged.get(record.key), record)
    for key, record in merged.items():
        if lanes.get(key) != record:
            yield f"the newest of {key.decode()} does not lie last in the deliveries log"


def _told(world: World) -> Iterator[str]:
    """S7 and S6"""
    told: defaultdict[tuple[str, str, str, int], list[Told]] = defaultdict(list)
    for one in world.merchants.told:
        told[one.endpoint, one.channel, one.order, one.version].append(one)
    for record in dict.fromkeys(_history(world, TOPICS.orders)):
        telling = events.telling_of(record)
        for endpoint in world.replay.wanting(telling):
            event = endpoint.name, telling.channel, telling.order, telling.version
            heard = told.pop(event, [])
            if any((one.webhook_id, one.body) != (telling.event_id, telling.body) for one in heard):
                yield f"{event} was told under another id or with another body"
            if not any(one.is_accepted for one in heard) and event not in world.replay.given_up:
                yield f"{event} was not told"
    for event in told:
        yield f"{event} was told and is no event of this endpoint's"


def _in_order(world: World) -> Iterator[str]:
    """S8"""
    first: defaultdict[tuple[str, str, str], list[int]] = defaultdict(list)
    for one in world.merchants.told:
        lane = one.endpoint, one.channel, one.order
        if one.is_accepted and one.version not in first[lane] and (*lane, one.version) not in world.replay.given_up:
            first[lane].append(one.version)
    for lane, versions in first.items():
        if versions != sorted(versions):
            yield f"{lane} was told {versions}"


async def _view(world: World, topic: str, merging: Merging) -> list[str]:
    """The view, and one that is built from nothing of the compacted log: the same, key by key."""
    end = len(world.logs.logs[topic, P])
    keys = sorted({one.record.key for one in world.logs.records(topic, P)})
    as_it_is, anew = FakeViews(), FakeViews()
    as_it_is.views = world.views.views
    try:
        found, built = [await _opened(world, topic, merging, store, keys) for store in (as_it_is, anew)]
    except RecreatedTopicError:
        return [f"the view of {topic} points at what is not there"]
    faults = [f"{topic}: {key!r} differs" for key in keys if built.known.get(key) != found.known.get(key)]
    if (found.position or 0) != end:
        faults.append(f"the view of {topic} has position {found.position}, the log ends at {end}")
    due = [
        {key: at for index in store.views[topic, P].due.values() for key, at in index.items()}
        for store in (as_it_is, anew)
    ]
    if due[0] != due[1]:
        faults.append(f"{topic}: due are {due[0]}, not {due[1]}")
    return faults


async def _opened(world: World, topic: str, merging: Merging, store: FakeViews, keys: list[bytes]) -> Snapshot:
    """What a view has of these keys. What it heals on the way goes into a copy of the log: to heal twice is no fault."""
    logs = FakeLogs()
    logs.logs[topic, P] = list(world.logs.logs[topic, P])
    logs.starts[topic, P] = world.logs.starts[topic, P]
    view = View(topic, P, merging, store=store, reader=logs, appender=logs)
    await view.look()
    return await view.read(keys)
