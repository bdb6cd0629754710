"""One notification is one trace, from the POST to the webhook; and nothing in it that is nobody's business."""

from __future__ import annotations

import re

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from notifier.alipayhk.compose import compose
from notifier.alipayhk.keys import RsaKey
from notifier.channel import Channel, Channels, KeyInRing
from notifier.door.http import Answer, Request
from notifier.door.ingress import Door
from notifier.errors import Unavailable
from notifier.evidence import Policy
from notifier.record import Record
from notifier.watching import tracing
from notifier.watching.tracing import Span
from tests.merchants import FAILED, Merchants, fanout_job, meet
from tests.owners import TOPICS, FakeClock, Owner, P, World, notification, orders_owner, spin

TOKEN = "token-of-the-shop-1234567"
FORM = "application/x-www-form-urlencoded"
KEY = rsa.generate_private_key(65537, 2048)
GIVEN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
CANARY = "canary-buyer@example.com"
GENUINE = {
    "notify_type": "trade_status_sync",
    "notify_id": "0123456789abcdef",
    "notify_time": "2026-11-22 20:00:00",
    "out_trade_no": "T1",
    "trade_no": "20261122220011",
    "trade_status": "TRADE_SUCCESS",
    "total_fee": "128.00",
    "buyer_email": CANARY,
}
ATTRIBUTES = set(
    "channel order evidence_id event_id event_type status version verdict body_bytes endpoint attempt outcome"
    " status_code".split()
)


class Collected:
    """Spans, kept."""

    def __init__(self) -> None:
        self.spans: list[Span] = []

    def tell(self, span: Span) -> None:
        """Keep it."""
        self.spans.append(span)

    def end(self) -> None:
        """They stay."""

    def one(self, name: str) -> Span:
        """The only one of this name."""
        (span,) = [span for span in self.spans if span.name == name]
        return span


class Inbox:
    """An inbox that keeps what it gets, or fails."""

    is_ready = True

    def __init__(self, failure: Exception | None = None) -> None:
        self.records: list[Record] = []
        self.failure = failure

    async def append(self, record: Record) -> None:
        """As `InboxAppender`."""
        if self.failure is not None:
            raise self.failure
        self.records.append(record)


class Verifier:
    """Never asked."""

    async def confirm(self, gateway_url: str, partner_id: str, notify_id: str | None) -> None:
        """As `NotifyVerifier`."""


@pytest.fixture
def collected(monkeypatch: pytest.MonkeyPatch) -> Collected:
    """Spans are told, to the test."""
    sink = Collected()
    monkeypatch.setattr(tracing._Current, "sink", sink)
    return sink


def door(inbox: Inbox) -> Door:
    """A door for one channel."""
    policy = Policy("HKD", None, "2088000000000001", "open")
    ring = (KeyInRing(RsaKey.of(KEY.public_key())),)
    return Door(
        Channels([Channel("shop-hkd", TOKEN, "mapi", policy, ("RSA2",), ring, False, None)]),
        inbox,
        Verifier(),
        FakeClock(),
    )


def request(body: bytes, traceparent: str | None = GIVEN) -> Request:
    """AlipayHK's POST, by way of a proxy of ours."""
    return Request(f"/n/{TOKEN}", "", FORM, traceparent, body)


async def received(at: Door, one: Request) -> Answer:
    """What the door answers."""
    receive = at.at(one.path)
    assert receive is not None, "a channel has this token"
    return await receive(one)


async def travelled(inbox: Inbox, merchants: Merchants, *, told: int) -> None:
    """Fold what the inbox has, and tell the merchants."""
    world = World()
    meet(world, "oms")
    orders = await orders_owner(world)
    fanout = await Owner(world, fanout_job(world, merchants, clock=world.clock).work(P), TOPICS.orders).start()
    try:
        await world.receive(*inbox.records)
        await orders.work_off()
        await fanout.work_off()
        await merchants.until(lambda: len(merchants.told) >= told)
        await spin()
    finally:
        await fanout.crash()
        await orders.crash()


async def test_from_the_post_to_the_webhook_it_is_one_trace(collected: Collected) -> None:
    """Each step is a part of the one before it, in the trace that the proxy began."""
    inbox, merchants = Inbox(), Merchants()

    await received(door(inbox), request(compose(GENUINE, "RSA2", KEY)))
    await travelled(inbox, merchants, told=1)

    receive, fold, deliver = collected.one("receive"), collected.one("fold"), collected.one("deliver")
    assert {span.traceparent[3:35] for span in collected.spans} == {GIVEN[3:35]}
    assert receive.parent_id == tracing.span_id(GIVEN) != tracing.span_id(receive.traceparent)
    assert inbox.records[0].header("traceparent") == receive.traceparent.encode()
    own = tracing.span_id(receive.traceparent)
    assert {collected.one(name).parent_id for name in ("verify", "append", "fold")} == {own}
    assert deliver.parent_id == tracing.span_id(fold.traceparent)
    assert merchants.told[0].traceparent == deliver.traceparent
    assert len({tracing.span_id(span.traceparent) for span in collected.spans}) == 5
    assert all(span.began <= span.ended for span in collected.spans)


async def test_without_a_collector_the_trace_goes_through_as_it_came() -> None:
    """Merchants and logs have it anyway."""
    inbox, merchants = Inbox(), Merchants()

    await received(door(inbox), request(compose(GENUINE, "RSA2", KEY)))
    await travelled(inbox, merchants, told=1)

    assert inbox.records[0].header("traceparent") == GIVEN.encode()
    assert merchants.told[0].traceparent == GIVEN


async def test_each_attempt_is_a_span_of_its_own(collected: Collected) -> None:
    """One that failed says so, and not where it went."""
    inbox, merchants = Inbox(), Merchants()
    merchants.answers["oms"] += [FAILED]

    await received(door(inbox), request(compose(GENUINE, "RSA2", KEY), None))
    await travelled(inbox, merchants, told=1)

    deliver = collected.one("deliver")
    assert (deliver.error, deliver.attributes["outcome"], deliver.attributes["attempt"]) == ("status 500", "failed", 1)


async def test_what_was_not_stored_says_why(collected: Collected) -> None:
    """And that it was the append that it failed by."""
    await received(door(Inbox(Unavailable("kafka", "kafka_timeout"))), request(compose(GENUINE, "RSA2", KEY)))

    assert {span.name: span.error for span in collected.spans} == {
        "receive": "kafka_timeout",
        "append": "kafka_timeout",
        "verify": None,
    }


@pytest.mark.parametrize(
    "body", [b"a=1", compose(GENUINE, "RSA2", rsa.generate_private_key(65537, 2048))], ids=["no form", "forged"]
)
async def test_strangers_make_no_spans(collected: Collected, body: bytes) -> None:
    """Whoever floods the door floods no collector."""
    await received(door(Inbox()), request(body))

    assert collected.spans == []


async def test_a_span_tells_nothing_that_is_nobodys_business(collected: Collected) -> None:
    """S12: ids, counts and outcomes; no URL, no token, no signature, nothing about who paid."""
    inbox, merchants = Inbox(), Merchants()

    await received(door(inbox), request(compose(GENUINE, "RSA2", KEY)))
    await travelled(inbox, merchants, told=1)

    assert {name for span in collected.spans for name in span.attributes} <= ATTRIBUTES
    told = repr(collected.spans)
    assert not re.search(rf"{CANARY}|{TOKEN}|https?:|sign", told)


@pytest.mark.parametrize("traceparent", ["", "00-0-0-0", "ff" * 40], ids=["empty", "short", "long"])
async def test_a_trace_that_is_none_stops_nothing(collected: Collected, traceparent: str) -> None:
    """A record of an inbox that somebody else writes to, too."""
    record = notification("T1")
    inbox, merchants = Inbox(), Merchants()
    inbox.records.append(Record(record.key, record.value, (*record.headers, ("traceparent", traceparent.encode()))))

    await travelled(inbox, merchants, told=1)

    assert collected.spans == []
    assert merchants.told[0].traceparent is None


async def test_a_repeated_fold_makes_the_same_span() -> None:
    """It makes the same event, byte for byte, whoever repeats it."""
    assert tracing.fold_of(GIVEN, "evt_" + "ab" * 16) == f"{GIVEN[:36]}{'ab' * 8}-01"
