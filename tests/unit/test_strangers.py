"""Records that are none of ours, in every topic: they are told of, and neither hold anything up nor take anything away (L2)."""

import io
import json
from collections.abc import Callable

import pytest

from consumers.partition import Batch
from notifier import deliveries, events, logs
from notifier.kafka.group import Source
from notifier.record import Record
from tests.merchants import Merchants, fanout_job, meet
from tests.owners import NOON, TOPICS, Owner, P, World, later, notification, orders_owner, spin

Said = Callable[[], list[str]]


@pytest.fixture
def said() -> Said:
    """The names of the log lines since the test began."""
    written = io.BytesIO()
    logs.configure(service="fanout", instance="i", format="json", level="info", out=written)
    return lambda: [json.loads(line)["event"] for line in written.getvalue().splitlines()]


AMONG_ORDERS = [
    pytest.param(Record(b"shop-hkd/T1", b""), id="a tombstone, by who wants an order gone"),
    pytest.param(Record(b"shop-hkd/T1", b'{"a": 1}'), id="what a console producer wrote"),
    pytest.param(Record(b"shop-hkd/T2", b"hello"), id="of an order that there is not"),
    pytest.param(Record(b"shop-hkd/T1", b"{}", (("ce_orderversion", b"two"),)), id="no number for a version"),
    pytest.param(Record(b"shop-hkd/T1", b"{}", (("ce_orderversion", b""),)), id="a header without a value"),
    pytest.param(Record(b"shop-hkd/T1", b"{}", (("ce_orderversion", b"-1"),)), id="below all versions"),
    pytest.param(Record(b"shop-hkd/T1", b"{}", (("ce_orderversion", b"4294967296"),)), id="above all versions"),
]

AMONG_DELIVERIES = [
    pytest.param(Record(b"oms/shop-hkd/T1", b""), id="a tombstone"),
    pytest.param(Record(b"oms/shop-hkd/T1", b'{"a": 1}'), id="what a console producer wrote"),
    pytest.param(Record(b"oms/shop-hkd/T2", b"hello"), id="of a lane that there is not"),
    pytest.param(Record(b"oms", b""), id="of an endpoint"),
    pytest.param(Record(b"~position", b"{}"), id="of the position"),
]


@pytest.mark.parametrize("strange", AMONG_ORDERS)
@pytest.mark.parametrize("is_owned", [True, False], ids=["while it is owned", "while nobody owns it"])
async def test_among_orders(strange: Record, is_owned: bool, said: Said) -> None:
    """The job died of it at each start; were it passed over alone, compaction would keep it instead of the order."""
    world = World()
    owner = await orders_owner(world)
    await world.receive(notification("T1", "WAIT_BUYER_PAY"))
    await owner.work_off()
    owner.commit()
    if not is_owned:
        await owner.stop()
    world.logs.put(TOPICS.orders, P, strange)
    if not is_owned:
        owner = await orders_owner(world)

    await world.receive(notification("T1"))
    await owner.work_off()
    owner.commit()
    await owner.stop()
    owner = await orders_owner(world)  # whose view has to be brought past all of it
    world.logs.compact(TOPICS.orders, P)
    world.views.flush()
    await owner.stop()
    owner = await orders_owner(world)
    await world.receive(notification("T1", "TRADE_FINISHED"), notification("T2"))
    await owner.work_off()

    found = [one.record for one in world.logs.records(TOPICS.orders, P) if events.is_ours(one.record)]
    assert {record.key: events.version_of(record) for record in found} == {b"shop-hkd/T1": 3, b"shop-hkd/T2": 1}
    assert world.logs.records(TOPICS.quarantine, P) == []
    assert "record.unreadable" in said()
    await owner.crash()


async def test_an_order_whose_last_record_is_a_strangers_lies_in_the_log_again(said: Said) -> None:
    world = World()
    owner = await orders_owner(world)
    await world.receive(notification("T1"))
    await owner.work_off()
    owner.commit()
    await owner.stop()
    world.logs.put(TOPICS.orders, P, Record(b"shop-hkd/T1", b""))

    owner = await orders_owner(world)
    world.logs.compact(TOPICS.orders, P)

    assert world.latest() == {"T1": 1}
    await owner.crash()


async def test_a_strangers_record_that_has_been_quiet_for_long_is_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A week after it came, the job died of it once a minute."""
    world = World()
    owner = await orders_owner(world)
    await world.receive(notification("T1"))
    await owner.work_off()
    world.logs.put(TOPICS.orders, P, Record(b"shop-hkd/T2", b"hello"))
    world.clock.at += later(days=8)
    world.logs.now_ms = world.clock.now_ms()
    view = owner.work._view  # type: ignore[attr-defined] # the look comes by the loop's clock

    await view.look()
    await view.rest(world.clock.now_ms() - 1)

    assert world.views.views[TOPICS.orders, P].resting.keys() == {b"shop-hkd/T1"}
    await owner.crash()


@pytest.mark.parametrize("strange", AMONG_DELIVERIES)
@pytest.mark.parametrize("is_owned", [True, False], ids=["while it is owned", "while nobody owns it"])
async def test_among_deliveries(strange: Record, is_owned: bool, said: Said) -> None:
    world, merchants = World(), Merchants()
    meet(world, "oms")
    orders = await orders_owner(world)
    owner = await Owner(world, fanout_job(world, merchants).work(P), TOPICS.orders).start()
    await world.receive(notification("T1", "WAIT_BUYER_PAY"))
    await orders.work_off()
    await owner.work_off()
    owner.commit()
    if not is_owned:
        await owner.stop()
    world.logs.put(TOPICS.deliveries, P, strange)
    if not is_owned:
        owner = await Owner(world, fanout_job(world, merchants).work(P), TOPICS.orders).start()

    await world.receive(notification("T1"), notification("T2"))
    await orders.work_off()
    await owner.work_off()
    owner.commit()
    await owner.stop()
    world.views.flush()
    owner = await Owner(world, fanout_job(world, merchants).work(P), TOPICS.orders).start()
    await world.receive(notification("T1", "TRADE_FINISHED"))
    await orders.work_off()
    await owner.work_off()

    assert merchants.versions("oms", "T1") == [1, 2, 3]
    assert merchants.versions("oms", "T2") == [1]
    assert "record.unreadable" in said()
    await owner.crash()
    await orders.crash()


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param((), id="none"),
        pytest.param((("ce_time", b""),), id="a time without a value"),
        pytest.param((("ce_time", b"yesterday"),), id="a time that is none"),
    ],
)
async def test_an_event_that_is_none_is_told_to_nobody(headers: tuple[tuple[str, bytes], ...], said: Said) -> None:
    world, merchants = World(), Merchants()
    meet(world, "oms")
    orders = await orders_owner(world)
    owner = await Owner(world, fanout_job(world, merchants).work(P), TOPICS.orders).start()
    await world.receive(notification("T1"))
    await orders.work_off()
    (event,) = world.logs.records(TOPICS.orders, P)
    kept = tuple(one for one in event.record.headers if headers and one[0] != "ce_time")
    world.logs.put(TOPICS.orders, P, event.record._replace(key=b"shop-hkd/T2", headers=kept + headers))

    await owner.work_off()

    assert [one.order for one in merchants.told] == ["T1"]
    assert owner.feed.done_upto[Source(TOPICS.orders, P)] == 2
    assert "event.unreadable" in said()
    await owner.crash()
    await orders.crash()


@pytest.mark.parametrize(
    "value",
    [
        pytest.param('{"command": "suspend", "endpoint": "a/b", "at": "AT"}', id="what it leaves would be taken for a lane"),
        pytest.param('{"command": "suspend", "endpoint": "~position", "at": "AT"}', id="for the position"),
        pytest.param('{"command": "suspend", "endpoint": "", "at": "AT"}', id="without a name"),
        pytest.param(
            '{"command": "redrive", "endpoint": "oms", "at": "AT", "deliveries": [["shop-hkd", "T1", 4294967296, 0, "e"]]}',
            id="a version that no pointer can name",
        ),
        pytest.param('{"command": "dance", "endpoint": "oms", "at": "AT"}', id="nothing that there is to do"),
        pytest.param("", id="a tombstone"),
    ],
)  # fmt: skip
async def test_among_commands(value: str, said: Said) -> None:
    """The state of an endpoint `a/b` lay where lanes lie: fan-out died of it at each start."""
    world, merchants = World(), Merchants()
    meet(world, "oms")
    orders = await orders_owner(world)
    owner = await Owner(world, fanout_job(world, merchants).work(P), TOPICS.orders).start()
    record = Record(b"x", value.replace("AT", NOON.isoformat()).encode())
    world.logs.put(TOPICS.commands, P, record)
    owner.feed.put(Batch(TOPICS.commands, world.logs.records(TOPICS.commands, P)))
    await spin(lambda: owner.feed.done_upto[Source(TOPICS.commands, P)] == 1)

    await world.receive(notification("T1"))
    await orders.work_off()
    await owner.work_off()

    assert merchants.versions("oms", "T1") == [1]
    assert all(deliveries.is_ours(one.record) for one in world.logs.records(TOPICS.deliveries, P))
    assert "command.unreadable" in said()
    await owner.crash()
    await orders.crash()
