"""
Views in Redis (`notifier.ports.ViewStore`): the one place where redis-py's types are seen.

A view is one hash: a field per key, and the position in a field of its own, so that one HMGET reads both at one moment. With it
go sorted sets, one per group: what is due when. All names of a partition share a hash tag with the log's topic in it: they
lie in one slot, and no old copy of Redis meets a topic that was made anew under another name. Nothing expires by itself.

What has been quiet for long leaves the hash for one of many small ones, which Redis packs tightly: twelve bytes of pointer
instead of the record. Keys are spread over them by their checksum.
"""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast
from zlib import crc32

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
)
from redis.exceptions import (
    MasterDownError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import (
    TimeoutError as RedisTimeoutError,
)

from notifier.errors import Unavailable
from notifier.ports import DueChange, DueGroup, Kept, Pointer, ViewRead

_POSITION = (
    b".position"  # no key of ours begins so: names of channels and endpoints are [a-z0-9-], the rest has a tilde
)
_RESTED = b".rested"

_SMALL_HASHES = 4_096
"""For each partition. With a million orders in 24 partitions each holds ten, far below what Redis packs (128)."""

_SWEPT_AT_ONCE = 64

_OFFSET = struct.Struct(">Q")
_POINTER = struct.Struct(">QI")
_MSGPACK = struct.Struct(">BI")

_MOVE = """
-- Move a view, only if it is still where it was read. Arguments: the expected position ('' for none), the new one, then two
-- lists: key and value of each entry; for each change of a due index the number of its key in KEYS, the member, and the score
-- ('' takes it out).
local position = redis.call('HGET', KEYS[1], '.position') or ''
if position ~= ARGV[1] then return 0 end
local entries, due = cmsgpack.unpack(ARGV[3]), cmsgpack.unpack(ARGV[4])
for first = 1, #entries, 1000 do
  redis.call('HSET', KEYS[1], unpack(entries, first, math.min(first + 999, #entries)))
end
for group = 4, #KEYS do redis.call('SADD', KEYS[3], KEYS[group]) end
for at = 1, #due, 3 do
  local index = KEYS[tonumber(due[at])]
  if due[at + 2] == '' then redis.call('ZREM', index, due[at + 1])
  else redis.call('ZADD', index, due[at + 2], due[at + 1]) end
end
redis.call('HSET', KEYS[1], '.position', ARGV[2])
return 1
"""


_READ_RESTING = """
-- Look among the small hashes. Arguments: the small hash and the key, for each. The position comes first.
local found = {redis.call('HGET', KEYS[1], '.position')}
for at = 1, #ARGV, 2 do found[#found + 1] = redis.call('HGET', ARGV[at], ARGV[at + 1]) end
return found
"""

_REST = """
-- Keep only a pointer. Arguments: how far this has come, then small hash, key, offset and pointer of each; an entry that has
-- moved on to another offset stays. Of a view that was lost meanwhile there is nothing to note.
if redis.call('HEXISTS', KEYS[1], '.position') == 0 then return end
for at = 2, #ARGV, 4 do
  local kept = redis.call('HGET', KEYS[1], ARGV[at + 1])
  if kept and string.sub(kept, 1, 8) == ARGV[at + 2] then
    redis.call('HSET', ARGV[at], ARGV[at + 1], ARGV[at + 3])
    redis.call('SADD', KEYS[2], ARGV[at])
    redis.call('HDEL', KEYS[1], ARGV[at + 1])
  end
end
redis.call('HSET', KEYS[1], '.rested', ARGV[1])
"""

_DROP = """
-- Take out of these small hashes what points below an offset.
for _, small in ipairs(KEYS) do
  local pairs_ = redis.call('HGETALL', small)
  for at = 1, #pairs_, 2 do
    if string.sub(pairs_[at + 1], 1, 8) < ARGV[1] then redis.call('HDEL', small, pairs_[at]) end
  end
end
"""

_DUE_GROUPS = """
-- What the due indexes hold: name, count and lowest score of each that is not empty. Those that are leave the list of names.
local found = {}
for _, index in ipairs(redis.call('SMEMBERS', KEYS[3])) do
  local first = redis.call('ZRANGE', index, 0, 0, 'WITHSCORES')
  if first[2] then
    found[#found + 1] = index
    found[#found + 1] = redis.call('ZCARD', index)
    found[#found + 1] = first[2]
  else
    redis.call('SREM', KEYS[3], index)
  end
end
return found
"""

_FORGET = """
-- Throw a view away, with every small hash and due index that it ever had.
for names = 2, 3 do
  for _, name in ipairs(redis.call('SMEMBERS', KEYS[names])) do redis.call('UNLINK', name) end
end
redis.call('UNLINK', unpack(KEYS))
"""


UNTRUSTED = "CertificateNotTrusted"
"""Why Redis is not talked to, where nobody that is known has signed its certificate, or it is another host's."""


def _is_untrusted(error: BaseException) -> bool:
    """Whether it was raised while a certificate was refused."""
    told: BaseException | None = error
    while told is not None:
        if isinstance(told, ssl.SSLCertVerificationError):
            return True
        told = told.__cause__ or told.__context__
    return False


class WrongPolicyError(Exception):
    """Redis may drop keys by itself: an order that is gone would look like one that was never seen."""


class RedisViews:
    """
    Keeps views in one Redis.

    Args:
        ca_file: who vouches for a `rediss://` beside the public authorities.
        timeout_s: of each command, connecting included.
    """

    def __init__(
        self,
        url: str,
        *,
        key_prefix: str,
        ca_file: Path | None = None,
        timeout_s: float = 5.0,
        connections_max: int = 32,
    ) -> None:
        self._prefix = key_prefix
        self._timeout_s = timeout_s
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=connections_max,
            timeout=timeout_s,
            # the deadline is ours: redis-py's is an `asyncio.wait_for`, which before Python 3.12 keeps a cancellation for itself
            # that comes when the command has just been written
            socket_timeout=None,
            socket_connect_timeout=timeout_s,
            # our own loop tries again; a hidden repetition only hides how long Redis was away
            retry=Retry(NoBackoff(), 0),
            **({} if ca_file is None else {"ssl_ca_certs": str(ca_file)}),
        )
        self._redis: Redis = Redis.from_pool(pool)
        self._move = self._redis.register_script(_MOVE)
        self._read_resting = self._redis.register_script(_READ_RESTING)
        self._rest = self._redis.register_script(_REST)
        self._drop = self._redis.register_script(_DROP)
        self._due_groups = self._redis.register_script(_DUE_GROUPS)
        self._forget = self._redis.register_script(_FORGET)
        self._swept: dict[tuple[str, int], int] = {}

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
        async with self._answering():
            memory = await self._redis.info("memory")
        policy = memory.get("maxmemory_policy", "noeviction")
        if policy != "noeviction":
            raise WrongPolicyError(
                f"Redis has maxmemory-policy {policy} and would drop orders silently when it is full."
                " Set `maxmemory-policy noeviction` in redis.conf (or CONFIG SET it) and start again."
            )

    async def info(self) -> Mapping[str, object]:
        """
        What Redis tells of itself (INFO).

        Raises:
            Unavailable: no answer, or it does not let us ask.
        """
        return cast("Mapping[str, object]", await self._asked(self._redis.info()))

    async def time_ms(self) -> int:
        """
        Redis' clock, in Unix milliseconds.

        Raises:
            Unavailable: no answer, or it does not let us ask.
        """
        seconds, microseconds = cast("tuple[int, int]", await self._asked(self._redis.time()))
        return seconds * 1000 + microseconds // 1000

    async def _asked(self, answer: Awaitable[object]) -> object:
        try:
            async with self._answering():
                return await answer
        except ResponseError as error:  # NoPermissionError and its like
            raise Unavailable("redis", type(error).__name__) from error

    async def read(self, topic: str, partition: int, keys: Sequence[bytes]) -> ViewRead:
        """
        The entries of these keys with the view's position, in one atomic step.

        Where some are not in the view itself, the small hashes are asked in a second step, which counts only if the view has not
        moved between the two.
        """
        view = self._view(topic, partition)
        while True:
            async with self._answering():
                found = await self._redis.hmget(view[0], [_POSITION, _RESTED, *keys])
            position, rested, *packed = cast("list[bytes | None]", found)  # the connection decodes nothing
            entries: list[Kept | Pointer | None] = [_kept(one) if one is not None else None for one in packed]
            missing = [at for at, entry in enumerate(entries) if entry is None] if rested is not None else []
            if missing:
                where = [name for at in missing for name in (self._small(topic, partition, keys[at]), keys[at])]
                async with self._answering():
                    position_then, *resting = await self._read_resting(keys=view, args=where)
                if position_then != position:
                    continue
                for at, pointer in zip(missing, resting, strict=True):
                    entries[at] = Pointer(*_POINTER.unpack(pointer)) if pointer is not None else None
            return ViewRead(int(position) if position is not None else None, entries)

    async def write(
        self,
        topic: str,
        partition: int,
        *,
        expected: int | None,
        position: int,
        entries: Mapping[bytes, Kept],
        due: Sequence[DueChange],
    ) -> bool:
        """Move the view, in one atomic step, and only if its position is still the expected one; whether it was."""
        groups = {group: number for number, group in enumerate(dict.fromkeys(change.group for change in due), start=4)}
        keys = [*self._view(topic, partition), *(self._due(topic, partition, group) for group in groups)]
        flat = [one for key, kept in entries.items() for one in (key, _OFFSET.pack(kept.offset) + kept.body)]
        changes = [
            one
            for change in due
            for one in (
                b"%d" % groups[change.group],
                change.key,
                b"" if change.due_ms is None else b"%d" % change.due_ms,
            )
        ]
        arguments = ["" if expected is None else expected, position, _list(flat), _list(changes)]
        async with self._answering():
            return bool(await self._move(keys=keys, args=arguments))

    async def due(
        self, topic: str, partition: int, group: str, *, until_ms: int | None, limit: int, from_ms: int = 0
    ) -> list[tuple[bytes, int]]:
        """The keys of a group that are due from one time to another (None: at any time) and when, the longest due first."""
        until = "+inf" if until_ms is None else until_ms
        async with self._answering():
            found = await self._redis.zrangebyscore(
                self._due(topic, partition, group), from_ms, until, start=0, num=limit, withscores=True
            )
        return [(key, int(due_ms)) for key, due_ms in cast("list[tuple[bytes, float]]", found)]

    async def due_groups(self, topic: str, partition: int) -> list[DueGroup]:
        """What the due index holds, group by group; none that is empty."""
        prefix = self._due(topic, partition, "")
        async with self._answering():
            found = await self._due_groups(keys=self._view(topic, partition))
        each = iter(cast("list[bytes | int]", found))
        return [
            DueGroup(cast("bytes", name).decode().removeprefix(prefix), int(count), int(float(first)))
            for name, count, first in zip(each, each, each, strict=True)
        ]

    async def rested_upto(self, topic: str, partition: int) -> int:
        """The offset below which every record was offered to `rest`."""
        async with self._answering():
            rested = await self._redis.hget(self._name(topic, partition, "view"), _RESTED.decode())
        return int(rested) if rested is not None else 0

    async def rest(self, topic: str, partition: int, pointers: Mapping[bytes, Pointer], *, upto: int) -> None:
        """Keep only a pointer of each key whose latest record still lies at the pointer's offset; note how far this has come."""
        arguments: list[bytes | str | int] = [upto]
        for key, pointer in pointers.items():
            arguments += (
                self._small(topic, partition, key),
                key,
                _OFFSET.pack(pointer.offset),
                _POINTER.pack(*pointer),
            )
        async with self._answering():
            await self._rest(keys=self._view(topic, partition), args=arguments)

    async def drop_below(self, topic: str, partition: int, start: int) -> None:
        """Take out some pointers to what lies below an offset; called again and again, in the end all of them."""
        swept = self._swept.get((topic, partition), 0)
        numbers = [(swept + step) % _SMALL_HASHES for step in range(_SWEPT_AT_ONCE)]
        self._swept[topic, partition] = (swept + _SWEPT_AT_ONCE) % _SMALL_HASHES
        names = [self._name(topic, partition, f"resting:{number}") for number in numbers]
        async with self._answering():
            await self._drop(keys=names, args=[_OFFSET.pack(start)])

    async def forget(self, topic: str, partition: int) -> None:
        """Throw the view away."""
        async with self._answering():
            await self._forget(keys=self._view(topic, partition))

    @asynccontextmanager
    async def _answering(self) -> AsyncIterator[None]:
        """
        What time will mend is Unavailable; any other answer of Redis is a mistake of ours and stays what it is.

        Where a connection was cut, those at rest go too: mostly they were cut with it, and each would fail anew, long after Redis
        answers again.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                yield
        except (
            TimeoutError,
            RedisConnectionError,
            RedisTimeoutError,
            ReadOnlyError,
            OutOfMemoryError,
            MasterDownError,
            TryAgainError,
            NoScriptError,  # it was loaded a moment ago: somebody flushes the scripts, or Redis is failing over
            NoPermissionError,  # a person's to mend, and who is told of it by the outage's lines; nothing of ours is wrong
        ) as error:
            if isinstance(error, RedisConnectionError):
                await self._redis.connection_pool.disconnect(inuse_connections=False)
            raise Unavailable("redis", UNTRUSTED if _is_untrusted(error) else type(error).__name__) from error
        except ResponseError as error:
            # ACL: a script of ours does what this user may not, which is told otherwise than a command's NOPERM
            if str(error).startswith(
                ("MISCONF", "NOREPLICAS", "CLUSTERDOWN", "LOADING", "BUSY", "OOM", "READONLY", "ACL")
            ):
                raise Unavailable("redis", str(error).split(maxsplit=1)[0]) from error
            raise

    def _name(self, topic: str, partition: int, what: str) -> str:
        return f"{self._prefix}:{{{topic}:{partition}}}:{what}"

    def _view(self, topic: str, partition: int) -> list[str]:
        """The view itself, and the names of its small hashes and of its due indexes."""
        return [self._name(topic, partition, what) for what in ("view", "small", "dues")]

    def _small(self, topic: str, partition: int, key: bytes) -> str:
        return self._name(topic, partition, f"resting:{crc32(key) % _SMALL_HASHES}")

    def _due(self, topic: str, partition: int, group: str) -> str:
        return self._name(topic, partition, f"due:{group}")


def _list(texts: Sequence[bytes]) -> bytes:
    """
    A list as one argument of a script, because redis-py spends microseconds on each argument of a command.

    MessagePack, as Redis' cmsgpack reads it: it knows no `bin`, so each is a `str` (32 bits of length), and so is the array's.
    """
    pack = _MSGPACK.pack
    return pack(0xDD, len(texts)) + b"".join([pack(0xDB, len(text)) + text for text in texts])


def _kept(packed: bytes) -> Kept:
    return Kept(_OFFSET.unpack_from(packed)[0], packed[_OFFSET.size :])
