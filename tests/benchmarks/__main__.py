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
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import msgspec
import uvloop
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from rich.console import Console
from rich.table import Table

from notifier.local import Services, running

from .delivery import measure_delivery
from .fold import measure_fold
from .ingress import measure_ingress
from .installation import Installation, installation
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


FULL = Size(requests=3_000, rounds=5, orders=15_000, orders_in_view=50_000, events=3_000, seconds=15.0, warm_up_s=3.0)
QUICK = Size(requests=100, rounds=1, orders=100, orders_in_view=500, events=64, seconds=0.5, warm_up_s=0.2)
AT_ONCE = 8
"""Deliveries in flight, ours and the bare client's: the default of `delivery.concurrency_per_endpoint`."""


def main() -> None:
    """Measure, tell, write down."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="do little: shows only that it runs")
    parser.add_argument("--only", default="a,b,c,d,e,g", help="which measures, such as a,c")
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
        figures = runner.run(_measure(services, work, size, options.only.split(","), options.prefix))
    figures |= _machine()
    Console().print(_table(figures))
    (options.folder / "bench.json").write_bytes(msgspec.json.format(msgspec.json.encode(figures)) + b"\n")


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")


async def _measure(services: Services, folder: Path, size: Size, chosen: list[str], prefix: str) -> dict[str, float]:
    key = generate_private_key(65537, 2048)
    measures: dict[str, Callable[[Installation], Awaitable[dict[str, float]]]] = {
        "a": lambda place: measure_ingress(place, key, requests=size.requests, rounds=size.rounds),
        "b": lambda place: measure_fold(place, orders=size.orders),
        "c": lambda place: measure_delivery(place, events=size.events, rounds=size.rounds, at_once=AT_ONCE),
        "d": lambda place: measure_latency(place, key, rate=200, seconds=size.seconds, warm_up_s=size.warm_up_s),
        "e": lambda place: measure_rebuild(place, orders=size.orders_in_view),  # and f
        "g": lambda place: measure_warm(place, orders=size.orders),
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
