"""Two releases on one view: one keeps records in a way that the other can't read (a rolling upgrade, and the way back)."""

import asyncio

import pytest

from consumers.orders import ORDERS
from consumers.view import View
from notifier import events
from notifier.internal.lookup import Lookup
from notifier.ports import ViewStore
from tests.fakes import FakeLogs, FakeViews
from tests.held import HeldViews
from tests.owners import TOPICS, Owner, P, World, notification
from tests.releases import LaterViews

STATUSES = ("WAIT_BUYER_PAY", "TRADE_SUCCESS", "TRADE_FINISHED")


async def owner_on(world: World, views: ViewStore) -> Owner:
    job = world.orders_job()
    job.store = views
    return await Owner(world, job.work(P)).start()


@pytest.mark.parametrize("first_is_later", [True, False], ids=["back to the earlier", "on to the later"])
async def test_releases_take_turns_on_a_partition(*, first_is_later: bool) -> None:
    """Each goes on where the other left off; nobody has to build the view anew."""
    world = World()
    for number, status in enumerate(STATUSES):
        is_later = first_is_later == (number % 2 == 0)
        owner = await owner_on(world, LaterViews(world.views) if is_later else world.views)
        await world.receive(notification("A", status), notification(f"B{number}", status))
        await owner.work_off()
        await owner.stop()

    assert [(order, version) for order, version, _ in world.told() if order == "A"] == [("A", 1), ("A", 2), ("A", 3)]
    world.assert_one_content_per_version()


async def test_an_order_that_a_later_release_keeps_can_be_looked_up() -> None:
    world = World()
    owner = await owner_on(world, LaterViews(world.views))
    await world.receive(notification("A"))
    await owner.work_off()
    await owner.stop()

    async def count() -> int:
        return 1

    lookup = Lookup(TOPICS.orders, world.views, world.logs, partitions=1, count=count)
    found = await lookup.find("shop-hkd", "A")

    assert found is not None
    assert events.from_record(found).order.status == "paid"


async def test_an_entry_names_where_its_record_lies() -> None:
    """A1 came late, so A2 is appended again. There it stays; compaction may take the first of the two, as A1 came later."""
    world, logs = World(), FakeLogs()
    owner = await owner_on(world, world.views)
    await world.receive(notification("A", STATUSES[0]), notification("A", STATUSES[1]))
    await owner.work_off()
    first, second = (stored.record for stored in world.logs.records(TOPICS.orders, P))
    await logs.append(TOPICS.orders, P, [first, second, first])
    views = HeldViews(FakeViews())
    moved = views.holds.answer("write", TOPICS.orders)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(View(TOPICS.orders, P, ORDERS, store=views, reader=logs, appender=logs).look())
        await moved.reached.wait()
        read = await views.read(TOPICS.orders, P, [second.key])
        moved.let_go()

    (entry,) = read.entries
    assert read.position == 3
    assert entry is not None
    assert entry.offset == 3
    assert logs.records(TOPICS.orders, P)[3].record == second
