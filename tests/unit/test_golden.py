"""The formats, byte for byte: what is written today is what users' systems already read."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime
from urllib.parse import parse_qsl

import pytest

from notifier import events, evidence, webhooks
from notifier.alipayhk import mapi
from notifier.deliveries import command, delivery, endpoint_state, position
from notifier.evidence import Evidence
from notifier.record import Record
from tests.golden import make

FILES = sorted(make.files())


def _record(name: str) -> Record:
    return make.from_text((make.FOLDER / f"{name}.record").read_bytes())


@pytest.mark.parametrize("name", FILES)
def test_the_code_writes_the_golden_file(name: str) -> None:
    assert make.files()[name] == (make.FOLDER / name).read_bytes()


@pytest.mark.parametrize("name", ["inbox", "orders", "deliveries", "quarantine"])
def test_a_golden_record_is_shown_to_the_last_byte(name: str) -> None:
    shown = (make.FOLDER / f"{name}.record").read_bytes()

    assert make.as_text(make.from_text(shown)) == shown


def test_the_inbox_record_holds_the_body_as_it_was_received_and_is_read_back() -> None:
    record = _record("inbox")

    read = evidence.from_record(record)

    assert record.value == (make.FOLDER / "notification.form").read_bytes() == read.body
    assert (read.order, read.channel, read.received_at) == ("T20260001", "shop-hkd", make.RECEIVED_AT)
    assert evidence.to_record(read) == record


def test_the_evidence_id_names_the_bytes_that_were_signed() -> None:
    """Worked out here from the contract's words; the standard library reads this form as AlipayHK does."""
    body = _record("inbox").value.decode()
    signed = "&".join(f"{name}={value}" for name, value in sorted(parse_qsl(body)) if name not in ("sign", "sign_type"))

    named = hashlib.sha256(b"shop-hkd\0mapi\0" + signed.encode()).hexdigest()

    assert _record("inbox").header("evidence_id") == named.encode()


def test_the_orders_record_is_read_back_and_follows_from_the_inbox_record() -> None:
    record = _record("orders")

    read = events.from_record(record)

    assert read.order.paid_at == datetime(2026, 11, 22, 9, 30, 5, tzinfo=UTC)
    assert read.event.evidence_id.encode() == _record("inbox").header("evidence_id")
    assert record.header("traceparent") == _record("inbox").header("traceparent")
    assert events.known_from(record) == (read.order.version, read.facts, events.known_from(record).summary)
    assert events.version_of(record) == read.order.version == 2


def test_the_orders_record_says_in_its_headers_what_it_says_in_its_value() -> None:
    record = _record("orders")
    told = json.loads(record.value)
    event, order = told["event"], told["order"]

    assert record.key.decode() == f"{order['channel']}/{order['order']}"
    assert record.headers[:9] == (
        ("ce_specversion", b"1.0"),
        ("ce_id", event["id"].encode()),
        ("ce_type", event["type"].encode()),
        ("ce_source", f"/alipayhk/{order['channel']}".encode()),
        ("ce_subject", order["order"].encode()),
        ("ce_time", _record("inbox").header("received_at")),
        ("ce_dataschema", events.DATA_SCHEMA.encode()),
        ("content-type", b"application/json"),
        ("ce_orderversion", str(event["version"]).encode()),
    )


def test_the_quarantine_record_is_the_inbox_record_with_three_more_headers() -> None:
    record = _record("quarantine")

    inbox = make.inbox("notification_of_another_payee.form")

    assert (record.key, record.value) == (inbox.key, inbox.value)
    assert record.headers[: len(inbox.headers)] == inbox.headers
    assert dict(record.headers[len(inbox.headers) :]) == {
        "reason": b"payee_mismatch",
        "inbox_partition": b"16",
        "inbox_offset": b"4712",
    }
    read: Evidence = evidence.from_record(record)
    assert mapi.statement_of(read).order == "T20260002"


def test_the_deliveries_record_is_read_back() -> None:
    record = _record("deliveries")

    read = delivery.from_record(record)

    assert delivery.to_record(read) == record
    assert record.key == b"shop-oms/shop-hkd/T20260001"
    assert read.event_id.encode() == _record("orders").header("ce_id")


def test_what_lies_beside_the_lanes_is_read_back() -> None:
    endpoint, at, said = _record("deliveries_endpoint"), _record("deliveries_position"), _record("commands")

    assert endpoint_state.to_record(endpoint_state.from_record(endpoint)) == endpoint
    assert position.to_record(position.from_record(at)) == at
    assert command.to_record(command.from_record(said)) == said
    assert (endpoint.key, at.key, said.key) == (b"shop-oms", b"~position", b"shop-oms")


def test_the_webhook_is_the_event_as_a_receiver_verifies_it() -> None:
    head, _, body = (make.FOLDER / "webhook.request").read_bytes().partition(b"\n\n")
    headers = dict(line.split(": ", 1) for line in head.decode().split("\n"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body

    for secret, signature in zip(make.SECRETS, headers["webhook-signature"].split(" "), strict=True):
        key = base64.b64decode(secret.removeprefix("whsec_"))
        assert signature == "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
        webhooks.verify([webhooks.Secret.parse(secret)], headers, body, make.SENT_AT)
    told = json.loads(body)
    record = json.loads(_record("orders").value)
    assert told["data"] == record["order"]
    assert list(told) == ["type", "timestamp", "data", "id", "version", "flags_added"]
    assert (told["id"], told["version"]) == (headers["webhook-id"], record["event"]["version"])
    assert told["timestamp"].encode() == _record("orders").header("ce_time")


def test_the_body_carries_the_order_in_the_very_bytes_of_the_record() -> None:
    """Whoever compares a webhook with the topic compares bytes."""
    _, _, body = (make.FOLDER / "webhook.request").read_bytes().partition(b'"data":')
    order, _, _ = body.partition(b',"id":')

    assert b'"order":' + order in _record("orders").value
