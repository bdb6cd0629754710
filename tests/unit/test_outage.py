"""An outage is said once when it begins, once more when it lasts, and once when it is over."""

from __future__ import annotations

import asyncio
import io
import json
from functools import partial
from typing import Any

import pytest

from notifier import logs, metrics, outage
from notifier.errors import Unavailable
from notifier.outage import Outages


@pytest.fixture
def said() -> Any:
    written = io.BytesIO()
    logs.configure(service="orders", instance="test", out=written)
    return lambda: [(one["event"], one["level"]) for one in map(json.loads, written.getvalue().splitlines())]


async def test_many_that_meet_it_at_once_say_it_once(said: Any) -> None:
    outages = Outages(sleep=lambda _: asyncio.sleep(0))
    tries = {"left": 30}

    async def work() -> str:
        if tries["left"]:
            tries["left"] -= 1
            raise Unavailable("kafka", "kafka_timeout")
        return "done"

    assert await asyncio.gather(*(outages.ride_out(work) for _ in range(8))) == ["done"] * 8
    assert said() == [("kafka.unavailable", "warning"), ("kafka.recovered", "info")]
    assert outages.current == frozenset()


async def test_one_that_lasts_is_said_again_as_an_error(said: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outage, "LASTS_S", 0.0)
    outages = Outages()

    for _ in range(5):
        outages.begin(Unavailable("redis", "ConnectionError"))

    assert said() == [("redis.unavailable", "warning"), ("redis.unavailable", "error")]


async def test_it_says_where_it_was_looked_for() -> None:
    """Whoever is called at night has the log alone, and several clusters."""
    written = io.BytesIO()
    logs.configure(service="orders", instance="test", out=written)
    outages = Outages(kafka="k1:9092,k2:9092", redis="cache:6379")

    outages.begin(Unavailable("kafka", "no broker answers"))
    outages.begin(Unavailable("redis", "ConnectionError"))

    kafka, redis = map(json.loads, written.getvalue().splitlines())
    assert (kafka["servers"], redis["server"]) == ("k1:9092,k2:9092", "cache:6379")


@pytest.mark.parametrize(
    ("why", "told"),
    [
        pytest.param("KafkaConnectionError", "no_answer", id="a connection was refused"),
        pytest.param("TimeoutError", "no_answer", id="our deadline"),
        pytest.param("kafka_timeout", "no_answer", id="an append's"),
        pytest.param("no broker answers", "no_answer", id="the ingress asks now and then"),
        pytest.param("commit: KafkaConnectionError", "no_answer", id="whatever was being done"),
        pytest.param("fetch: TopicAuthorizationFailedError", "fetch: TopicAuthorizationFailedError", id="it says no"),
        pytest.param("there is no topic t.inbox.v1", "there is no topic t.inbox.v1", id="in words"),
    ],
)
async def test_a_server_that_is_down_is_told_in_one_way_by_all(why: str, told: str) -> None:
    """One broker was killed, and three processes said three things of it."""
    written = io.BytesIO()
    logs.configure(service="orders", instance="test", out=written)

    Outages().begin(Unavailable("kafka", why))

    assert json.loads(written.getvalue())["reason"] == told


async def test_any_other_error_is_not_ridden_out() -> None:
    async def work() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await Outages().ride_out(work)


async def test_one_whose_observers_were_cancelled_does_not_go_on_for_ever(said: Any) -> None:
    """A partition that waited for it was taken away: the process said for ever after that it was not well."""
    outages = Outages()

    async def work() -> None:
        raise Unavailable("redis", "ConnectionError")

    waiting = asyncio.get_running_loop().create_task(outages.ride_out(work))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert outages.current == {"redis"}

    waiting.cancel()
    await asyncio.wait([waiting])

    assert outages.current == frozenset()


async def test_it_is_over_when_the_last_who_waits_is_through(said: Any) -> None:
    """A broker answers before its coordinator does: it was said to be back, and away again, and back."""
    outages = Outages(sleep=lambda _: asyncio.sleep(0))
    is_there = {"broker": False, "coordinator": False}

    async def ask(what: str) -> None:
        if not is_there[what]:
            raise Unavailable("kafka", what)

    async with asyncio.TaskGroup() as tasks:
        asking = [tasks.create_task(outages.ride_out(partial(ask, what))) for what in is_there]
        await asyncio.sleep(0)
        is_there["broker"] = True
        await asyncio.wait({asking[0]})
        outages.end("kafka")  # as somebody would whom it has just answered
        assert outages.current == {"kafka"}
        is_there["coordinator"] = True

    assert said() == [("kafka.unavailable", "warning"), ("kafka.recovered", "info")]
    assert outages.current == frozenset()


async def test_the_metrics_say_it_while_it_goes_on() -> None:
    outages = Outages()
    away = metrics.UNAVAILABLE.of("redis")

    outages.begin(Unavailable("redis", "refused"))
    during = away._value.get()
    outages.end("redis")

    assert (during, away._value.get()) == (1, 0)


async def test_the_metrics_forget_what_nobody_waits_for_any_more() -> None:
    """Whoever met it was cancelled: its end would be noticed by nobody."""
    outages = Outages(sleep=lambda _: asyncio.Event().wait())  # type: ignore[arg-type, return-value]  # it never returns

    async def work() -> None:
        raise Unavailable("redis", "refused")

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await outages.ride_out(work)

    assert metrics.UNAVAILABLE.of("redis")._value.get() == 0
