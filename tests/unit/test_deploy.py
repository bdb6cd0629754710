"""What describes the topics is held to the code that makes their records, and to the contract's names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator
from referencing import Registry
from referencing.jsonschema import DRAFT7

from notifier import events, release, webhooks
from notifier.deliveries import command, delivery, endpoint_state, ping, position
from notifier.deliveries.command import Command, Wanted
from notifier.deliveries.delivery import Again, DeliveryRecord, Lane, Outcome, Ref
from notifier.deliveries.endpoint_state import EndpointState, Pause, Round, State, Why
from notifier.deliveries.position import Position
from notifier.errors import Reason
from notifier.evidence import USABLE, Kind, to_quarantine, to_record
from notifier.record import Record
from notifier.settings.tables import Ingress, Kafka, Orders
from notifier.topics import Topics, partition_of, plans
from tests.golden import make
from tests.histories import HISTORIES, POLICIES, evidence_of, fold, notification
from tests.oracle import Message, Policy

TOPICS = Path(__file__).parents[2] / "deploy" / "topics"
ASYNCAPI = json.loads((TOPICS / "asyncapi.json").read_text("utf-8"))
SCHEMAS = {path.name: json.loads(path.read_text("utf-8")) for path in (TOPICS / "schemas").glob("*.json")}
REGISTRY: Registry[Any] = Registry().with_resources(
    [(name, DRAFT7.create_resource(schema)) for name, schema in SCHEMAS.items()]
)
VALIDATORS = {name: Draft7Validator({"$ref": name}, registry=REGISTRY) for name in SCHEMAS}


def _judge(schema: str, told: object) -> None:
    """Valid, and nothing in it that the schema does not name."""
    VALIDATORS[f"{schema}.schema.json"].validate(told)
    assert not list(_undescribed(told, SCHEMAS[f"{schema}.schema.json"], f"{schema}.schema.json"))


def _undescribed(told: object, schema: dict[str, Any], file: str) -> Iterator[str]:
    """Schemas let members be added by a later release; what today's release writes has to be in them."""
    while "$ref" in schema:
        name, _, pointer = schema["$ref"].partition("#")
        file = name or file
        schema = SCHEMAS[file]
        for step in filter(None, pointer.split("/")):
            schema = schema[step]
    if isinstance(told, list) and "items" in schema:
        for entry in told:
            yield from _undescribed(entry, schema["items"], file)
    if not isinstance(told, dict) or "properties" not in schema:
        return
    known = dict(schema["properties"])
    for part in schema.get("allOf", []):
        known |= SCHEMAS[part["$ref"]]["properties"]
    for name, value in told.items():
        if name in known:
            yield from _undescribed(value, known[name], file)
        else:
            yield name


def _headers(record: Record) -> dict[str, str]:
    return {name: value.decode() for name, value in record.headers}


def test_each_schema_is_one() -> None:
    for schema in SCHEMAS.values():
        Draft7Validator.check_schema(schema)


def test_the_golden_files_are_described() -> None:
    read = {
        name: make.from_text((make.FOLDER / f"{name}.record").read_bytes())
        for name in ("inbox", "orders", "deliveries", "quarantine")
    }
    head, _, body = (make.FOLDER / "webhook.request").read_bytes().partition(b"\n\n")

    _judge("inbox-headers", _headers(read["inbox"]))
    _judge("order-event-headers", _headers(read["orders"]))
    _judge("order-event", json.loads(read["orders"].value))
    _judge("delivery", json.loads(read["deliveries"].value))
    _judge("quarantine-headers", _headers(read["quarantine"]))
    _judge("webhook-headers", dict(line.split(": ", 1) for line in head.decode().split("\n")))
    _judge("webhook", json.loads(body))


@given(HISTORIES, POLICIES)
def test_every_event_and_webhook_is_described(messages: list[Message], policy: Policy) -> None:
    for record in fold(messages, policy).records:
        told = events.telling_of(record)

        _judge("order-event", json.loads(record.value))
        _judge("order-event-headers", _headers(record))
        _judge("webhook", json.loads(told.body))


@pytest.mark.parametrize("reason", Reason)
@pytest.mark.parametrize("kind", Kind)
def test_every_kind_and_reason_is_described(kind: Kind, reason: Reason) -> None:
    _, read = evidence_of(notification())
    fields = {name: getattr(read, name) for name in read.__struct_fields__} | {"kind": kind, "traceparent": "00-0-0-0"}
    inbox = to_record(type(read)(**fields))

    _judge("inbox-headers", _headers(inbox))
    _judge("quarantine-headers", _headers(to_quarantine(inbox, reason, 0, 0)))


def test_a_policy_is_described() -> None:
    described = SCHEMAS["inbox-headers.schema.json"]["properties"]["policy"]["contentSchema"]
    policy = json.loads(make.inbox().header("policy") or b"")

    Draft7Validator({**described, "$id": "inbox-headers.schema.json"}, registry=REGISTRY).validate(policy)
    assert set(policy) == set(described["required"]) == set(described["properties"])


@given(
    outcome=st.sampled_from(Outcome),
    status=st.none() | st.integers(100, 599),
    duration=st.none() | st.floats(0, 1e6),
    error=st.none() | st.just("timeout"),
    due=st.none() | st.just(make.RECEIVED_AT),
    event=st.sampled_from((f"evt_{0:032x}", f"evt_{15:032x}")),
)
def test_every_delivery_is_described(
    *, outcome: Outcome, status: int | None, duration: float | None, error: str | None, due: Any, event: str
) -> None:
    lane = Lane(
        1,
        2,
        (Ref(2, 7, "evt_00000000000000000000000000000002"),),
        (Ref(1, 6, "evt_00000000000000000000000000000001"),),
        make.RECEIVED_AT,
        1,
        due,
        (Again(1, 6, "evt_00000000000000000000000000000001", 4),),
    )
    record = delivery.to_record(
        DeliveryRecord(event, "shop-oms", "shop-hkd", "T1", 2, 0, 7, 1, outcome, status, duration, error, due, lane)
    )

    _judge("delivery", json.loads(record.value))


@pytest.mark.parametrize(("state", "why"), [(state, why) for state in State for why in Why])
@pytest.mark.parametrize("behind", [None, 7])
def test_every_state_of_an_endpoint_is_described(state: State, why: Why, behind: int | None) -> None:
    at = make.RECEIVED_AT
    one = EndpointState("shop-oms", state, Round(12, 1), why, 0, at, (Pause(at, at),), behind)

    _judge("delivery-endpoint", json.loads(endpoint_state.to_record(one).value))


def test_every_position_and_every_command_is_described() -> None:
    _judge("delivery-position", json.loads(position.to_record(Position(0, 0, make.RECEIVED_AT)).value))
    for word in ("suspend", "resume", "redrive"):
        wanted = (Wanted("shop-hkd", "T1", 1, 7, f"evt_{0:032x}"),) if word == "redrive" else ()
        said = Command(word, "shop-oms", make.RECEIVED_AT, by="li", reason=None, deliveries=wanted)
        _judge("command", json.loads(command.to_record(said).value))


@given(st.integers(1, 3), st.binary(max_size=50), st.integers(0, 10**10))
def test_every_attempts_headers_are_described(secrets: int, body: bytes, sent_at: int) -> None:
    keys = [webhooks.Secret(bytes([number]) * 24) for number in range(secrets)]

    _judge("webhook-headers", webhooks.headers(keys, f"evt_{0:032x}", sent_at, body))


def test_a_ping_has_a_webhook_s_headers_and_is_told_apart_from_an_event() -> None:
    """A receiver that judged by the schemas refused a ping, and nothing in them said that there is such a thing."""
    name = ping.ping_id(bytes(16))
    sent = json.loads(ping.body(name, make.RECEIVED_AT))

    _judge("webhook-headers", webhooks.headers([webhooks.Secret(bytes(24))], name, 0, b""))
    assert not VALIDATORS["webhook.schema.json"].is_valid(sent)
    said = SCHEMAS["webhook.schema.json"]["description"]
    assert f"type `{sent['type']}`, version {sent['version']}, an id that begins with `{name[:5]}`" in said


@given(st.integers(0, 1000), st.integers(0, 10**12), st.text(max_size=20), st.none() | st.text(max_size=20))
def test_every_operators_word_is_described(partition: int, offset: int, reason: str, by: str | None) -> None:
    _, held = evidence_of(notification())
    word = release.Word(release.Held(partition, offset, "2026112222001"), reason, by)

    record = to_record(release.to_evidence(word, held, held.received_at))

    _judge("inbox-release", json.loads(record.value))
    _judge("inbox-headers", {name: value.decode() for name, value in record.headers})


# The names of contract section 6 and 7, copied from there: a schema may have more, never less.
CONTRACT = {
    "inbox-headers": (
        "kind channel protocol received_at key verdict policy evidence_id content_type traceparent request_target client_id "
        "request_time signature"
    ),
    "inbox-release": "release reason by",
    "order-event-headers": (
        "ce_specversion ce_id ce_type ce_source ce_subject ce_time ce_dataschema content-type ce_orderversion"
    ),
    "order-event": "event order facts state_version",
    "order": (
        "channel order version status is_final currency amount paid refunded trade_no paid_at closed_at wallet payment metadata "
        "payments refunds settlements flags"
    ),
    "quarantine-headers": "reason inbox_partition inbox_offset",
    "delivery": (
        "event_id endpoint channel order version event_partition event_offset attempt outcome status_code duration_ms error "
        "next_attempt_at lane state_version"
    ),
    "delivery-position": "orders commands at state_version",
    "delivery-endpoint": "endpoint state round reason start at state_version",
    "command": "",  # its value is the authors' to shape
    "webhook-headers": "webhook-id webhook-timestamp webhook-signature content-type user-agent",
    "webhook": "type timestamp data id version flags_added",
}
OPTIONAL = set("traceparent request_target client_id request_time signature".split())


@pytest.mark.parametrize("schema", CONTRACT)
def test_every_name_of_the_contract_is_there(schema: str) -> None:
    described = SCHEMAS[f"{schema}.schema.json"]
    names = set(CONTRACT[schema].split())

    assert names <= set(described["properties"])
    assert names - OPTIONAL <= set(described["required"])


def test_every_schema_is_held_to_the_contract() -> None:
    assert {name.removesuffix(".schema.json") for name in SCHEMAS} == set(CONTRACT)


def test_the_events_own_members_are_the_contracts() -> None:
    event = SCHEMAS["order-event.schema.json"]["properties"]["event"]
    names = set("id type version flags_added late cause evidence_id inbox_offset reason".split())

    assert set(event["required"]) == names == set(event["properties"])


def test_the_words_are_the_codes() -> None:
    order = SCHEMAS["order.schema.json"]
    headers = SCHEMAS["inbox-headers.schema.json"]["properties"]

    assert set(headers["kind"]["enum"]) == {kind.value for kind in Kind}
    assert set(headers["verdict"]["enum"]) <= {USABLE, *(reason.value for reason in Reason)}
    assert set(SCHEMAS["quarantine-headers.schema.json"]["properties"]["reason"]["enum"]) == {
        reason.value for reason in Reason
    }
    assert set(SCHEMAS["delivery.schema.json"]["properties"]["outcome"]["enum"]) == {one.value for one in Outcome}
    assert set(order["definitions"]["event_type"]["enum"]) == {
        f"order.{kind}"
        for kind in "registered pending paid finalized closed refunded refund_failed flagged noted settled discrepancy".split()
    }
    assert set(order["definitions"]["flags"]["items"]["enum"]) == set(
        "amount_mismatch currency_mismatch unregistered paid_twice paid_and_closed refund_exceeds_payment "
        "refund_without_payment refund_amount_unknown".split()
    )
    assert SCHEMAS["order-event-headers.schema.json"]["properties"]["ce_dataschema"]["const"] == events.DATA_SCHEMA


def test_topics_are_described_as_they_are_made() -> None:
    """The settings' home is `notifier.topics`; with the defaults of the settings it comes to what is written here."""
    kafka = Kafka.model_fields
    made = plans(
        Topics(kafka["topic_prefix"].default),
        partitions=kafka["partitions"].default,
        replication_factor=kafka["replication_factor"].default,
        kept_s=Orders.model_fields["kept_s"].default,
        body_bytes_max=Ingress.model_fields["body_bytes_max"].default,
    )
    described = {}
    for channel in ASYNCAPI["channels"].values():
        binding = channel["bindings"]["kafka"]
        settings = {
            name: ",".join(value) if isinstance(value, list) else str(value)
            for name, value in binding["topicConfiguration"].items()
        }
        described[channel["address"]] = (binding["partitions"], binding["replicas"], settings)

    assert described == {plan.name: (plan.partitions, plan.replication_factor, plan.settings) for plan in made}


def _messages() -> dict[str, dict[str, Any]]:
    return {
        f"{channel}.{name}": message
        for channel, described in ASYNCAPI["channels"].items()
        for name, message in described.get("messages", {}).items()
    }


@pytest.mark.parametrize(
    ("message", "key", "is_one"),
    [
        ("inbox.evidence", "shop-hkd/T20260001", True),
        ("inbox.evidence", "shop-hkd/", True),
        ("inbox.evidence", "shop-hkd/a/b", True),
        ("inbox.evidence", "shop-hkd/~agreement:1", False),
        ("orders.event", "shop-hkd/T20260001", True),
        ("orders.event", "shop-hkd/", False),
        ("deliveries.delivery", "shop-oms/shop-hkd/T20260001", True),
        ("deliveries.endpoint", "shop-oms", True),
        ("deliveries.position", "~position", True),
        ("commands.command", "shop-oms", True),
        ("quarantine.evidence", "shop-hkd/", True),
    ],
)
def test_keys_are_described(message: str, key: str, is_one: bool) -> None:
    described = _messages()[message]["bindings"]["kafka"]["key"]

    assert Draft7Validator(described).is_valid(key) is is_one


def test_the_document_names_schemas_that_are_there() -> None:
    """All but the inbox's, whose value is whatever AlipayHK sent."""
    refs = {
        part["$ref"].removeprefix("schemas/")
        for message in _messages().values()
        for part in (message.get("headers", {}), message.get("payload", {}))
        if "$ref" in part
    }

    shared_or_not_on_kafka = {"order.schema.json", "webhook.schema.json", "webhook-headers.schema.json"}
    assert refs == set(SCHEMAS) - shared_or_not_on_kafka


def test_the_golden_records_keys_are_described() -> None:
    for name, record in (("inbox.evidence", make.inbox()), ("orders.event", make.orders())):
        described = _messages()[name]["bindings"]["kafka"]["key"]
        Draft7Validator(described).validate(record.key.decode())
    assert partition_of(make.inbox().key, 24) == 3
