"""Redis in trouble, and Redis that forgets."""

from __future__ import annotations

import asyncio

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from tests.faults.stage import Stage
from tests.waiting import until


async def redis_flushed(stage: Stage) -> None:
    """FLUSHALL, twice: each view is built again from its log."""
    for _ in range(2):
        marks = stage.marks()
        await stage.redis.flushall()
        await stage.one_of_each_said("view.repaired", marks)
        await stage.gone_on()


async def redis_old_copy(stage: Stage) -> None:
    """All keys are put back as they were some while ago, at one moment, as a fail-over to a replica far behind would."""
    names = [name async for name in stage.redis.scan_iter(f"{stage.key_prefix}:*")]
    async with stage.redis.pipeline(transaction=True) as pipe:
        for name in names:
            pipe.dump(name)
        copies = await pipe.execute()
    for _ in range(5):
        await stage.view_moved()
    await stage.gone_on()
    marks = stage.marks()
    async with stage.redis.pipeline(transaction=True) as pipe:
        pipe.flushall()
        for name, copy in zip(names, copies, strict=True):
            if copy is not None:
                pipe.restore(name, 0, copy)
        await pipe.execute()
    await stage.one_of_each_said("view.repaired", marks)


async def redis_down(stage: Stage) -> None:
    """Redis is stopped until all consumers have said so, while the ingress goes on; then started with what it had written."""
    marks = stage.marks()
    await asyncio.to_thread(stage.redis_server.stop)
    for part in stage.consumers:
        await part.said("redis.unavailable", marks[part.name])
    await stage.accepted_more(100)
    await asyncio.to_thread(stage.redis_server.start)
    for part in stage.consumers:
        await part.said("redis.recovered", marks[part.name])


async def redis_full(stage: Stage) -> None:
    """`maxmemory` is reached: every write is refused until it is lifted."""
    marks = stage.marks()
    await stage.redis.config_set("maxmemory", 1)
    await stage.one_of_each_said("redis.unavailable", marks)
    await stage.redis.config_set("maxmemory", 0)
    await stage.one_of_each_said("redis.recovered", marks)


async def redis_readonly(stage: Stage) -> None:
    """It becomes a replica of one that is not there: it answers reads, and refuses writes."""
    marks = stage.marks()
    await stage.redis.replicaof("127.0.0.1", 1)
    await stage.one_of_each_said("redis.unavailable", marks, reason="ReadOnlyError")
    await stage.redis.replicaof("NO", "ONE")
    await stage.one_of_each_said("redis.recovered", marks)


async def redis_busy(stage: Stage) -> None:
    """A script that does not end: all others are refused with BUSY until it is killed."""
    marks = stage.marks()
    await stage.redis.config_set("busy-reply-threshold", 50)
    hanging = Redis.from_url(f"redis://{stage.redis_server.address}/0", socket_timeout=None)
    try:
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(_run_for_ever(hanging))
            await stage.one_of_each_said("redis.unavailable", marks, reason="BUSY")
            await stage.redis.script_kill()
            await running
    finally:
        await hanging.aclose()
    await stage.one_of_each_said("redis.recovered", marks)


async def _run_for_ever(redis: Redis) -> None:
    try:
        await redis.eval("while true do end", 0)
    except ResponseError as error:
        if "killed" not in str(error):
            raise


async def script_cache_lost(stage: Stage) -> None:
    """The server forgets all scripts, ten times, each time between two moves of a view."""
    for _ in range(10):
        await stage.redis.script_flush()
        before = await stage.positions(stage.topics.orders)

        async def has_moved(before: list[int] = before) -> bool:
            return await stage.positions(stage.topics.orders) != before

        await until(has_moved, 60.0, "the view of orders moves without its script")
