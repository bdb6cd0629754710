"""The door: what is promised, what is refused, and what is told of either."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from notifier import channel as channel_module
from notifier import logs, metrics
from notifier.alipayhk.compose import compose
from notifier.alipayhk.keys import RsaKey
from notifier.channel import Channel, Channels, KeyInRing
from notifier.door.http import Answer, Request
from notifier.door.ingress import FAILING_AFTER, Door
from notifier.errors import Rejected, Unavailable
from notifier.evidence import Policy, from_record
from notifier.record import Record

NOW = datetime(2026, 11, 22, 9, 30, 5, tzinfo=UTC)
TOKEN = "token-of-the-shop-1234567"
ASKING_TOKEN = "token-of-the-one-that-asks"
CANARY = "canary-buyer@example.com"
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
FORM = "application/x-www-form-urlencoded; charset=UTF-8"
KEY = rsa.generate_private_key(65537, 2048)
OTHER_KEY = rsa.generate_private_key(65537, 2048)

GENUINE = {
    "notify_type": "trade_status_sync",
    "notify_id": "0123456789abcdef",
    "notify_time": "2026-11-22 17:30:05",
    "out_trade_no": "T20260001",
    "trade_no": "2026112222001400000000000001",
    "trade_status": "TRADE_SUCCESS",
    "total_fee": "128.00",
    "currency": "HKD",
    "gmt_payment": "2026-11-22 17:30:04",
    "buyer_email": CANARY,
    "subject": "a\r\nERROR paid",
}


class StoppedClock:
    """A moment."""

    def now(self) -> datetime:
        """The moment."""
        return NOW

    def now_ms(self) -> int:
        """The moment."""
        return int(NOW.timestamp() * 1000)


@dataclass
class Inbox:
    """An inbox that keeps what it gets; it is durable when `durable` is set, or fails."""

    records: list[Record] = field(default_factory=list)
    failure: Exception | None = None
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    durable: asyncio.Event = field(default_factory=asyncio.Event)
    is_ready: bool = True

    async def append(self, record: Record) -> None:
        """As `InboxAppender`."""
        self.asked.set()
        await self.durable.wait()
        if self.failure is not None:
            raise self.failure
        self.records.append(record)


@dataclass
class Gateway:
    """AlipayHK's word on each notify_id; it also remembers what was appended before it was asked."""

    inbox: Inbox
    failure: Exception | None = None
    asked: list[tuple[str, str, str | None, bool]] = field(default_factory=list)
    was_asked: asyncio.Event = field(default_factory=asyncio.Event)
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)

    async def confirm(self, gateway_url: str, partner_id: str, notify_id: str | None) -> None:
        """As `NotifyVerifier`."""
        self.asked.append((gateway_url, partner_id, notify_id, self.inbox.asked.is_set()))
        self.was_asked.set()
        await self.may_answer.wait()
        if self.failure is not None:
            raise self.failure


@dataclass
class Scene:
    """A door with what is behind it."""

    inbox: Inbox
    gateway: Gateway
    door: Door

    async def post(
        self, body: bytes, *, token: str = TOKEN, query: str = "", traceparent: str | None = TRACEPARENT
    ) -> Answer:
        """What is answered."""
        receive = self.door.at(f"/n/{token}")
        assert receive is not None, "a channel has this token"
        return await receive(Request(f"/n/{token}", query, FORM, traceparent, body))


def channel(name: str, token: str, *, asks: bool = False, not_after: datetime | None = None) -> Channel:
    """A channel of the tests."""
    return Channel(
        name=name,
        token=token,
        protocol="mapi",
        policy=Policy(currency="HKD", seller_id=None, partner_id="2088000000000001", orders="open"),
        sign_types=("RSA2",),
        ring=(KeyInRing(RsaKey.of(KEY.public_key()), None, not_after),),
        verify_notify_id=asks,
        gateway_url="https://gateway.example/gateway.do" if asks else None,
    )


@pytest.fixture
async def scene() -> Scene:
    """Two channels, one of which asks AlipayHK; the inbox is durable at once."""
    channels = Channels([channel("shop-hkd", TOKEN), channel("asking", ASKING_TOKEN, asks=True)])
    return made(channels)


def made(channels: Channels) -> Scene:
    """A scene with these channels."""
    inbox = Inbox()
    inbox.durable.set()
    gateway = Gateway(inbox)
    gateway.may_answer.set()
    door = Door(
        channels, inbox, gateway, StoppedClock(), new_traceparent=lambda: "00-" + "1" * 32 + "-" + "2" * 16 + "-01"
    )
    return Scene(inbox, gateway, door)


def genuine(**changed: str) -> bytes:
    """AlipayHK's message, with some fields changed before it signs."""
    return compose(GENUINE | changed, "RSA2", KEY)


Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines() -> Iterator[Lines]:
    """The log lines since the test began."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    before = (logs._current.render, logs._current.write, logs._current.rank)
    out = io.BytesIO()
    logs.configure(service="ingress", instance="w1", out=out)
    yield lambda: [json.loads(line) for line in out.getvalue().splitlines()]
    logs._current.render, logs._current.write, logs._current.rank = before
    root.handlers, root.level = handlers, level


async def test_success_is_never_said_before_the_record_is_durable(scene: Scene) -> None:
    """It is a promise; until the append has returned there is none."""
    scene.inbox.durable.clear()
    async with asyncio.TaskGroup() as tasks:
        answering = tasks.create_task(scene.post(genuine()))
        await scene.inbox.asked.wait()
        assert not answering.done()
        scene.inbox.durable.set()

    answer = answering.result()
    assert (answer.status, answer.body, answer.headers) == (
        200,
        b"success",
        b"Content-Type: text/plain; charset=utf-8\r\n",
    )
    assert [record.value for record in scene.inbox.records] == [genuine()]


async def test_the_record_is_what_arrived_byte_for_byte(scene: Scene) -> None:
    """It has to be verified and folded again from the log alone."""
    await scene.post(genuine())

    evidence = from_record(scene.inbox.records[0])
    assert evidence.body == genuine()
    assert evidence.received_at == NOW
    assert evidence.traceparent == TRACEPARENT
    assert (evidence.channel, evidence.order, evidence.verdict) == ("shop-hkd", "T20260001", "usable")
    assert evidence.key == RsaKey.of(KEY.public_key()).fingerprint


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(None, id="none"),
        pytest.param("", id="empty"),
        pytest.param("00-" + "0" * 32 + "-00f067aa0ba902b7-01", id="zero"),
        pytest.param(TRACEPARENT + "\n", id="more"),
        pytest.param("x" * 5000, id="long"),
    ],
)
async def test_a_trace_that_is_none_is_not_carried_on(scene: Scene, given: str | None) -> None:
    """A header of a stranger gets into the log only in its one valid shape."""
    await scene.post(genuine(), traceparent=given)

    assert from_record(scene.inbox.records[0]).traceparent == "00-" + "1" * 32 + "-" + "2" * 16 + "-01"


@pytest.mark.parametrize(
    ("body", "verdict"),
    [
        pytest.param(genuine(trade_status="PAID"), "unknown_status", id="C18 a status nobody knows"),
        pytest.param(genuine(body="a&total_fee=9999.00"), "ambiguous", id="C07 a value that could be split again"),
        pytest.param(genuine(notify_type=""), "unknown_type", id="C26 no notify_type"),
    ],
)
async def test_what_is_genuine_but_unusable_is_stored_and_acknowledged(scene: Scene, body: bytes, verdict: str) -> None:
    """A resend would carry the same bytes; the quarantine is downstream."""
    answer = await scene.post(body)

    assert answer.body == b"success"
    assert [from_record(record).verdict for record in scene.inbox.records] == [verdict]


FORGED = compose(GENUINE, "RSA2", OTHER_KEY)


@pytest.mark.parametrize(
    ("body", "query", "refusal"),
    [
        pytest.param(FORGED, "", "401 signature", id="HTTP-06 another key"),
        pytest.param(genuine().replace(b"sign=", b"sign=AAAA"), "", "401 signature", id="SIGN-04 longer signature"),
        pytest.param(genuine() + b"&extra=1", "", "401 signature", id="FORM-37 a field that was not signed"),
        pytest.param(
            genuine().replace(b"total_fee=128.00", b"total_fee=1.00"), "", "401 signature", id="another amount"
        ),
        pytest.param(
            genuine().replace(b"sign_type=RSA2", b"sign_type=MD5"), "", "401 sign_type", id="C03 another algorithm"
        ),
        pytest.param(
            b"&".join(p for p in genuine().split(b"&") if not p.startswith(b"sign=")),
            "",
            "401 sign_missing",
            id="SIGN-01",
        ),
        pytest.param(genuine() + b"&total_fee=9999.00", "", "400 malformed", id="C09 twice"),
        pytest.param(b"\xef\xbb\xbf" + genuine(), "", "400 malformed", id="HTTP-44 a byte order mark"),
        pytest.param(b"", "", "400 malformed", id="nothing"),
        pytest.param(genuine(), "total_fee=9999.00", "400 query", id="C10 an amount in the query"),
        pytest.param(genuine(), "utm=1&%53ign=x", "400 query", id="C10 escaped, another case"),
    ],
)
async def test_what_is_not_alipayhks_is_refused_and_nothing_is_done_for_it(
    scene: Scene, lines: Lines, body: bytes, query: str, refusal: str
) -> None:
    """No record, no call (C41), one line with the reason, and an answer that tells a forger nothing."""
    answer = await scene.post(body, query=query)

    (line,) = lines()
    assert (line["event"], line["channel"]) == ("notification.rejected", "shop-hkd")
    assert f"{line['status']} {line['reason']}" == refusal
    assert (answer.status, answer.body) == (line["status"], b"fail")
    assert (scene.inbox.records, scene.gateway.asked) == ([], [])


async def test_a_merchants_own_parameter_in_the_address_is_no_reason_to_refuse(scene: Scene) -> None:
    """C10: the query is ignored, unless it speaks AlipayHK's words."""
    assert (await scene.post(genuine(), query="shop=7")).body == b"success"


async def test_a_forger_cannot_tell_why(scene: Scene) -> None:
    """C40: bad signature, bad base64, an order that is unknown: one and the same answer."""
    bad_base64 = genuine().replace(b"sign=", b"sign=%21")
    other_order = compose(GENUINE | {"out_trade_no": "nobody-knows"}, "RSA2", OTHER_KEY)

    assert len({await scene.post(body) for body in (FORGED, bad_base64, other_order)}) == 1


@pytest.mark.parametrize("why", ["kafka_timeout", "kafka_full", "stopping"])
async def test_what_is_not_durable_in_time_is_sent_again(scene: Scene, lines: Lines, why: str) -> None:
    """C35: 503 with Retry-After, and an error line that names order and evidence."""
    scene.inbox.failure = Unavailable("kafka", why)

    answer = await scene.post(genuine())

    assert (answer.status, answer.body) == (503, b"fail")
    assert b"Retry-After: 1\r\n" in answer.headers
    (line,) = lines()
    assert (line["event"], line["level"], line["reason"], line["order"]) == (
        "notification.not_stored",
        "error",
        why,
        "T20260001",
    )


async def test_a_channel_without_a_key_says_try_again(lines: Lines) -> None:
    """Our own settings may be the cause: AlipayHK's resends leave a day to mend them."""
    scene = made(Channels([channel("shop-hkd", TOKEN, not_after=NOW - timedelta(days=1))]))

    answers = [await scene.post(genuine()) for _ in range(50)]

    assert {(answer.status, answer.body) for answer in answers} == {(503, b"fail")}
    assert [line["reason"] for line in lines()] == ["no_key"], "anyone can send these: one line, then one now and then"


@pytest.mark.parametrize("at", ["verify", "append"])
async def test_a_bug_never_says_success(scene: Scene, lines: Lines, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    """SIGN-34: whatever happens, AlipayHK sends again; the line has the type and the place, not the message."""

    def broken(*_: object) -> str:
        raise RuntimeError(CANARY)

    if at == "verify":
        monkeypatch.setattr(channel_module, "verify", broken)
    else:
        scene.inbox.failure = RuntimeError(CANARY)

    answer = await scene.post(genuine())

    assert (answer.status, answer.body) == (503, b"fail")
    (line,) = lines()
    assert (line["event"], line["reason"], line["error"]) == (
        "notification.not_stored",
        "internal_error",
        "RuntimeError",
    )
    assert CANARY not in json.dumps(line)


async def test_alipayhk_is_asked_after_the_signature_and_before_the_append(scene: Scene) -> None:
    """C41: a stranger makes us call nobody; a genuine message is stored only once AlipayHK says that it is ours."""
    await scene.post(FORGED, token=ASKING_TOKEN)
    assert scene.gateway.asked == []

    answer = await scene.post(genuine(), token=ASKING_TOKEN)

    assert answer.body == b"success"
    assert scene.gateway.asked == [
        ("https://gateway.example/gateway.do", "2088000000000001", "0123456789abcdef", False)
    ]


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        pytest.param(Rejected(401, "notify_id"), 401, id="C12 AlipayHK says no"),
        pytest.param(Unavailable("alipayhk", "notify_verify"), 503, id="C27 AlipayHK says nothing"),
    ],
)
async def test_without_alipayhks_yes_nothing_is_stored(
    scene: Scene, lines: Lines, failure: Exception, status: int
) -> None:
    """The shared key signs for every merchant; only the answer binds a message to us."""
    scene.gateway.failure = failure

    answer = await scene.post(genuine(), token=ASKING_TOKEN)

    assert (answer.status, answer.body) == (status, b"fail")
    assert scene.inbox.records == []
    assert [line["reason"] for line in lines()] == ["notify_id" if status == 401 else "notify_verify"]


async def test_no_line_tells_who_paid_or_how_it_was_signed(scene: Scene, lines: Lines) -> None:
    """C38, C39: no buyer, body, signature or token, and no line that a message wrote for us."""
    await scene.post(genuine())
    await scene.post(FORGED)
    scene.inbox.failure = Unavailable("kafka", "kafka_timeout")
    await scene.post(genuine())

    told = lines()
    assert [line["event"] for line in told] == [
        "notification.accepted",
        "notification.rejected",
        "notification.not_stored",
    ]
    assert told[0].keys() >= {"channel", "order", "evidence_id", "verdict", "body_bytes", "duration_ms"}
    assert told[0]["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    text = json.dumps(told)
    sign = genuine().split(b"sign=")[1].decode()
    assert not [
        secret for secret in (CANARY, "canary", TOKEN, sign, sign[:40], "ERROR paid", "128.00") if secret in text
    ]


async def test_a_flood_of_forgeries_is_a_few_lines_and_a_count(scene: Scene, lines: Lines) -> None:
    """Anyone who knows the token can make them; the end of a flood is told too."""
    for _ in range(FAILING_AFTER - 1):
        await scene.post(FORGED)
    scene.door.tell_overdue()
    assert [line["count"] for line in lines()] == [1]

    scene.door.tell_overdue(at_the_end=True)

    assert [(line["reason"], line["status"], line["count"]) for line in lines()] == [
        ("signature", 401, 1),
        ("signature", 401, FAILING_AFTER - 2),
    ]


async def test_a_channel_whose_every_signature_fails_is_an_alarm(scene: Scene, lines: Lines) -> None:
    """R12: the wrong key was pasted. One good signature ends the suspicion."""
    for _ in range(FAILING_AFTER - 1):
        await scene.post(FORGED)
    await scene.post(genuine())
    for _ in range(FAILING_AFTER - 1):
        await scene.post(FORGED)
    assert "channel.failing" not in [line["event"] for line in lines()]

    for _ in range(10):
        await scene.post(FORGED)

    assert [
        (line["channel"], line["level"], line["count"]) for line in lines() if line["event"] == "channel.failing"
    ] == [("shop-hkd", "error", FAILING_AFTER)], "once, not ten times"


async def test_the_path_of_a_channel_is_known_byte_for_byte(scene: Scene) -> None:
    """HTTP-07: nothing is decoded, joined or completed."""
    known = [
        path
        for path in (f"/n/{TOKEN}", f"/n/{TOKEN}/", f"//n/{TOKEN}", f"/N/{TOKEN}", "/n/", "/", TOKEN)
        if scene.door.at(path) is not None
    ]

    assert known == [f"/n/{TOKEN}"]


async def test_a_notification_ends_with_the_channel_that_it_began_with(scene: Scene) -> None:
    """Its body was still on the way when the channel left the settings; the next one finds it gone."""
    path = f"/n/{TOKEN}"
    receive = scene.door.at(path)
    assert receive is not None

    scene.door.use(Channels([channel("asking", ASKING_TOKEN, asks=True)]))

    assert (await receive(Request(path, "", FORM, TRACEPARENT, genuine()))).status == 200
    assert scene.door.at(path) is None
    assert len(scene.inbox.records) == 1


async def test_a_door_that_is_torn_down_says_nothing(scene: Scene, lines: Lines) -> None:
    """Cancellation passes through: it is neither a success nor a fault."""
    scene.inbox.durable.clear()
    async with asyncio.TaskGroup() as tasks:
        answering = tasks.create_task(scene.post(genuine()))
        await scene.inbox.asked.wait()
        answering.cancel()

    assert answering.cancelled()
    assert lines() == []


@pytest.mark.parametrize(
    "hangs",
    [
        pytest.param("append", id="Kafka does not acknowledge"),
        pytest.param("confirm", id="AlipayHK's gateway does not answer"),
    ],
)
async def test_what_is_under_way_at_the_end_is_told_to_come_again(scene: Scene, lines: Lines, hangs: str) -> None:
    """Contract, section 4: shutting down with work left is 503. Its connection was once cut without a word."""
    scene.inbox.durable.clear()
    scene.gateway.may_answer.clear()
    token, begun = (TOKEN, scene.inbox.asked) if hangs == "append" else (ASKING_TOKEN, scene.gateway.was_asked)
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        answering = tasks.create_task(scene.post(genuine(), token=token))
        await begun.wait()
        scene.door.stop()

    answer = answering.result()
    assert (answer.status, answer.body) == (503, b"fail")
    assert b"Retry-After: 1\r\n" in answer.headers
    assert [(line["event"], line["reason"], line["order"]) for line in lines()] == [
        ("notification.not_stored", "stopping", "T20260001")
    ]


async def test_nothing_is_begun_after_the_end(scene: Scene, lines: Lines) -> None:
    """A genuine one that comes too late is sent again; a forged one is still told what it is."""
    scene.door.stop()

    answers = [await scene.post(body) for body in (genuine(), FORGED)]

    assert [answer.status for answer in answers] == [503, 401]
    assert [line["reason"] for line in lines()] == ["stopping", "signature"]
    assert not scene.inbox.asked.is_set()


async def test_a_channel_that_fell_silent_is_told(lines: Lines) -> None:
    """Learned from what was genuine; forgeries are no sign of life."""
    clock = MovedClock()
    door = Door(Channels([channel("shop-hkd", TOKEN)]), Inbox(durable=_set()), Gateway(Inbox()), clock)
    body, forged = genuine(), compose(GENUINE, "RSA2", OTHER_KEY)
    receive = door.at(f"/n/{TOKEN}")
    assert receive is not None
    for _ in range(2 * 24):
        clock.at += timedelta(hours=1)
        for _ in range(25):
            await receive(Request(f"/n/{TOKEN}", "", FORM, None, body))
        door.tell_silent()

    for _ in range(60):
        clock.at += timedelta(minutes=1)
        await receive(Request(f"/n/{TOKEN}", "", FORM, None, forged))
        door.tell_silent()

    silent = [line for line in lines() if line["event"] == "channel.silent"]
    assert [(line["level"], line["channel"]) for line in silent] == [("warning", "shop-hkd")]
    assert 45 * 60 <= silent[0]["silent_s"] <= 60 * 60
    assert silent[0]["missed"] >= 20


async def test_a_channel_that_left_the_settings_is_not_missed(lines: Lines) -> None:
    clock = MovedClock()
    door = Door(Channels([channel("shop-hkd", TOKEN)]), Inbox(durable=_set()), Gateway(Inbox()), clock)
    receive = door.at(f"/n/{TOKEN}")
    assert receive is not None
    for _ in range(2 * 24):
        clock.at += timedelta(hours=1)
        for _ in range(25):
            await receive(Request(f"/n/{TOKEN}", "", FORM, None, genuine()))
        door.tell_silent()

    door.use(Channels([]))
    for _ in range(60):
        clock.at += timedelta(minutes=1)
        door.tell_silent()

    assert [line for line in lines() if line["event"] == "channel.silent"] == []


class MovedClock:
    """A time that is moved by hand."""

    at = NOW

    def now(self) -> datetime:
        """The time it was moved to."""
        return self.at

    def now_ms(self) -> int:
        """The same, in Unix milliseconds."""
        return round(self.at.timestamp() * 1000)


def _set() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


async def test_what_alarms_count_is_there_before_the_first_of_it() -> None:
    """Thirty bad signatures between two scrapes were a new series at thirty, which for Prometheus has not risen."""
    inbox = Inbox()
    door = Door(Channels([channel("from-start", TOKEN)]), inbox, Gateway(inbox), StoppedClock())
    door.use(Channels([channel("from-reload", TOKEN)]))

    said = metrics.text()
    for name in ("from-start", "from-reload"):
        for outcome, reason in (("accepted", ""), ("rejected", "signature")):
            counted = f'notifier_notifications_total{{channel="{name}",outcome="{outcome}",reason="{reason}"}} 0.0'
            assert counted in said
