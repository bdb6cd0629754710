"""Fan-out takes other endpoints and limits over while it tells (contract, section 3)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from datetime import timedelta
from typing import Any

import pytest

import consumers.telling.reading_back
import consumers.telling.taking_up
from consumers.client import Answer
from consumers.fanout import FanoutJob
from consumers.telling.endpoints import Endpoints
from consumers.telling.pace import FAILURES_IN_A_ROW
from notifier import deliveries
from notifier.config import Delivery, Endpoint
from notifier.deliveries import endpoint_state
from notifier.deliveries.delivery import Outcome
from notifier.deliveries.endpoint_state import State, Why
from tests.merchants import FAILED, WAIT_S, Merchants, endpoint, fanout_job
from tests.owners import NOON, TOPICS, Owner, P, World, notification, orders_owner, spin

GONE = Answer(410, None, 1.0)
QUICK = Delivery(first_retry_s=0.05, retry_s_max=0.1)
OMS, ERP = endpoint("oms"), endpoint("erp")
MOVED = endpoint("oms", url="https://merchant.example/oms-2")

Published = Callable[..., Awaitable[None]]


@pytest.fixture
async def merchants() -> Merchants:
    return Merchants()


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumers.telling.reading_back, "PAUSE_S", 0.0)


@pytest.fixture
async def published(world: World) -> AsyncIterator[Published]:
    """Puts events into the orders log, as the orders job makes them of evidence."""
    owner = await orders_owner(world)

    async def publishing(*orders: str) -> None:
        await world.receive(*(notification(order) for order in orders))
        await owner.work_off()

    yield publishing
    await owner.crash()


class Fanout:
    """The job, and the one who owns its partition."""

    def __init__(self, job: FanoutJob, owner: Owner) -> None:
        self.job = job
        self.owner = owner

    def use(self, *endpoints: Endpoint, delivery: Delivery = QUICK) -> None:
        """Take these settings."""
        self.job.use(endpoints, delivery, 604_800)


@pytest.fixture
async def opened(world: World, merchants: Merchants) -> AsyncIterator[Callable[..., Awaitable[Fanout]]]:
    owners: list[Owner] = []

    async def opening(*endpoints: Endpoint, **settings: Any) -> Fanout:
        job = fanout_job(world, merchants, *endpoints, **settings)
        owners.append(await Owner(world, job.work(P), TOPICS.orders).start())
        return Fanout(job, owners[-1])

    yield opening
    for owner in owners:
        await owner.crash()


Opened = Callable[..., Awaitable[Fanout]]


def waiting(world: World) -> set[str]:
    """The lanes in which something waits, as the log says: `oms/T1`."""
    found: dict[str, bool] = {}
    for stored in world.logs.records(TOPICS.deliveries, P):
        one = deliveries.delivery_in(stored.record)
        if one is not None:
            found[f"{one.endpoint}/{one.order}"] = bool(one.lane.turns)
    return {lane for lane, waits in found.items() if waits}


async def until(world: World, holds: Callable[[], bool]) -> None:
    """Return when something holds, looked at whenever a record lands."""
    async with asyncio.timeout(WAIT_S):
        while not holds():
            world.logs.landed.clear()
            await world.logs.landed.wait()


async def later(world: World, fanout: Fanout, seconds: float = 1.0) -> None:
    """Let so much time pass, for all that waits."""
    world.clock.at += timedelta(seconds=seconds)
    for partition in fanout.job.partitions:
        partition._due.changed.set()
    await spin()


async def test_out_36_what_waits_goes_to_the_url_that_the_endpoint_has_now(
    opened: Opened, published: Published, merchants: Merchants, world: World
) -> None:
    """Without a restart: the old one is never called again."""
    merchants.answers["oms"].extend([FAILED])
    fanout = await opened(OMS)
    await published("T1")
    await fanout.owner.work_off()

    fanout.use(MOVED)
    await later(world, fanout)
    await published("T2")
    await fanout.owner.work_off()

    await merchants.until(lambda: merchants.versions("oms-2", "T1") == merchants.versions("oms-2", "T2") == [1])
    assert len([one for one in merchants.told if one.endpoint == "oms"]) == 1


@pytest.mark.parametrize("answer", [FAILED, GONE])
async def test_what_an_old_url_answers_is_not_held_against_the_new_one(
    opened: Opened, published: Published, merchants: Merchants, world: World, answer: Answer
) -> None:
    """In flight while the endpoint moves: it ends there, and what failed is told anew at once."""
    merchants.answers["oms"].append(answer)
    gate = merchants.gates["oms"] = asyncio.Event()
    fanout = await opened(OMS)
    await published("T1")
    await fanout.owner.fetch()
    await merchants.until(lambda: len(merchants.told) == 1)

    fanout.use(MOVED)
    gate.set()

    await merchants.until(lambda: merchants.versions("oms-2", "T1") == [1])
    assert fanout.job.callees.by_name["oms"].measures.success_rate in (None, 1.0)
    assert merchants.versions("oms", "T1") == [1]
    records = [one.record for one in world.logs.records(TOPICS.deliveries, P) if one.record.key == b"oms"]
    assert endpoint_state.from_record(records[-1]).state is State.ACTIVE


async def test_who_leaves_is_sent_nothing_and_what_waits_is_told_when_it_is_back(
    opened: Opened, published: Published, merchants: Merchants, world: World
) -> None:
    merchants.answers["oms"].append(FAILED)
    fanout = await opened(OMS, ERP)
    await published("T1")
    await fanout.owner.work_off()

    fanout.use(ERP)
    await published("T2")
    await fanout.owner.work_off()
    await later(world, fanout)
    assert [one.order for one in merchants.told if one.endpoint == "oms"] == ["T1"], "the attempt before it left"
    assert merchants.versions("erp", "T2") == [1]
    assert waiting(world) == {"oms/T1"}

    fanout.use(OMS, ERP)
    await published("T3")
    await fanout.owner.work_off()
    await later(world, fanout)
    await merchants.until(lambda: merchants.versions("oms", "T3") == [1] and merchants.versions("oms", "T1") == [1, 1])
    assert merchants.versions("oms", "T2") == []


async def test_what_had_no_slot_yet_when_its_endpoint_left_waits_durably(
    opened: Opened, published: Published, merchants: Merchants, world: World
) -> None:
    """The attempt that is in flight ends and counts; nothing holds the offset."""
    gate = merchants.gates["oms"] = asyncio.Event()
    fanout = await opened(endpoint("oms", concurrency=1))
    await published("T1", "T2", "T3")
    await fanout.owner.fetch()
    await merchants.until(lambda: len(merchants.told) == 1)

    fanout.use()
    await until(world, lambda: waiting(world) == {"oms/T2", "oms/T3"})
    gate.set()
    await fanout.owner.work_off()

    assert [one.order for one in merchants.told] == ["T1"]
    outcomes = [deliveries.delivery_in(one.record) for one in world.logs.records(TOPICS.deliveries, P)]
    assert [(one.order, one.outcome) for one in outcomes if one and one.outcome is not Outcome.WAITING] == [
        ("T1", Outcome.ACCEPTED)
    ]


@pytest.mark.parametrize("comes_at_once", [False, True])
async def test_who_is_new_begins_as_its_settings_say(
    opened: Opened, published: Published, merchants: Merchants, world: World, comes_at_once: bool
) -> None:
    """Also where an event comes before anything else was done for it: then it must not be met as one that begins with that."""
    fanout = await opened(OMS)
    await published("T1")
    await fanout.owner.work_off()
    await published("T2")

    fanout.use(OMS, endpoint("now"), endpoint("all", start="earliest"))
    if not comes_at_once:
        await spin()
    await fanout.owner.work_off()

    await merchants.until(lambda: merchants.versions("all", "T1") == merchants.versions("all", "T2") == [1])
    assert merchants.versions("now", "T2") == [1]
    assert merchants.versions("now", "T1") == []


async def test_who_is_new_hears_of_the_past_though_nothing_comes(
    opened: Opened, published: Published, merchants: Merchants
) -> None:
    fanout = await opened(OMS)
    await published("T1")
    await fanout.owner.work_off()

    fanout.use(OMS, endpoint("all", start="earliest"))

    await merchants.until(lambda: merchants.versions("all", "T1") == [1])


async def test_who_is_back_is_still_left_alone(
    opened: Opened, published: Published, merchants: Merchants, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operator suspended it when another process had the partition. What waits is due, and the log has not said so yet."""
    merchants.answers["oms"].append(FAILED)
    first = await opened(OMS, ERP)
    await published("T1")
    await first.owner.work_off()
    await first.owner.stop()
    met = endpoint_state.first_met("oms", start=0, at=NOON)
    suspended = endpoint_state.change(met, State.SUSPENDED, Why.OPERATOR, at=NOON, command=1)
    await world.logs.append(TOPICS.deliveries, P, [endpoint_state.to_record(suspended)])
    world.clock.at += timedelta(seconds=60)
    second = await opened(ERP)
    may_learn, learn = asyncio.Event(), Endpoints.learn

    async def learn_late(endpoints: Endpoints, names: Collection[str]) -> None:
        await may_learn.wait()
        await learn(endpoints, names)

    monkeypatch.setattr(Endpoints, "learn", learn_late)
    monkeypatch.setattr(consumers.telling.taking_up, "PAUSE_S", 0.0)

    second.use(OMS, ERP)
    await later(world, second)
    may_learn.set()
    await later(world, second)
    await published("T2")
    await second.owner.work_off()

    assert [one.order for one in merchants.told if one.endpoint == "oms"] == ["T1"]
    assert merchants.versions("erp", "T2") == [1]


async def test_how_an_endpoint_fares_stays_known_unless_it_moves(
    opened: Opened, published: Published, merchants: Merchants
) -> None:
    merchants.answers["oms"].extend([FAILED] * FAILURES_IN_A_ROW)
    fanout = await opened(OMS)
    await published(*(f"T{number}" for number in range(FAILURES_IN_A_ROW)))
    await fanout.owner.work_off()
    callee = fanout.job.callees.by_name["oms"]
    assert callee.is_paused

    fanout.use(endpoint("oms", timeout_s=1.0, concurrency=2, headers={"x": "y"}))
    assert (callee.is_paused, callee.measures.attempts) == (True, FAILURES_IN_A_ROW)

    fanout.use(MOVED)
    assert (callee.is_paused, callee.measures.attempts, callee.room) == (False, 0, MOVED.concurrency)


async def test_limits_are_taken_over(opened: Opened, published: Published, merchants: Merchants, world: World) -> None:
    """What fails from now on is given up after the new time."""
    merchants.answers["oms"].extend([FAILED] * 2)
    fanout = await opened(OMS)
    await published("T1")
    await fanout.owner.work_off()

    fanout.use(OMS, delivery=Delivery(give_up_after_s=1.0))
    await later(world, fanout, 2.0)

    await until(world, lambda: not waiting(world))
    found = [deliveries.delivery_in(one.record) for one in world.logs.records(TOPICS.deliveries, P)]
    assert [one.outcome for one in found if one is not None][-1] is Outcome.DEAD
