"""
What must always hold (design, section 8), counted over the history of a demo.

Pure functions over what was seen from outside. What the pipeline says about itself is never asked.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import msgspec

from notifier.demo.history import Entry, History, Order, Webhook
from notifier.demo.ledger import accounts
from notifier.demo.records import Event, read_body, read_delivery, read_event

MOVES = {
    "registered": {"pending", "paid", "closed", "refunded"},
    "pending": {"paid", "closed", "refunded"},
    "closed": {"paid", "refunded"},
    "paid": {"refunded"},
    "refunded": {"paid"},
}
"""
How a status may move (contract, section 6). Its list names one step for each thing that is told; a message that closes a trade
with its refund may come first, and then the payment leads to `refunded` at once, as the definition of that status says.
"""

_EXAMPLES_MAX = 5


@dataclass(frozen=True, slots=True)
class Verdict:
    """One invariant, counted."""

    name: str
    law: str
    checked: int
    broken: int
    examples: tuple[str, ...]
    """Some of what is broken, in words."""


def check(history: History) -> list[Verdict]:
    """Count all of them."""
    events = [event for entry in history.orders if (event := read_event(entry)) is not None]
    return [
        in_inbox(history),
        unforged(history, events),
        moves(history, events),
        money(history, events),
        apart(history, events),
        told(history, events),
        in_order(history),
        one_content(events),
    ]


def in_inbox(history: History) -> Verdict:
    """S1. Each `success` is a promise of its own, so a body that was taken twice is there twice."""
    stored = Counter((_channel_of(entry), entry.stored.record.value) for entry in history.inbox)
    promised = Counter((post.channel, post.body) for post in history.posts if post.is_success)
    lost = promised - stored
    return _verdict(
        "S1",
        "every notification that was answered success is in the inbox, byte for byte",
        promised.total(),
        [f"{channel}: {body[:120]!r}" for channel, body in lost.elements()],
    )


def unforged(history: History, events: Iterable[Event]) -> Verdict:
    """S2. Believed is what was answered success, what lies in a topic, and an event that nothing of AlipayHK's caused."""
    forged = [post for post in history.posts if post.forgery is not None]
    topics = (history.inbox, history.orders, history.deliveries, history.quarantine, history.commands)
    values = {entry.stored.record.value for topic in topics for entry in topic}
    genuine = {post.evidence_id for post in history.posts if post.forgery is None}
    problems = [f"{post.channel}: {post.forgery}" for post in forged if post.is_success or post.body in values]
    problems += [
        f"{_name(event.order)}, version {event.version}: AlipayHK sent nothing that caused it"
        for event in events
        if event.evidence_id not in genuine
    ]
    return _verdict("S2", "no forged message was taken, or reached a topic or an order", len(forged), problems)


def moves(history: History, events: Iterable[Event]) -> Verdict:
    """S3. A record may lie there more than once; its versions, their causes and their statuses are those of the first."""
    by_order: defaultdict[Order, dict[int, Event]] = defaultdict(dict)
    for event in events:
        by_order[event.order].setdefault(event.version, event)
    unreadable = [
        f"partition {entry.partition}, offset {entry.stored.offset}: no event"
        for entry in history.orders
        if read_event(entry) is None
    ]
    return _verdict(
        "S3",
        "each order's versions have no hole, its status moves as it may, it is paid once, no evidence works twice",
        len(by_order),
        unreadable
        + [f"{_name(order)}: {fault}" for order, versions in by_order.items() if (fault := _fault_of_life(versions))],
    )


def _fault_of_life(versions: dict[int, Event]) -> str | None:
    life = [versions[version] for version in sorted(versions)]
    if [event.version for event in life] != list(range(1, len(life) + 1)):
        return f"versions {sorted(versions)}"
    for before, after in pairwise(life):
        old, new = before.state.status, after.state.status
        if new != old and new not in MOVES.get(old, ()):
            return f"{old} became {new}"
    if sum(event.type == "order.paid" for event in life) > 1:
        return "order.paid twice"
    if len({event.evidence_id for event in life}) < len(life):
        return "one piece of evidence made two versions"
    return None


def money(history: History, events: Iterable[Event]) -> Verdict:
    """S4. What AlipayHK told and heard `success` for is counted anew, from its own messages."""
    latest: dict[Order, Event] = {}
    for event in events:
        known = latest.get(event.order)
        if known is None or event.version > known.version:
            latest[event.order] = event
    expected = accounts(history.posts)
    problems = []
    for order in sorted(expected.keys() | latest.keys()):
        account, seen = expected.get(order), latest.get(order)
        if account is None:
            problems.append(f"{_name(order)}: AlipayHK told of no such order")
        elif seen is None:
            problems.append(f"{_name(order)}: there is no event")
        else:
            state = seen.state
            has = (state.status, state.paid, state.refunded, state.currency)
            if has != (needs := (account.status, account.paid, account.refunded, "HKD")):
                problems.append(f"{_name(order)}: {has} instead of {needs}")
    return _verdict(
        "S4",
        "status, paid and refunded of each order are what AlipayHK told",
        len(expected.keys() | latest.keys()),
        problems,
    )


def apart(history: History, events: Iterable[Event]) -> Verdict:
    """S6. The channels have the same order numbers, so what strays shows in its channel alone."""
    posted = {(post.channel, post.body) for post in history.posts}
    known = {post.message.order for post in history.posts if post.forgery is None}
    merchants = {merchant.name: merchant for merchant in history.merchants}
    problems = [
        f"inbox, partition {entry.partition}, offset {entry.stored.offset}: not POSTed to {_channel_of(entry)}"
        for entry in history.inbox
        if (_channel_of(entry), entry.stored.record.value) not in posted
    ]
    events = list(events)
    problems += [
        f"event {event.id}: {event.record.key!r} has {_name(event.order)}"
        for event in events
        if event.order not in known or not _is_whole(event)
    ]
    problems += [
        f"{webhook.merchant} was told of {read[1].channel}"
        for webhook in history.webhooks
        if (read := read_body(webhook.body)) and read[1].channel not in merchants[webhook.merchant].channels
    ]
    checked = len(history.inbox) + len(events) + len(history.webhooks)
    return _verdict("S6", "nothing of one channel appears in another's output", checked, problems)


def _is_whole(event: Event) -> bool:
    """Whether key, headers and value name one order."""
    channel, number = event.order
    record = event.record
    return (
        record.key == f"{channel}/{number}".encode()
        and record.header("ce_source") == f"/alipayhk/{channel}".encode()
        and record.header("ce_subject") == number.encode()
    )


def told(history: History, events: Iterable[Event]) -> Verdict:
    """S7. A dead letter counts as told: it is there to be seen."""
    by_id: dict[str, Event] = {}
    for event in events:
        by_id.setdefault(event.id, event)
    dead = {
        (delivery.endpoint, delivery.event_id)
        for entry in history.deliveries
        if (delivery := read_delivery(entry)) is not None and delivery.outcome == "dead"
    }
    got: defaultdict[tuple[str, str], list[Webhook]] = defaultdict(list)
    for webhook in history.webhooks:
        got[webhook.merchant, webhook.webhook_id].append(webhook)
    wanted = {
        (merchant.name, event.id)
        for merchant in history.merchants
        for event in by_id.values()
        if merchant.wants(event.order.channel, event.type, event.flags_added)
    }
    problems = [
        f"{merchant} was not told {id_}" for merchant, id_ in sorted(wanted - dead) if not _is_told(got[merchant, id_])
    ]
    for (merchant, id_), webhooks in got.items():
        if (merchant, id_) not in wanted and webhooks:
            problems.append(f"{merchant} was told {id_!r}, which is no event for it")
        elif fault := _fault_of_telling(by_id.get(id_), webhooks):
            problems.append(f"{merchant}, {id_}: {fault}")
    return _verdict(
        "S7",
        "each event reached each endpoint that wants it, signed, under one id, with one body",
        len(wanted),
        problems,
    )


def _is_told(webhooks: list[Webhook]) -> bool:
    return any(webhook.is_accepted for webhook in webhooks)


def _fault_of_telling(event: Event | None, webhooks: list[Webhook]) -> str | None:
    """What is wrong with the attempts to tell one event to one merchant."""
    if event is None or not webhooks:
        return None  # said already, or never tried
    if len({webhook.body for webhook in webhooks}) > 1:
        return "told with two bodies"
    if unverified := [webhook.fault for webhook in webhooks if webhook.fault is not None]:
        return unverified[0]
    read = read_body(webhooks[0].body)
    if read is None:
        return "the body can't be read"
    body, _ = read
    says = (body.id, body.type, body.version, body.flags_added, body.timestamp, msgspec.json.decode(body.data))
    if says != (event.id, event.type, event.version, event.flags_added, event.time, event.data):
        return "the body is not what the event says"
    return None


def in_order(history: History) -> Verdict:
    """S8. `webhooks` are in the order in which they were answered, and a lane is one merchant and one order."""
    firsts: defaultdict[tuple[str, Order], list[int]] = defaultdict(list)
    for merchant, order, version in _first_accepted(history.webhooks):
        firsts[merchant, order].append(version)
    return _verdict(
        "S8",
        "each merchant first accepted an order's events in the order of their versions",
        len(firsts),
        [
            f"{merchant}, {_name(order)}: {versions}"
            for (merchant, order), versions in firsts.items()
            if versions != sorted(versions)
        ],
    )


def _first_accepted(webhooks: Iterable[Webhook]) -> Iterator[tuple[str, Order, int]]:
    seen: set[tuple[str, str]] = set()
    for webhook in webhooks:
        read = read_body(webhook.body)
        if not webhook.is_accepted or read is None or (webhook.merchant, webhook.webhook_id) in seen:
            continue
        seen.add((webhook.merchant, webhook.webhook_id))
        body, state = read
        yield webhook.merchant, Order(state.channel, state.order), body.version


def one_content(events: Iterable[Event]) -> Verdict:
    """S11, as far as one reading of the log shows it: where a version lies there twice, it is the same bytes."""
    contents: defaultdict[tuple[Order, int], set[object]] = defaultdict(set)
    ids: defaultdict[str, set[tuple[Order, int]]] = defaultdict(set)
    for event in events:
        contents[event.order, event.version].add(event.record)
        ids[event.id].add((event.order, event.version))
    problems = [
        f"{_name(order)}, version {version}: {len(found)} contents"
        for (order, version), found in contents.items()
        if len(found) > 1
    ]
    problems += [f"{id_} names {len(found)} events" for id_, found in ids.items() if len(found) > 1]
    return _verdict("S11", "each version of an order has one content, and an id of its own", len(contents), problems)


def _verdict(name: str, law: str, checked: int, problems: list[str]) -> Verdict:
    return Verdict(name, law, checked, len(problems), tuple(problems[:_EXAMPLES_MAX]))


def _channel_of(entry: Entry) -> str:
    return (entry.stored.record.header("channel") or b"").decode("ascii", "replace")


def _name(order: Order) -> str:
    return f"{order.channel}/{order.number}"
