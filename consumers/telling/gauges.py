"""What a fan-out process knows of each endpoint, asked when the metrics are: nothing is counted on the way."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from consumers.fanout import FanoutJob
from consumers.telling.callees import Callee
from notifier import metrics


def show_endpoints(job: FanoutJob, before: Iterable[str] = ()) -> None:
    """Let the metrics ask from now on. `before`: the endpoints that there were until now."""
    for name in set(before) - job.callees.by_name.keys():
        metrics.ENDPOINT_WAITING.forget(name)
        metrics.ENDPOINT_SUSPENDED.forget(name)
    for name, callee in job.callees.by_name.items():
        metrics.ENDPOINT_WAITING.of(name).set_function(partial(_waiting, job, name))
        metrics.ENDPOINT_SUSPENDED.of(name).set_function(partial(_is_suspended, job, callee))


def _waiting(job: FanoutJob, name: str) -> float:
    return float(sum(partition.waiting_for(name) for partition in job.partitions))


def _is_suspended(job: FanoutJob, callee: Callee) -> float:
    name = callee.endpoint.name
    is_left_alone = any(partition.is_left_alone(name) for partition in job.partitions)
    return float(callee.state == "suspended" or is_left_alone)
