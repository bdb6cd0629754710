"""
`make bench`: all measures in one run on local Kafka and Redis; a table, and `.local/bench.json`.

`--quick` only shows that the benchmarks still run: its figures mean nothing. `--only a,b` takes some of them.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import msgspec
import uvloop
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from rich.console import Console
from rich.table import Table

from notifier.local import Services, running

from .backlog import measure_dead, measure_recovery, measure_start
from .delivery import measure_delivery
from .fold import measure_fold
from .ingress import measure_ingress
from .installation import Installation, installation
from .isolation import measure_fast, measure_isolation
from .latency import measure_latency
from .rebuild import measure_rebuild
from .warm import measure_warm

FOLDER = Path(".local")

AIMS: dict[str, tuple[str, str]] = {
    "ingress_ratio": ("CPU per accepted notification / bare aiohttp handler", "≤ 2.1"),
    "ingress_cpu_us": ("  ours, µs", ""),
    "ingress_bare_cpu_us": ("  bare, µs", ""),
    "fold_per_s": ("notifications folded per second, one process", "≥ 10,000"),
    "fold_cpu_us": ("  CPU per notification, µs", ""),
    "delivery_ratio": ("CPU per delivery / bare aiohttp client POST", "≤ 1.8"),
    "delivery_cpu_us": ("  ours, µs", ""),
    "delivery_bare_cpu_us": ("  bare, µs", ""),
    "latency_p50_ms": ("POST in to webhook out at 200/s, p50, ms", "≤ 15"),
    "latency_p99_ms": ("  p99, ms", "≤ 60"),
    "latency_ingress_cpu_us": ("  CPU per notification at that rate, ingress, µs", ""),
    "latency_orders_cpu_us": ("  orders, µs", ""),
    "latency_fanout_cpu_us": ("  fan-out, µs", ""),
    "rebuild_orders_per_s": ("records per second of a view built from its log: orders", "≥ 50,000"),
    "rebuild_lanes_per_s": ("  lanes", "≥ 50,000"),
    "rebuild_waiting_lanes_per_s": ("  lanes in which something waits, one record each", ""),
    "rebuild_orders_cpu_us": ("  CPU per record, orders, µs", ""),
    "rebuild_lanes_cpu_us": ("  lanes, µs", ""),
    "rebuild_waiting_lanes_cpu_us": ("  lanes in which something waits, µs", ""),
    "redis_bytes_order": ("Redis bytes per live order", "400 – 800"),
    "redis_bytes_quiet_order": ("  per quiet order", "20 – 60"),
    "redis_bytes_lane": ("  per live lane", ""),
    "redis_bytes_quiet_lane": ("  per quiet lane", ""),
    "redis_bytes_waiting_lane": ("  per lane in which something waits, its due time included", ""),
    "fold_flushed_ratio": ("CPU of a fold after FLUSHALL / with its view at hand", ""),
    "fold_warm_cpu_s": ("  with its view, s", ""),
    "fold_flushed_cpu_s": ("  after FLUSHALL, s", ""),
    "fast_cpu_us": ("CPU per delivery, twenty merchants who accept at once, µs", "≤ 300"),
    "fast_per_s": ("  deliveries per second", ""),
    "isolation_ratio": ("p99 from event to acceptance, one in ten of 200 merchants bad / without those", "≤ 1.2"),
    "isolation_p99_ms": ("  p99 with them, ms", ""),
    "isolation_calm_p99_ms": ("  p99 without, ms", ""),
    "isolation_p50_ms": ("  p50 with them, ms", ""),
    "isolation_calm_p50_ms": ("  p50 without, ms", ""),
    "dead_requests_per_minute": ("requests to a dead merchant in a minute, much waiting", "≤ 20"),
    "dead_requests_before": ("  until all of it was written down", ""),
    "dead_cpu_share": ("  CPU meanwhile, of a core", ""),
    "dead_written_cpu_us": ("  CPU per event written down as waiting, µs", ""),
    "dead_redis_bytes_each": ("  Redis bytes per event that waits", ""),
    "recovery_s": ("a merchant is back: until it has heard of all that waited, s", ""),
    "recovery_per_s": ("  deliveries per second", ""),
    "recovery_cpu_us": ("  CPU per delivery, µs", ""),
    "recovery_most_at_once": ("  most in flight at once", "≤ 8"),
    "recovery_out_of_order": ("  orders told out of order", "0"),
    "recovery_repeats": ("  deliveries told twice", ""),
    "start_first_s": ("start with thousands of new merchants, to the first webhook, s", ""),
    "start_first_after_import_s": ("  of which after the imports, s", ""),
    "start_first_cpu_s": ("  CPU, s", ""),
    "start_again_s": ("  again, all of them known, s", ""),
    "start_again_after_import_s": ("  of which after the imports, s", ""),
    "start_again_cpu_s": ("  CPU, s", ""),
}


@dataclass(frozen=True, slots=True)
class Size:
    """How much is done."""

    requests: int
    rounds: int
    orders: int
    orders_in_view: int
    events: int
    seconds: float
    warm_up_s: float
    merchants: int
    """That one in ten of is bad, and ten times as many at a start."""
    waiting: int
    """For the merchant that comes back, and five times as many for the dead one."""


FULL = Size(
    requests=3_000,
    rounds=5,
    orders=15_000,
    orders_in_view=50_000,
    events=3_000,
    seconds=15.0,
    warm_up_s=3.0,
    merchants=200,
    waiting=20_000,
)
QUICK = Size(
    requests=100,
    rounds=1,
    orders=100,
    orders_in_view=500,
    events=64,
    seconds=0.5,
    warm_up_s=0.2,
    merchants=20,
    waiting=40,
)
AT_ONCE = 8
"""Deliveries in flight, ours and the bare client's: the default of `delivery.concurrency_per_endpoint`."""


MEASURES = ("a", "b", "c", "d", "e", "g", "h", "i", "j", "k", "l")
"""As the README calls them; what it calls f comes with e."""


def chosen_measures(given: str) -> list[str]:
    """
    What `--only` names.

    Raises:
        argparse.ArgumentTypeError: there is no such measure.
    """
    chosen = given.split(",")
    unknown = [repr(one) for one in chosen if one not in MEASURES]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"no measure is called {' or '.join(unknown)}: there are {','.join(MEASURES)} (README.md says which is what; f "
            "comes with e)"
        )
    return chosen


def main() -> None:
    """Measure, tell, write down."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="do little: shows only that it runs")
    parser.add_argument("--only", type=chosen_measures, default=MEASURES, help="which measures, such as a,c")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="for data, logs and bench.json")
    parser.add_argument(
        "--prefix", default="bench", help="in front of topics and Redis keys, for services that live on"
    )
    options = parser.parse_args()
    size = QUICK if options.quick else FULL
    work = (options.folder / "bench").resolve()
    work.mkdir(parents=True, exist_ok=True)
    with (
        running(work, tell=_tell, fresh=True) as services,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        figures = runner.run(_measure(services, work, size, options.only, options.prefix))
    figures |= _machine()
    Console().print(_table(figures))
    (options.folder / "bench.json").write_bytes(msgspec.json.format(msgspec.json.encode(figures)) + b"\n")


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")


async def _measure(
    services: Services, folder: Path, size: Size, chosen: Sequence[str], prefix: str
) -> dict[str, float]:
    key = generate_private_key(65537, 2048)
    measures: dict[str, Callable[[Installation], Awaitable[dict[str, float]]]] = {
        "a": lambda place: measure_ingress(place, key, requests=size.requests, rounds=size.rounds),
        "b": lambda place: measure_fold(place, orders=size.orders),
        "c": lambda place: measure_delivery(place, events=size.events, rounds=size.rounds, at_once=AT_ONCE),
        "d": lambda place: measure_latency(place, key, rate=200, seconds=size.seconds, warm_up_s=size.warm_up_s),
        "e": lambda place: measure_rebuild(place, orders=size.orders_in_view),  # and f
        "g": lambda place: measure_warm(place, orders=size.orders),
        "h": lambda place: measure_fast(place, endpoints=20, events=size.events, rounds=size.rounds),
        "i": lambda place: measure_isolation(
            place, endpoints=size.merchants, rate=50, seconds=size.seconds, rounds=min(size.rounds, 2)
        ),
        "j": lambda place: measure_dead(place, waiting=5 * size.waiting, seconds=4 * size.seconds),
        "k": lambda place: measure_recovery(place, waiting=size.waiting),
        "l": lambda place: measure_start(place, endpoints=10 * size.merchants),
    }
    figures: dict[str, float] = {}
    for name in chosen:
        async with installation(
            f"{prefix}-{name}", folder=folder, services=services, key=key, at_once=AT_ONCE
        ) as place:
            _tell(f"measure {name}")
            figures |= await measures[name](place)
    return figures


def _machine() -> dict[str, float]:
    """What it ran on, as numbers: 3.11 is 3.11, and 3.14.5 of a library is 3.14 here (its patch is in requirements.lock)."""
    names = "aiohttp aiokafka cryptography msgspec redis structlog uvloop"
    return {
        "cores": os.cpu_count() or 0,
        "python": float(".".join(platform.python_version_tuple()[:2])),
        **{f"version_{name}": float(".".join(version(name).split(".")[:2])) for name in names.split()},
    }


def _table(figures: dict[str, float]) -> Table:
    table = Table("measure", "figure", "aim")
    for name, (meaning, aim) in AIMS.items():
        if name in figures:
            table.add_row(meaning, f"{figures[name]:,.2f}" if figures[name] < 100 else f"{figures[name]:,.0f}", aim)
    return table


if __name__ == "__main__":
    main()
