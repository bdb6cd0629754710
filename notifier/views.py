"""
Views in Redis (`notifier.ports.ViewStore`): the one place where redis-py's types are seen.

A view is one hash: a field per key, and the position in a field of its own, so that one HMGET reads both at one moment. With it
go sorted sets, one per group: what is due when. All names of a partition share a hash tag with the log's topic in it: they
lie in one slot, and no old copy of Redis meets a topic that was made anew under another name. Nothing expires by itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import chain
from typing import cast

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
)
from redis.exceptions import (
    MasterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import (
    TimeoutError as RedisTimeoutError,
)

from notifier.errors import Unavailable
from notifier.ports import DueChange, ViewRead

_POSITION = b"~position"  # no key of ours begins with it: channel and endpoint names are [a-z0-9-]

_MOVE = """
-- Move a view, only if it is still where it was read. Arguments: the expected position ('' for none), the new one, how many
-- entries, then key and value of each, then for each change of a due index: the number of its key in KEYS, the member, the score
-- ('' takes it out).
local position = redis.call('HGET', KEYS[1], '~position') or ''
if position ~= ARGV[1] then return 0 end
local last = 3 + 2 * tonumber(ARGV[3])
for first = 4, last, 1000 do
  redis.call('HSET', KEYS[1], unpack(ARGV, first, math.min(first + 999, last)))
end
for group = 3, #KEYS do redis.call('SADD', KEYS[2], KEYS[group]) end
for at = last + 1, #ARGV, 3 do
  local index = KEYS[tonumber(ARGV[at])]
  if ARGV[at + 2] == '' then redis.call('ZREM', index, ARGV[at + 1])
  else redis.call('ZADD', index, ARGV[at + 2], ARGV[at + 1]) end
end
redis.call('HSET', KEYS[1], '~position', ARGV[2])
return 1
"""


_FORGET = """
-- Throw a view away, with every due index that it ever had.
for _, index in ipairs(redis.call('SMEMBERS', KEYS[2])) do redis.call('UNLINK', index) end
redis.call('UNLINK', KEYS[1], KEYS[2])
"""


class WrongPolicyError(Exception):
    """Redis may drop keys by itself: an order that is gone would look like one that was never seen."""


class RedisViews:
    """
    Keeps views in one Redis.

    Args:
        timeout_s: of each command, connecting included.
    """

    def __init__(self, url: str, *, key_prefix: str, timeout_s: float = 5.0, connections_max: int = 32) -> None:
        self._prefix = key_prefix
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=connections_max,
            timeout=timeout_s,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            # our own loop tries again; a hidden repetition only hides how long Redis was away
            retry=Retry(NoBackoff(), 0),
        )
        self._redis: Redis = Redis.from_pool(pool)
        self._move = self._redis.register_script(_MOVE)
        self._forget = self._redis.register_script(_FORGET)

    async def close(self) -> None:
        """Close all connections."""
        await self._redis.aclose()

    async def check(self) -> None:
        """
        Refuse a Redis that would lose parts of a view.

        Raises:
            WrongPolicyError: `maxmemory-policy` is not `noeviction`.
            Unavailable: no answer.
        """
        async with _answering():
            memory = await self._redis.info("memory")
        policy = memory.get("maxmemory_policy", "noeviction")
        if policy != "noeviction":
            raise WrongPolicyError(
                f"Redis has maxmemory-policy {policy} and would drop orders silently when it is full."
                " Set `maxmemory-policy noeviction` in redis.conf (or CONFIG SET it) and start again."
            )

    async def read(self, topic: str, partition: int, keys: Sequence[bytes]) -> ViewRead:
        """The entries of these keys with the view's position, in one atomic step."""
        async with _answering():
            found = await self._redis.hmget(self._name(topic, partition, "view"), [_POSITION, *keys])
        position, *entries = cast("list[bytes | None]", found)  # the connection decodes nothing
        return ViewRead(int(position) if position is not None else None, entries)

    async def write(
        self,
        topic: str,
        partition: int,
        *,
        expected: int | None,
        position: int,
        entries: Mapping[bytes, bytes],
        due: Sequence[DueChange],
    ) -> bool:
        """Move the view, in one atomic step, and only if its position is still the expected one; whether it was."""
        groups = {group: number for number, group in enumerate(dict.fromkeys(change.group for change in due), start=3)}
        keys = [*self._view(topic, partition), *(self._due(topic, partition, group) for group in groups)]
        arguments: list[bytes | str | int] = [
            "" if expected is None else expected,
            position,
            len(entries),
            *chain.from_iterable(entries.items()),
        ]
        for change in due:
            arguments += (groups[change.group], change.key, "" if change.due_ms is None else change.due_ms)
        async with _answering():
            return bool(await self._move(keys=keys, args=arguments))

    async def due(
        self, topic: str, partition: int, group: str, *, until_ms: int | None, limit: int
    ) -> list[tuple[bytes, int]]:
        """The keys of a group that are due by a time (None: at any time) and when, the longest due first."""
        until = "+inf" if until_ms is None else until_ms
        async with _answering():
            found = await self._redis.zrangebyscore(
                self._due(topic, partition, group), "-inf", until, start=0, num=limit, withscores=True
            )
        return [(key, int(due_ms)) for key, due_ms in cast("list[tuple[bytes, float]]", found)]

    async def waiting(self, topic: str, partition: int, group: str) -> int:
        """How many keys of a group are in the due index."""
        async with _answering():
            return int(await self._redis.zcard(self._due(topic, partition, group)))

    async def forget(self, topic: str, partition: int) -> None:
        """Throw the view away."""
        async with _answering():
            await self._forget(keys=self._view(topic, partition))

    def _name(self, topic: str, partition: int, what: str) -> str:
        return f"{self._prefix}:{{{topic}:{partition}}}:{what}"

    def _view(self, topic: str, partition: int) -> list[str]:
        """The view itself, and the names of its due indexes."""
        return [self._name(topic, partition, "view"), self._name(topic, partition, "indexes")]

    def _due(self, topic: str, partition: int, group: str) -> str:
        return self._name(topic, partition, f"due:{group}")


@asynccontextmanager
async def _answering() -> AsyncIterator[None]:
    """What time will mend is Unavailable; any other answer of Redis is a mistake of ours and stays what it is."""
    try:
        yield
    except (
        RedisConnectionError,
        RedisTimeoutError,
        ReadOnlyError,
        OutOfMemoryError,
        MasterDownError,
        TryAgainError,
    ) as error:
        raise Unavailable("redis", type(error).__name__) from error
    except ResponseError as error:
        if str(error).startswith(("MISCONF", "NOREPLICAS", "CLUSTERDOWN", "LOADING", "BUSY", "OOM", "READONLY")):
            raise Unavailable("redis", str(error).split(maxsplit=1)[0]) from error
        raise
