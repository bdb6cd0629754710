"""
The golden files, as today's code would write them.

The tests compare; only a person who means to change what users' systems read runs `python -m tests.golden.make`, and then reads
the difference line by line.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from notifier import events, evidence, webhooks
from notifier.alipayhk import mapi
from notifier.alipayhk.keys import load_public_key
from notifier.channel import Channel, KeyInRing
from notifier.deliveries import command, delivery, endpoint_state, position
from notifier.deliveries.command import Command, Wanted
from notifier.deliveries.delivery import Again, DeliveryRecord, Lane, Outcome, Ref
from notifier.deliveries.endpoint_state import State, Why
from notifier.deliveries.position import Position
from notifier.errors import Reason
from notifier.evidence import Evidence, Kind, Policy
from notifier.order import Changed, Known, decide
from notifier.record import Record
from notifier.statement import RegistrationStatement
from notifier.topics import partition_of
from notifier.webhooks import Secret

FOLDER = Path(__file__).parent
RECEIVED_AT = datetime(2026, 11, 22, 9, 30, 7, 250_000, tzinfo=UTC)
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
FORM = "application/x-www-form-urlencoded; charset=UTF-8"
SECRETS = ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD")
SENT_AT = 1_795_339_807
"""When the webhook is sent, Unix seconds: the second in which the notification came."""

INBOX_OFFSET, PARTITIONS = 4711, 24


def inbox(form: str = "notification.form") -> Record:
    """What the door appends for a notification that AlipayHK signed."""
    key = load_public_key((FOLDER / "alipayhk.pem").read_bytes(), allow_legacy_key=False, sign_types=["RSA2"])
    channel = Channel(
        name="shop-hkd",
        token="golden-token-golden-token",
        protocol="mapi",
        policy=Policy(currency="HKD", seller_id=None, partner_id="2088000000000001", orders="registered"),
        sign_types=("RSA2",),
        ring=(KeyInRing(key),),
        verify_notify_id=False,
        gateway_url=None,
    )
    verified = channel.verify((FOLDER / form).read_bytes(), FORM, RECEIVED_AT, TRACEPARENT)
    return evidence.to_record(verified.evidence)


def orders() -> Record:
    """What the orders job appends: the second version of an order that the merchant had announced."""
    read = evidence.from_record(inbox())
    change = decide(_announced(read), mapi.statement_of(read), read)
    assert isinstance(change, Changed)
    return events.to_record(change, read, "T20260001", INBOX_OFFSET)


def _announced(read: Evidence) -> Known:
    at = RECEIVED_AT - timedelta(minutes=5)
    statement = RegistrationStatement(
        "T20260001", 12800, "HKD", at, wallet="ALIPAYHK", payment="app", metadata={"cart": "C-77", "餐": "茶"}
    )
    change = decide(
        None, statement, Evidence(Kind.REGISTRATION, "shop-hkd", "desk", at, "", "usable", read.policy, "", "", b"")
    )
    assert isinstance(change, Changed)
    return Known(change.version, change.facts, change.summary)


def quarantine() -> Record:
    """What the orders job sets aside: a genuine notification that names another payee."""
    record = inbox("notification_of_another_payee.form")
    return evidence.to_quarantine(record, Reason.PAYEE_MISMATCH, partition_of(record.key, PARTITIONS), INBOX_OFFSET + 1)


def deliveries() -> Record:
    """What fan-out appends after the second attempt at that event failed; an earlier version was given up, a later one waits."""
    due = RECEIVED_AT + timedelta(seconds=7, milliseconds=500)
    told = events.telling_of(orders())
    lane = Lane(
        settled=1,
        known=3,
        waiting=(Ref(2, 815, told.event_id), Ref(3, 816, "evt_00112233445566778899aabbccddeeff")),
        dead=(Ref(1, 800, "evt_ffeeddccbbaa99887766554433221100"),),
        since=RECEIVED_AT,
        attempt=2,
        next_attempt_at=due,
        again=(Again(1, 800, "evt_ffeeddccbbaa99887766554433221100", 12),),
    )
    return delivery.to_record(
        DeliveryRecord(
            event_id=told.event_id,
            endpoint="shop-oms",
            channel=told.channel,
            order=told.order,
            version=told.version,
            event_partition=partition_of(orders().key, PARTITIONS),
            event_offset=815,
            attempt=2,
            outcome=Outcome.FAILED,
            status_code=503,
            duration_ms=41.3,
            error=None,
            next_attempt_at=due,
            lane=lane,
        )
    )


def endpoint() -> Record:
    """What fan-out appends when an endpoint has failed for long that was left alone for a while before."""
    paused_at, resumed_at = RECEIVED_AT - timedelta(hours=3), RECEIVED_AT - timedelta(hours=1)
    state = endpoint_state.first_met("shop-oms", start=800, at=RECEIVED_AT - timedelta(days=1))
    state = endpoint_state.change(state, State.SUSPENDED, Why.OPERATOR, at=paused_at, command=11)
    state = endpoint_state.change(state, State.ACTIVE, Why.OPERATOR, at=resumed_at, command=12)
    return endpoint_state.to_record(endpoint_state.change(state, State.SUSPENDED, Why.FAILING, at=RECEIVED_AT))


def fanout_position() -> Record:
    """What fan-out appends every minute of progress."""
    return position.to_record(Position(orders=816, commands=13, at=RECEIVED_AT))


def redrive() -> Record:
    """An operator's word: the dead letter above, once more."""
    wanted = (Wanted("shop-hkd", "T20260001", 1, 800, "evt_ffeeddccbbaa99887766554433221100"),)
    return command.to_record(
        Command("redrive", "shop-oms", RECEIVED_AT, by="li", reason="their disk was full", deliveries=wanted)
    )


def webhook() -> tuple[dict[str, str], bytes]:
    """Headers and body of one attempt at telling that event, signed with two secrets."""
    told = events.telling_of(orders())
    headers = webhooks.headers([Secret.parse(text) for text in SECRETS], told.event_id, SENT_AT, told.body)
    return headers | {
        "user-agent": headers["user-agent"].replace(webhooks.USER_AGENT, "alipayhk-notifier/VERSION")
    }, told.body


def as_text(record: Record) -> bytes:
    """A record for reading: its key, its headers in their order, a blank line, and the value to the last byte."""
    headers = [b"%b: %b\n" % (name.encode(), value) for name, value in record.headers]
    return b"".join([b"record-key: %b\n" % record.key, *headers, b"\n", record.value])


def from_text(text: bytes) -> Record:
    """The record that `as_text` shows."""
    head, _, value = text.partition(b"\n\n")
    key, *headers = [line.partition(b": ") for line in head.split(b"\n")]
    return Record(key[2], value, tuple((name.decode(), content) for name, _, content in headers))


def request_as_text(headers: Mapping[str, str], body: bytes) -> bytes:
    """A webhook for reading: as on the wire, with plain line ends."""
    return "".join([f"{name}: {value}\n" for name, value in headers.items()]).encode() + b"\n" + body


def files() -> dict[str, bytes]:
    """Each golden file's name and content."""
    return {
        "inbox.record": as_text(inbox()),
        "orders.record": as_text(orders()),
        "deliveries.record": as_text(deliveries()),
        "deliveries_endpoint.record": as_text(endpoint()),
        "deliveries_position.record": as_text(fanout_position()),
        "commands.record": as_text(redrive()),
        "quarantine.record": as_text(quarantine()),
        "webhook.request": request_as_text(*webhook()),
    }


if __name__ == "__main__":
    for name, content in files().items():
        (FOLDER / name).write_bytes(content)
