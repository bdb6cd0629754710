"""One order, asked for from outside of the orders job: the view is never wrong, only short."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from notifier import events
from notifier.errors import Unavailable
from notifier.internal import lookup
from notifier.internal.lookup import VIEW_BEHIND, Lookup
from notifier.ports import Pointer
from notifier.record import Record
from notifier.topics import partition_of
from tests.owners import TOPICS, Owner, P, World, notification, orders_owner


@pytest.fixture
async def folded() -> AsyncIterator[Callable[..., Any]]:
    """A world in which the orders job has folded this evidence, and is gone."""
    owners: list[Owner] = []

    async def fold(*records: Record, quiet_s: int = 604_800) -> World:
        world = World(quiet_s=quiet_s)
        await world.receive(*records)
        owners.append(await orders_owner(world))
        await owners[-1].work_off()
        return world

    yield fold
    for owner in owners:
        await owner.crash()


def finder(world: World, *, said: int = 1, counted: int = 1) -> Lookup:
    """Of the world's one partition, which the settings may know or not."""

    async def count() -> int:
        return counted

    return Lookup(TOPICS.orders, world.views, world.logs, partitions=said, count=count)


def version(found: Record | None) -> int | None:
    return events.version_of(found) if found is not None else None


async def test_who_does_not_answer_is_named(folded: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """With Kafka away, whoever asked for an unknown order was told that neither Redis nor Kafka had answered."""
    monkeypatch.setattr(lookup, "KAFKA_S_MAX", 0.01)
    world = await folded(notification("T1"))

    async def never() -> int:
        await asyncio.Event().wait()
        return 1

    with pytest.raises(Unavailable) as caught:
        async with asyncio.timeout(5):
            await Lookup(TOPICS.orders, world.views, world.logs, partitions=1, count=never).find("shop-hkd", "T2")

    assert (caught.value.what, caught.value.why) == ("kafka", "kafka_timeout")


async def test_an_order_is_found_as_the_view_has_it(folded: Callable[..., Any]) -> None:
    world = await folded(notification("T1", "WAIT_BUYER_PAY"), notification("T1"), notification("T2"))

    found = await finder(world).find("shop-hkd", "T1")

    assert found is not None
    order = json.loads(events.order_in(found))
    assert (order["order"], order["version"], order["status"], order["paid"]) == ("T1", 2, "paid", 12800)


@pytest.mark.parametrize(
    ("channel", "order", "why"),
    [
        ("shop-hkd", "T9", "nobody told of it"),
        ("shop-usd", "T1", "another channel's order of the same number"),
        ("shop-hkd/T1", "", "no order's name at all"),
        ("shop-hkd", "T\udce9", "bytes that are no text"),
    ],
)
async def test_what_neither_view_nor_log_has_is_unknown(
    folded: Callable[..., Any], channel: str, order: str, why: str
) -> None:
    world = await folded(notification("T1"))

    assert await finder(world).find(channel, order) is None, why


async def test_what_a_flush_of_redis_took_is_read_from_the_log(folded: Callable[..., Any]) -> None:
    """Nobody is told that an order is unknown because a view is empty."""
    world = await folded(notification("T1", "WAIT_BUYER_PAY"), notification("T2"), notification("T1"))
    world.views.flush()

    assert version(await finder(world).find("shop-hkd", "T1")) == 2
    assert await finder(world).find("shop-hkd", "T9") is None


async def test_an_older_record_that_lies_last_takes_nothing_back(folded: Callable[..., Any]) -> None:
    world = await folded(notification("T1", "WAIT_BUYER_PAY"), notification("T1"))
    world.logs.put(TOPICS.orders, P, world.logs.records(TOPICS.orders, P)[0].record)
    world.views.flush()

    assert version(await finder(world).find("shop-hkd", "T1")) == 2


async def test_of_a_view_that_is_far_behind_nothing_is_called_unknown(
    folded: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = await folded(notification("T1"), notification("T2"), notification("T3"))
    world.views.flush()
    monkeypatch.setattr(lookup, "BEHIND_MAX", 2)

    with pytest.raises(Unavailable) as behind:
        await finder(world).find("shop-hkd", "T1")
    assert (behind.value.what, behind.value.why) == ("redis", VIEW_BEHIND)


async def resting(world: World, order: str) -> None:
    """Let an order be quiet: only a pointer to its record is left."""
    key = f"shop-hkd/{order}".encode()
    (entry,) = (await world.views.read(TOPICS.orders, P, [key])).entries
    assert entry is not None
    last = [one for one in world.logs.records(TOPICS.orders, P) if one.record.key == key][-1]
    pointer = Pointer(entry.offset, events.version_of(last.record))
    await world.views.rest(TOPICS.orders, P, {key: pointer}, upto=last.offset + 1)
    assert (await world.views.read(TOPICS.orders, P, [key])).entries == [pointer]


async def test_a_quiet_order_is_followed_to_its_record(folded: Callable[..., Any]) -> None:
    world = await folded(notification("T1"), notification("T2"))
    await resting(world, "T1")

    assert version(await finder(world).find("shop-hkd", "T1")) == 1


async def test_a_pointer_whose_record_was_superseded_leads_to_the_later_one(folded: Callable[..., Any]) -> None:
    """Another owner went on, its record is not in the view yet, and compaction took the one that the pointer names."""
    world = await folded(notification("T1", "WAIT_BUYER_PAY"))
    await resting(world, "T1")
    other = World()
    await other.receive(notification("T1", "WAIT_BUYER_PAY"), notification("T1"))
    owner = await orders_owner(other)
    await owner.work_off()
    await owner.crash()
    world.logs.put(TOPICS.orders, P, other.logs.records(TOPICS.orders, P)[1].record)
    world.logs.compact(TOPICS.orders, P)

    assert version(await finder(world).find("shop-hkd", "T1")) == 2


async def test_a_pointer_that_leads_nowhere_is_not_called_unknown(folded: Callable[..., Any]) -> None:
    world = await folded(notification("T1"), notification("T2"))
    await resting(world, "T1")
    world.logs.logs[TOPICS.orders, P][0] = None

    with pytest.raises(Unavailable):
        await finder(world).find("shop-hkd", "T1")


async def test_what_its_log_has_deleted_is_unknown(folded: Callable[..., Any]) -> None:
    """Contract, section 3: `orders.kept_s`."""
    world = await folded(notification("T1"), notification("T2"))
    await resting(world, "T1")
    world.logs.truncate(TOPICS.orders, P, 1)

    assert await finder(world).find("shop-hkd", "T1") is None


async def test_settings_that_say_another_number_of_partitions_hide_no_order(folded: Callable[..., Any]) -> None:
    world = await folded(notification("T1"))
    assert partition_of(b"shop-hkd/T1", 24) != P

    assert version(await finder(world, said=24).find("shop-hkd", "T1")) == 1


async def test_in_a_topic_that_was_given_more_partitions_orders_are_where_they_were(
    folded: Callable[..., Any],
) -> None:
    """After the first order that there is not, all others were looked for where nobody puts them."""
    world = await folded(notification("T1"))
    lookup = finder(world, counted=24)

    assert await lookup.find("shop-hkd", "T9") is None
    assert version(await lookup.find("shop-hkd", "T1")) == 1


async def test_without_redis_nothing_is_said(folded: Callable[..., Any]) -> None:
    world = await folded(notification("T1"))
    world.views.is_down = True

    for order in ("T1", "T9"):
        with pytest.raises(Unavailable) as away:
            await finder(world).find("shop-hkd", order)
        assert away.value.what == "redis"
