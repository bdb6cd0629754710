"""The demo's invariants: quiet over a history in which all is well, and each red over the one in which it is broken."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from notifier.demo.check import check
from notifier.demo.history import Entry, History, Merchant, Message, Order, Post, Refund, TradeWord, Webhook
from notifier.record import Record, Stored

ORDER = Order("peak", "T1")
SHOP = Merchant("shop", frozenset(("peak",)), frozenset(("order.pending", "order.paid", "order.refunded")))
BOOKS = Merchant("books", frozenset(("peak", "ferry")), frozenset(("order.paid", "order.refunded")))


def post(
    name: str, status: TradeWord, amount: int = 100, *, order: Order = ORDER, refund: Refund | None = None
) -> Post:
    message = Message(order, "2026", name, status, amount, refund)
    return Post(message, order.channel, name.encode(), None, f"evidence of {name}", 200, is_success=True)


FORGED = replace(post("forged", "TRADE_FINISHED"), forgery="sign missing", evidence_id="", status=401, is_success=False)


def in_inbox(one: Post, offset: int) -> Entry:
    return Entry(0, Stored(Record(b"peak/T1", one.body, (("channel", one.channel.encode()),)), offset, 0))


def event(version: int, type_: str, status: str, amount: int, cause: str, **order: object) -> Entry:
    """An orders record, by the names of the contract."""
    state = {"channel": "peak", "order": "T1", "version": version, "status": status, "currency": "HKD"}
    state |= {"paid": amount, "refunded": 0} | order
    value = {
        "event": {
            "id": f"evt_{version}",
            "type": type_,
            "version": version,
            "flags_added": [],
            "evidence_id": f"evidence of {cause}",
        },
        "order": state,
    }
    headers = (("ce_source", b"/alipayhk/peak"), ("ce_subject", b"T1"), ("ce_time", b"2026-11-24T00:00:00Z"))
    return Entry(0, Stored(Record(b"peak/T1", msgspec.json.encode(value), headers), version - 1, 0))


def webhook(merchant: str, told: Entry, **more: object) -> Webhook:
    value = msgspec.json.decode(told.stored.record.value)
    said = {name: value["event"][name] for name in ("id", "type", "version", "flags_added")}
    body = msgspec.json.encode(said | {"timestamp": "2026-11-24T00:00:00Z", "data": value["order"]} | more)
    return Webhook(merchant, said["id"], body, None, is_accepted=True, arrived_at=0.0)


POSTS = (post("waiting", "WAIT_BUYER_PAY"), post("paid", "TRADE_SUCCESS"), FORGED)
PENDING = event(1, "order.pending", "pending", 0, "waiting")
PAID = event(2, "order.paid", "paid", 100, "paid")

WELL = History(
    posts=POSTS,
    inbox=(in_inbox(POSTS[0], 0), in_inbox(POSTS[1], 1)),
    orders=(PENDING, PAID),
    deliveries=(),
    quarantine=(),
    commands=(),
    merchants=(SHOP, BOOKS),
    webhooks=(webhook("shop", PENDING), webhook("shop", PAID), webhook("books", PAID)),
)


def broken_in(history: History) -> set[str]:
    return {verdict.name for verdict in check(history) if verdict.broken}


def test_nothing_is_broken_where_all_is_well() -> None:
    assert broken_in(WELL) == set()
    assert all(verdict.checked for verdict in check(WELL))


def test_a_second_record_of_the_same_bytes_breaks_nothing() -> None:
    """A late append, or healing (contract, section 6)."""
    assert broken_in(replace(WELL, orders=(PENDING, PAID, PENDING, PAID))) == set()


def test_a_delivery_that_was_tried_again_breaks_nothing() -> None:
    failed = replace(webhook("shop", PENDING), is_accepted=False)

    assert broken_in(replace(WELL, webhooks=(failed, *WELL.webhooks, webhook("shop", PENDING)))) == set()


def test_a_dead_letter_is_there_to_be_seen() -> None:
    value = msgspec.json.encode({"event_id": "evt_2", "endpoint": "books", "outcome": "dead"})
    dead = Entry(0, Stored(Record(b"books/peak/T1", value), 0, 0))

    assert "S7" in broken_in(replace(WELL, webhooks=WELL.webhooks[:2]))
    assert broken_in(replace(WELL, webhooks=WELL.webhooks[:2], deliveries=(dead,))) == set()


def but(**changes: Any) -> History:
    return replace(WELL, **changes)


def also(**additions: Any) -> History:
    """With one thing more at the end of a list."""
    return replace(WELL, **{name: (*getattr(WELL, name), one) for name, one in additions.items()})


def paid(**order: object) -> Entry:
    return event(2, "order.paid", "paid", 100, "paid", **order)


def third(type_: str, status: str, cause: str = "more") -> Entry:
    return event(3, type_, status, 100, cause)


def _other_bytes(entry: Entry) -> Entry:
    stored = entry.stored
    return entry._replace(stored=stored._replace(record=stored.record._replace(value=stored.record.value[:-1])))


def _moved(entry: Entry, channel: bytes) -> Entry:
    stored = entry.stored
    return entry._replace(stored=stored._replace(record=stored.record._replace(headers=(("channel", channel),))))


FERRYS = event(1, "order.paid", "paid", 1, "waiting", channel="ferry")
GHOSTS = event(2, "order.paid", "paid", 100, "a ghost")
STRANGERS = event(1, "order.pending", "pending", 0, "waiting", order="T9")
OTHER_ORDER = msgspec.json.decode(paid(paid=9).stored.record.value)["order"]
FIRST, SECOND, THIRD = WELL.webhooks

CASES = [
    ("S1", "a promised body is not in the inbox", but(inbox=WELL.inbox[:1])),
    ("S1", "one of two promises was kept", also(posts=POSTS[1])),
    ("S1", "the inbox holds other bytes", but(inbox=(_other_bytes(WELL.inbox[0]), WELL.inbox[1]))),
    ("S2", "a forgery is in the inbox", also(inbox=in_inbox(FORGED, 2))),
    ("S2", "a forgery is in quarantine", also(quarantine=in_inbox(FORGED, 0))),
    ("S2", "a forgery was answered success", but(posts=(*POSTS[:2], replace(FORGED, is_success=True)))),
    ("S2", "an event nobody told of", but(orders=(PENDING, GHOSTS))),
    ("S3", "a version is missing", but(orders=(PAID,))),
    ("S3", "a status that may not follow", also(orders=third("order.noted", "pending"))),
    ("S3", "paid twice", also(orders=third("order.paid", "paid"))),
    ("S3", "one evidence, two versions", also(orders=third("order.noted", "paid", "paid"))),
    ("S3", "a record that is no event", also(orders=_other_bytes(PAID))),
    ("S4", "another amount", but(orders=(PENDING, paid(paid=101)))),
    ("S4", "the money was not noticed", but(orders=(PENDING,))),
    ("S4", "another currency", but(orders=(PENDING, paid(currency="CNY")))),
    ("S4", "a refund that nobody made", but(orders=(PENDING, paid(refunded=1)))),
    ("S4", "an order without an event", also(posts=post("other", "TRADE_SUCCESS", order=Order("peak", "T2")))),
    ("S4", "an order that AlipayHK does not know", also(orders=STRANGERS)),
    ("S6", "another channel's order under our key", but(orders=(PENDING, paid(channel="ferry")))),
    ("S6", "filed under another channel", also(inbox=_moved(WELL.inbox[0], b"ferry"))),
    ("S6", "told to the wrong merchant", also(webhooks=webhook("shop", FERRYS))),
    ("S7", "a merchant was not told", but(webhooks=(FIRST, SECOND))),
    ("S7", "told and not accepted", but(webhooks=(FIRST, SECOND, replace(THIRD, is_accepted=False)))),
    ("S7", "two bodies under one id", also(webhooks=webhook("shop", PAID, more=1))),
    ("S7", "a body that is not the event", but(webhooks=(FIRST, SECOND, webhook("books", PAID, version=3)))),
    ("S7", "an order that is not the event's", but(webhooks=(FIRST, SECOND, webhook("books", PAID, data=OTHER_ORDER)))),
    ("S7", "a signature that is not good", but(webhooks=(FIRST, SECOND, replace(THIRD, fault="no signature")))),
    ("S7", "told what it did not ask for", also(webhooks=webhook("books", PENDING))),
    ("S8", "a version overtook another", but(webhooks=(SECOND, FIRST, THIRD))),
    ("S11", "two contents of one version", also(orders=paid(metadata={}))),
]


@pytest.mark.parametrize(
    ("name", "history"), [(name, broken) for name, _, broken in CASES], ids=[why for _, why, _ in CASES]
)
def test_each_invariant_is_red_where_it_is_broken(name: str, history: History) -> None:
    assert name in broken_in(history)
