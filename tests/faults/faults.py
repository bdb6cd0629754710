"""All faults, by name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.faults import on_fanout, on_kafka, on_processes, on_redis, on_time
from tests.faults.stage import Stage

IN_FLIGHT_MAX = 48
"""Attempts that can be under way at one moment: eight for each of three merchants, in two processes. Cut off, they come again."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens in the middle of a run."""

    play: Callable[[Stage], Awaitable[None]]
    repeats_max: int | None = IN_FLIGHT_MAX
    """How many webhooks merchants may accept once more; None: partitions change hands, and with each time some."""
    is_between: bool = False
    """It comes between two halves, when all of the first is told: what it takes away must have been used before."""
    brokers: int = 1
    """Of Kafka: three where one is lost and the others go on."""
    delivery_timeout_s: float | None = None
    """How long merchants may take in this run, where it is not as in all others: the fault is theirs as well."""

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
        Fault(on_kafka.kafka_down, repeats_max=None),
        Fault(on_kafka.broker_restarted, repeats_max=None),
        Fault(on_kafka.coordinator_moved, repeats_max=None, brokers=3),
        Fault(on_kafka.broker_lost, repeats_max=None, brokers=3),
        Fault(on_kafka.broker_frozen, repeats_max=None, brokers=3),
        Fault(on_kafka.majority_lost, repeats_max=None, brokers=3),
        Fault(on_kafka.rebalance_storm, repeats_max=None),
        Fault(on_kafka.producer_poisoned, repeats_max=None),
        Fault(on_kafka.commit_refused, repeats_max=None),
        Fault(on_processes.sigterm, repeats_max=None),
        Fault(on_processes.kill9, repeats_max=None),
        Fault(on_processes.sigstop_zombie, repeats_max=None),
        Fault(on_time.groups_deleted),
        Fault(on_time.inbox_truncated),
        Fault(on_time.compacted, is_between=True),
        Fault(on_time.newer_state_version, repeats_max=None),
        *(
            Fault(play, repeats_max=IN_FLIGHT_MAX * times, delivery_timeout_s=on_fanout.DELIVERY_TIMEOUT_S)
            for play, times in (
                (on_fanout.fanout_kill9, len(on_fanout.BAD_DAYS)),
                (on_fanout.fanout_sigstop, len(on_fanout.BAD_DAYS)),
                (on_fanout.fanout_storm, 2 * on_fanout.VISITS * len(on_fanout.BAD_DAYS)),
            )
        ),
    )
}
