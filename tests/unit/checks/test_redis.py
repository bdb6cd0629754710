"""Redis by what it tells of itself."""

from __future__ import annotations

import pytest

from notifier.checks.finding import State
from notifier.checks.redis import judge_redis

GB = 1 << 30
FINE: dict[str, object] = {
    "redis_version": "7.4.1",
    "role": "master",
    "redis_mode": "standalone",
    "loading": 0,
    "maxmemory_policy": "noeviction",
    "evicted_keys": 0,
    "aof_enabled": 1,
    "aof_last_write_status": "ok",
    "rdb_last_bgsave_status": "ok",
    "used_memory": GB,
    "maxmemory": 4 * GB,
    "total_system_memory": 8 * GB,
}


@pytest.mark.parametrize(
    ("changes", "name", "state", "words"),
    [
        pytest.param({}, "server", "ok", "Redis 7.4.1", id="which one"),
        pytest.param({"server_name": "valkey", "valkey_version": "9.1.2"}, "server", "ok", "Valkey 9.1.2", id="Valkey"),
        pytest.param({"role": "slave"}, "server", "fault", "replica", id="a replica"),
        pytest.param({"redis_mode": "cluster"}, "server", "fault", "cluster", id="a member of a cluster"),
        pytest.param({"loading": 1}, "server", "warning", "loading", id="loading"),
        pytest.param({"maxmemory_policy": "allkeys-lru"}, "policy", "fault", "allkeys-lru", id="drops keys"),
        pytest.param({"evicted_keys": 3}, "policy", "warning", "3 keys were evicted", id="has dropped keys"),
        pytest.param({}, "persistence", "ok", "append-only", id="append-only file"),
        pytest.param({"aof_enabled": 0}, "persistence", "ok", "read again from Kafka", id="nothing kept"),
        pytest.param(
            {"aof_enabled": 0, "rdb_saves": 2, "rdb_last_save_time": 1},
            "persistence",
            "ok",
            "snapshots",
            id="snapshots",
        ),
        pytest.param({"aof_last_write_status": "err"}, "persistence", "fault", "refuses writes", id="a full disk"),
        pytest.param({"rdb_last_bgsave_status": "err"}, "persistence", "fault", "snapshot failed", id="no snapshot"),
        pytest.param({}, "memory", "ok", "1.0 GB used of 4.0 GB (maxmemory), 3.0 GB left", id="room"),
        pytest.param({"used_memory": int(3.3 * GB)}, "memory", "warning", "716.8 MB left", id="little room"),
        pytest.param({"used_memory": int(3.9 * GB)}, "memory", "fault", "refuses writes", id="no room"),
        pytest.param(
            {"maxmemory": 0}, "memory", "ok", "of 8.0 GB (the machine's memory", id="no bound but the machine"
        ),
        pytest.param({"maxmemory": 0, "used_memory": int(7.9 * GB)}, "memory", "fault", "", id="the machine is full"),
    ],
)
def test_each_thing_that_it_has_to_be_is_a_line(
    changes: dict[str, object], name: str, state: State, words: str
) -> None:
    found = {one.name: one for one in judge_redis(FINE | changes)}

    assert list(found) == ["redis.server", "redis.policy", "redis.persistence", "redis.memory"]
    one = found[f"redis.{name}"]
    assert one.state == state
    assert words in one.message
    assert bool(one.remedy) == (state != "ok")
    assert {other.state for other in found.values() if other is not one} == {"ok"}
