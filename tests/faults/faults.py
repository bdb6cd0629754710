"""All faults, by name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.faults import on_kafka, on_processes, on_redis, on_time
from tests.faults.stage import Stage


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens in the middle of a run."""

    play: Callable[[Stage], Awaitable[None]]
    is_between: bool = False
    """It comes between two halves, when all of the first is told: what it takes away must have been used before."""

    @property
    def name(self) -> str:
        """As it is asked for."""
        return self.play.__name__


async def none(stage: Stage) -> None:
    """Nothing: what the others are compared with."""


FAULTS = {
    fault.name: fault
    for fault in (
        Fault(none),
        Fault(on_redis.redis_flushed),
        Fault(on_redis.redis_old_copy),
        Fault(on_redis.redis_down),
        Fault(on_redis.redis_full),
        Fault(on_redis.redis_readonly),
        Fault(on_redis.redis_busy),
        Fault(on_redis.script_cache_lost),
        Fault(on_kafka.kafka_down),
        Fault(on_kafka.coordinator_moved),
        Fault(on_kafka.rebalance_storm),
        Fault(on_kafka.producer_poisoned),
        Fault(on_kafka.commit_refused),
        Fault(on_processes.sigterm),
        Fault(on_processes.kill9),
        Fault(on_processes.sigstop_zombie),
        Fault(on_time.groups_deleted),
        Fault(on_time.inbox_truncated),
        Fault(on_time.compacted, is_between=True),
        Fault(on_time.newer_state_version),
    )
}
