"""Clients that do not start or end as they are told to (`notifier.kafka.ending`)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress

import pytest
from aiokafka.errors import KafkaConnectionError

from notifier.kafka import ending
from notifier.kafka.ending import ended, started

WITHIN_S = 5.0


@pytest.fixture(autouse=True)
def little_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds that a test can wait for."""
    monkeypatch.setattr(ending, "END_S", 0.05)
    monkeypatch.setattr(ending, "FINISH_START_S", 0.5)


class Client:
    """Starts when it may; what it opens meanwhile is only known to it once it has started, as with aiokafka's bootstrap."""

    def __init__(self) -> None:
        self.may_start = asyncio.Event()
        self.is_asked = asyncio.Event()
        self.opened = 0
        self.known = 0

    async def start(self) -> None:
        self.is_asked.set()
        self.opened += 1
        await self.may_start.wait()
        self.known += 1

    async def stop(self) -> None:
        self.opened -= self.known
        self.known = 0


async def keeps_cancellations(gate: asyncio.Event) -> None:
    """Waits for the gate, whoever cancels it: aiokafka's fetcher does so while it waits for a task of its own."""
    while not gate.is_set():
        with suppress(asyncio.CancelledError):
            await gate.wait()


async def lets_one_out() -> None:
    """A cancellation of a task of its own."""
    raise asyncio.CancelledError


async def fails() -> None:
    raise KafkaConnectionError


@pytest.mark.parametrize(
    "stop", [pytest.param(lets_one_out, id="a cancellation of its own"), pytest.param(fails, id="no broker")]
)
async def test_however_a_client_ends_who_waits_goes_on(stop: Callable[[], Coroutine[None, None, None]]) -> None:
    """It is ended to be rid of it."""
    await ended(stop())


async def test_a_client_that_does_not_end_is_waited_for_within_a_bound() -> None:
    """Nor does it help to cancel it."""
    gate = asyncio.Event()
    async with asyncio.timeout(WITHIN_S):
        await ended(keeps_cancellations(gate))
    gate.set()


async def test_who_is_cancelled_while_a_client_ends_hears_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A reader's client was being ended after an error when its partition was taken away: aiokafka kept the cancellation for itself,
    and who was to end rode out the error instead, for ever; a task group cancels only once.
    """
    monkeypatch.setattr(ending, "END_S", WITHIN_S)
    gate, is_ending = asyncio.Event(), asyncio.Event()

    async def end() -> None:
        is_ending.set()
        await keeps_cancellations(gate)

    async def read() -> None:
        await ended(end())
        raise AssertionError("it went on")

    async with asyncio.timeout(WITHIN_S), asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(read())
        await is_ending.wait()
        reading.cancel()

    assert reading.cancelled()
    gate.set()


async def test_of_a_start_for_which_nobody_waits_any_more_nothing_is_left() -> None:
    """In a storm of rebalances each start that was cut off left a connection behind that nobody could close."""
    client = Client()
    async with asyncio.timeout(WITHIN_S), asyncio.TaskGroup() as tasks:
        starting = tasks.create_task(started(client.start(), client.stop))
        await client.is_asked.wait()
        starting.cancel()
        client.may_start.set()

    assert starting.cancelled()
    assert client.opened == 0


async def test_a_start_that_does_not_come_to_its_end_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """An append has its own deadline, whatever becomes of the connection."""
    monkeypatch.setattr(ending, "FINISH_START_S", 0.05)
    client = Client()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await started(client.start(), client.stop)


async def test_a_start_that_fails_says_so() -> None:
    """And is ended."""
    client = Client()
    client.opened = client.known = 1
    with pytest.raises(KafkaConnectionError):
        await started(fails(), client.stop)

    assert client.opened == 0
