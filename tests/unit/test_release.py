"""An operator's word: what lies in the inbox, and what the orders job makes of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from notifier import evidence
from notifier.errors import Reason, Unusable
from notifier.evidence import Kind
from notifier.reading import statement_of
from notifier.record import Record
from notifier.release import Held, Word, to_evidence
from notifier.statement import ReleaseStatement
from tests.owners import NOON, TOPICS, Owner, P, World, notification, orders_owner

TRADE_NO = "2026112222001T1"
Opened = Callable[[World], Any]


def held(order: str = "T1") -> Record:
    """A payment of an order that nobody announced, on a channel where that holds it."""
    read = evidence.from_record(notification(order))
    policy = msgspec.structs.replace(read.policy, orders="registered")
    return evidence.to_record(msgspec.structs.replace(read, policy=policy))


def word(reason: str = "the shop has it", by: str | None = "alice", order: str = "T1") -> Record:
    """The record that releases it."""
    said = Word(Held(P, 0, f"2026112222001{order}"), reason, by)
    return evidence.to_record(to_evidence(said, evidence.from_record(held(order)), NOON + timedelta(minutes=5)))


def test_the_word_is_filed_with_the_order_and_says_who_and_why() -> None:
    """Contract, section 6: the value, and a key that brings it into the partition of the evidence."""
    record = word()

    assert record.key == held().key
    assert json.loads(record.value) == {
        "release": {"partition": 0, "offset": 0, "trade_no": TRADE_NO},
        "reason": "the shop has it",
        "by": "alice",
    }
    read = evidence.from_record(record)
    assert (read.kind, read.verdict) == (Kind.OPERATOR, "usable")
    assert statement_of(read) == ReleaseStatement("T1", TRADE_NO, NOON + timedelta(minutes=5), "the shop has it")


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (b"", "nothing"),
        (b"{", "no JSON"),
        (b"out_trade_no=T1&trade_status=TRADE_SUCCESS", "a form"),
        (b"[]", "no object"),
        (b'{"reason": "x", "by": "y"}', "nothing is released"),
        (b'{"release": {"partition": 0, "offset": 0}, "reason": "x", "by": "y"}', "no trade"),
        (
            b'{"release": {"partition": 0, "offset": 0, "trade_no": ""}, "reason": "x", "by": "y"}',
            "a trade without name",
        ),
        (b'{"release": {"partition": 0, "offset": 0, "trade_no": "T1"}, "by": "y"}', "no reason"),
        (b'{"release": {"partition": 0, "offset": 0, "trade_no": "T1"}, "reason": "%s"}' % (b"x" * 501), "an essay"),
    ],
)
def test_what_is_no_such_word_is_set_aside(value: bytes, why: str) -> None:
    read = msgspec.structs.replace(evidence.from_record(word()), body=value)

    with pytest.raises(Unusable) as unusable:
        statement_of(read)
    assert unusable.value.reason is Reason.BAD_FIELD, why


def test_a_word_about_no_order_is_set_aside() -> None:
    with pytest.raises(Unusable):
        statement_of(msgspec.structs.replace(evidence.from_record(word()), order=None))


@pytest.mark.parametrize("kind", [Kind.REGISTRATION, Kind.RETURN, Kind.INQUIRY, Kind.SETTLEMENT])
def test_evidence_of_later_releases_is_not_taken_for_anything_else(kind: Kind) -> None:
    with pytest.raises(Unusable) as unusable:
        statement_of(msgspec.structs.replace(evidence.from_record(word()), kind=kind))
    assert unusable.value.reason is Reason.NOT_HANDLED


@pytest.fixture
async def opened() -> AsyncIterator[Opened]:
    """Opens owners, and ends them with the test."""
    owners: list[Owner] = []

    async def opening(world: World) -> Owner:
        owners.append(await orders_owner(world))
        return owners[-1]

    yield opening
    for owner in owners:
        await owner.crash()


def orders(world: World) -> list[dict[str, Any]]:
    return [json.loads(stored.record.value) for stored in world.logs.records(TOPICS.orders, P)]


async def test_a_held_payment_counts_once_it_is_released_and_once_only(opened: Opened) -> None:
    """The second word, the same again or in other words, tells nothing new."""
    world = World()
    owner = await opened(world)
    await world.receive(held(), word(), word(), word(reason="asked the shop again", by="bob"), held())

    await owner.work_off()

    before, after = orders(world)
    assert (before["order"]["status"], before["order"]["paid"]) == ("pending", 0)
    assert before["order"]["payments"][0]["held"] == "unregistered"
    assert (after["event"]["type"], after["order"]["status"], after["order"]["paid"]) == ("order.paid", "paid", 12800)
    assert (after["event"]["cause"], after["event"]["reason"]) == ("operator", "the shop has it")
    assert after["event"]["inbox_offset"] == 1
    assert after["order"]["payments"][0]["held"] is None
    assert [stored.record.header("reason") for stored in world.logs.records(TOPICS.quarantine, P)] == [b"unregistered"]


async def test_a_word_that_is_read_first_holds_for_the_payment_that_comes(opened: Opened) -> None:
    """S5: the order of arrival decides nothing."""
    world = World()
    owner = await opened(world)
    await world.receive(word(), held())

    await owner.work_off()

    assert [one["order"]["paid"] for one in orders(world)] == [0, 12800]
    assert world.logs.records(TOPICS.quarantine, P) == []


async def test_a_word_frees_no_other_trade(opened: Opened) -> None:
    world = World()
    owner = await opened(world)
    await world.receive(held(), word(order="T2"))

    await owner.work_off()

    paid = {one["order"]["order"]: one["order"]["paid"] for one in orders(world)}
    assert paid == {"T1": 0, "T2": 0}


async def test_a_broken_word_holds_nothing_up(opened: Opened) -> None:
    """L2."""
    world = World()
    owner = await opened(world)
    await world.receive(held(), word()._replace(value=b"{"), word())

    await owner.work_off()

    assert [one["order"]["paid"] for one in orders(world)] == [0, 12800]
    asides = [stored.record.header("reason") for stored in world.logs.records(TOPICS.quarantine, P)]
    assert asides == [b"unregistered", b"bad_field"]
