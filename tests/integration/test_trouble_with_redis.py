"""
Redis in trouble: the job pauses, says so once, and goes on by itself; no record is skipped, none is applied on a guess.

What is wrong with Redis here is really wrong with it. What the job did is looked at in the orders log and at the merchant's.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import cast

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from notifier.local import Server, Services
from tests.troubled import TYPES, Troubled

Fault = Callable[[Redis, Server], AbstractAsyncContextManager[None]]


@pytest.fixture
def server(own_services: Services) -> Server:
    """The Redis of this installation."""
    assert own_services.redis is not None
    return own_services.redis


@pytest.fixture
async def redis(own_services: Services) -> AsyncIterator[Redis]:
    """A line to it for the test itself."""
    redis = Redis.from_url(own_services.addresses.redis_url)
    yield redis
    await redis.aclose()


@asynccontextmanager
async def down(_: Redis, server: Server) -> AsyncIterator[None]:
    """Ended in order; back with all that it had."""
    server.stop()
    yield
    await asyncio.to_thread(server.start)


@asynccontextmanager
async def killed(_: Redis, server: Server) -> AsyncIterator[None]:
    """As by a power cut; back without its last second, or with it."""
    server.kill()
    yield
    await asyncio.to_thread(server.start)


@asynccontextmanager
async def hung(_: Redis, server: Server) -> AsyncIterator[None]:
    """It takes connections and says nothing."""
    os.kill(server.pid, signal.SIGSTOP)
    yield
    os.kill(server.pid, signal.SIGCONT)


@asynccontextmanager
async def full(redis: Redis, _: Server) -> AsyncIterator[None]:
    """It can be read, and refuses to take more."""
    await redis.config_set("maxmemory", "1mb")
    yield
    await redis.config_set("maxmemory", "0")


@asynccontextmanager
async def read_only(redis: Redis, _: Server) -> AsyncIterator[None]:
    """It became the replica of another that is not there, and serves what it has."""
    await redis.config_set("replica-serve-stale-data", "yes")
    await redis.replicaof("127.0.0.1", "1")
    yield
    await redis.replicaof("NO", "ONE")


@asynccontextmanager
async def cut_off_replica(redis: Redis, _: Server) -> AsyncIterator[None]:
    """The same, and it answers nobody while its link is down."""
    await redis.config_set("replica-serve-stale-data", "no")
    await redis.replicaof("127.0.0.1", "1")
    yield
    await redis.replicaof("NO", "ONE")
    await redis.config_set("replica-serve-stale-data", "yes")


@asynccontextmanager
async def without_replicas(redis: Redis, _: Server) -> AsyncIterator[None]:
    """It has to have a replica before it takes anything, and has none."""
    await redis.config_set("min-replicas-to-write", "1")
    yield
    await redis.config_set("min-replicas-to-write", "0")


@asynccontextmanager
async def locked(redis: Redis, _: Server) -> AsyncIterator[None]:
    """Its password was changed."""
    await redis.config_set("requirepass", "another")
    await redis.client_kill_filter(_type="normal", skipme=True)
    yield
    await redis.auth("another")
    await redis.config_set("requirepass", "")


@asynccontextmanager
async def forbidden(redis: Redis, _: Server) -> AsyncIterator[None]:
    """An administrator took a command away from us."""
    await redis.acl_setuser("default", enabled=True, commands=["-evalsha", "-hmget"])
    yield
    await redis.acl_setuser("default", enabled=True, commands=["+evalsha", "+hmget"])


@asynccontextmanager
async def crowded(redis: Redis, _: Server) -> AsyncIterator[None]:
    """Others have taken all its connections."""
    await redis.config_set("maxclients", "1")
    await redis.client_kill_filter(_type="normal", skipme=True)
    yield
    await redis.config_set("maxclients", "1000")


@asynccontextmanager
async def busy(redis: Redis, _: Server) -> AsyncIterator[None]:
    """Somebody's script does not end."""
    await redis.config_set("busy-reply-threshold", "10")
    other = Redis.from_pool(redis.connection_pool)

    async def never_end() -> None:
        with suppress(RedisError):  # it is killed
            await cast("Awaitable[None]", other.eval("while true do end", 0))

    running = asyncio.get_running_loop().create_task(never_end())
    yield
    await redis.script_kill()
    await running


@pytest.mark.parametrize(
    "fault",
    [
        down,
        killed,
        hung,
        full,
        read_only,
        cut_off_replica,
        without_replicas,
        locked,
        forbidden,
        crowded,
        busy,
    ],
    ids=lambda fault: fault.__name__,
)
async def test_orders_pause_say_so_once_and_go_on_by_themselves(
    troubled: Troubled, redis: Redis, server: Server, fault: Fault
) -> None:
    """What lay there before, what comes meanwhile and what comes after: each piece of evidence has had its effect, once."""
    async with troubled.job("orders"):
        await troubled.put("before")
        await troubled.until_folded("before")
        async with fault(redis, server):
            await troubled.put("meanwhile", "too")
            await troubled.until_said("redis.unavailable")
            assert set(await troubled.events()) <= {"before", "meanwhile", "too"}
        await troubled.until_said("redis.recovered")
        await troubled.put("after")
        await troubled.until_folded("before", "meanwhile", "too", "after")

    await nothing_is_missing_or_invented(troubled, "before", "meanwhile", "too", "after")
    assert [line["event"] for line in troubled.said("redis.unavailable", "redis.recovered")] == [
        "redis.unavailable",
        "redis.recovered",
    ]
    assert troubled.said("service.failed", "partition.stuck", "evidence.failed") == []


async def test_scripts_that_are_lost_are_loaded_again(troubled: Troubled, redis: Redis) -> None:
    """As after a fail-over: that is no outage."""
    async with troubled.job("orders"):
        await troubled.put("before")
        await troubled.until_folded("before")
        await redis.script_flush()
        await troubled.put("after")
        await troubled.until_folded("before", "after")

    await nothing_is_missing_or_invented(troubled, "before", "after")
    assert troubled.said("redis.unavailable", "service.failed") == []


async def test_fanout_pauses_with_attempts_in_flight_and_tells_each_event_in_order(
    troubled: Troubled, redis: Redis, server: Server
) -> None:
    """What a merchant accepted while Redis was away is recorded when it is back; what comes after it was not told before it."""
    async with troubled.job("orders"):
        await troubled.put("T1", "T2")
        await troubled.until_folded("T1", "T2")
    async with troubled.job("fanout"):
        await troubled.until(lambda: troubled.merchant.asked == 2)
        async with killed(redis, server):
            troubled.merchant.gate.set()
            await troubled.until_said("redis.unavailable")
            assert {version for _, version, _ in troubled.merchant.told} <= {1}
        await troubled.until(lambda: len({webhook_id for *_, webhook_id in troubled.merchant.told}) == 6)
        await troubled.until_said("redis.recovered")

    for order in ("T1", "T2"):
        versions = [version for told, version, _ in troubled.merchant.told if told == order]
        assert list(dict.fromkeys(versions)) == [1, 2, 3]
    assert await troubled.uncommitted("fanout") == 0
    assert len(troubled.said("redis.unavailable")) == len(troubled.said("redis.recovered")) == 1


async def nothing_is_missing_or_invented(troubled: Troubled, *orders: str) -> None:
    """Each order has had its three events in their order, one content each, and all its evidence counts as done."""
    found = await troubled.events()
    assert set(found) == set(orders)
    for order, events in found.items():
        assert [kind for kind, _ in dict.fromkeys(events)] == list(TYPES), order
    assert await troubled.uncommitted("orders") == 0
