"""Redis as it tells of itself: whether it keeps views whole, and for how long it has room. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from notifier.checks.finding import Finding, fault, ok, warning

FULL_SOON = 0.8
FULL = 0.95
"""Of `maxmemory`, or of the machine's memory where Redis has no bound. A full Redis refuses writes: orders and webhooks wait."""

Info = Mapping[str, object]


def judge_redis(info: Info) -> list[Finding]:
    """A line for each thing that it has to be."""
    return [*_server(info), _policy(info), _persistence(info), _memory(info)]


def _server(info: Info) -> Iterator[Finding]:
    is_valkey = info.get("server_name") == "valkey"
    told = (
        f"Valkey {info.get('valkey_version')}"
        if is_valkey
        else f"Redis {info.get('redis_version', 'of unknown release')}"
    )
    mode = info.get("server_mode", info.get("redis_mode", "standalone"))
    if info.get("role") not in ("master", None):
        yield fault(
            "redis.server", f"{told} is a replica: nothing can be written there", "Set redis.url to the primary."
        )
    elif mode == "cluster":
        yield fault(
            "redis.server",
            f"{told} is a member of a cluster, which redis:// does not follow",
            "Set redis.url to a Redis that stands alone.",
        )
    elif info.get("loading") == 1:
        yield warning("redis.server", f"{told} is still loading its data", "Look again when it has.")
    else:
        yield ok("redis.server", told)


def _policy(info: Info) -> Finding:
    policy, evicted = info.get("maxmemory_policy", "noeviction"), _number(info, "evicted_keys")
    if policy != "noeviction":
        return fault(
            "redis.policy",
            f"maxmemory-policy is {policy}: when it is full it drops orders, and they look as if they had never been",
            "Set `maxmemory-policy noeviction` in redis.conf, or by CONFIG SET.",
        )
    if evicted:
        return warning(
            "redis.policy",
            f"noeviction now, but {evicted} keys were evicted since it started: views may have holes",
            "If nothing else is in it: stop the consumers, FLUSHDB, start them; the views are read again from Kafka.",
        )
    return ok("redis.policy", "noeviction, and nothing was evicted")


def _persistence(info: Info) -> Finding:
    name = "redis.persistence"
    if info.get("aof_enabled") == 1 and info.get("aof_last_write_status", "ok") != "ok":
        return fault(
            name, "its append-only file can't be written, so it refuses writes", "Look at its disk and its log."
        )
    if info.get("rdb_last_bgsave_status", "ok") != "ok":
        return fault(
            name,
            "its last snapshot failed, so it refuses writes (stop-writes-on-bgsave-error)",
            "Look at its disk and its log.",
        )
    if info.get("aof_enabled") == 1:
        return ok(name, "append-only file: after a restart it goes on where it was")
    if _number(info, "rdb_last_save_time") and _number(info, "rdb_saves"):
        return ok(name, "snapshots: after a restart what came since the last one is read again from Kafka")
    return ok(name, "no append-only file: nothing is lost by that, but after a restart all is read again from Kafka")


def _memory(info: Info) -> Finding:
    used, bound = _number(info, "used_memory"), _number(info, "maxmemory")
    whose = "maxmemory"
    if not bound:
        bound, whose = _number(info, "total_system_memory"), "the machine's memory, and no maxmemory"
    if not bound:
        return ok("redis.memory", f"{_size(used)} used, no bound")
    told = f"{_size(used)} used of {_size(bound)} ({whose}), {_size(max(bound - used, 0))} left"
    remedy = "Give it more memory, or a shorter orders.quiet_s: what is quiet for so long shrinks to a pointer."
    if used >= FULL * bound:
        return fault("redis.memory", f"{told}: it refuses writes when it is full", remedy)
    if used >= FULL_SOON * bound:
        return warning("redis.memory", told, remedy)
    return ok("redis.memory", told)


def _number(info: Info, name: str) -> int:
    value = info.get(name, 0)
    return value if isinstance(value, int) else 0


def _size(count: int) -> str:
    for unit, size in (("GB", 1 << 30), ("MB", 1 << 20)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1024:.0f} kB"
