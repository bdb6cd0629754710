"""(h) What a delivery costs among twenty merchants, and (i) what those that hang, drip, reset, refuse or fail cost the others."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from functools import partial
from statistics import median, quantiles

from notifier.kafka.producer import Producer
from notifier.local.ports import free_ports
from tests.waiting import until

from .crowd import Crowd, Manner, gathered
from .installation import Installation
from .merchants import append, events_of, settings_of
from .process import measured

TOLD_WITHIN_S = 120.0
BAD_PART = 10
"""One in so many."""

_ORDER = re.compile(rb'"order":"([^"]+)","version"')


def order_in(body: bytes) -> str:
    """Whose webhook it is."""
    found = _ORDER.search(body)
    assert found is not None
    return found[1].decode()


async def measure_fast(place: Installation, *, endpoints: int, events: int, rounds: int) -> dict[str, float]:
    """CPU and deliveries a second with a backlog for so many merchants who accept at once; each attempt recorded."""
    names = [f"fast-{number:03d}" for number in range(endpoints)]
    crowd, costs_us, rates = Crowd(), [], []
    config = str(settings_of(place, names))
    async with (
        gathered(crowd, place.sink_port),
        Producer(place.access, service="benchmark", timeout_s=60.0) as producer,
    ):
        with measured(place.folder, "fanout", config) as fanout:
            for number in range(rounds + 1):  # the first is to warm up
                orders = [f"T{number:02d}{order:06d}" for order in range(events)]
                backlog = [
                    event for at, order in enumerate(orders) for event in events_of(place, names[at % endpoints], order)
                ]
                target = crowd.accepted + events
                began, before = time.monotonic(), fanout.cpu_s()
                await append(place, producer, backlog)
                await crowd.until(lambda: crowd.accepted >= target, TOLD_WITHIN_S)  # noqa: B023 - waited for at once

                async def is_recorded() -> bool:
                    length = await place.broker.length(place.topics.deliveries, place.partitions)
                    return length >= target  # noqa: B023 - waited for at once

                await until(is_recorded, TOLD_WITHIN_S)
                costs_us.append((fanout.cpu_s() - before) / events * 1e6)
                rates.append(events / (time.monotonic() - began))
    return {"fast_cpu_us": median(costs_us[1:]), "fast_per_s": median(rates[1:])}


async def measure_isolation(
    place: Installation, *, endpoints: int, rate: float, seconds: float, rounds: int
) -> dict[str, float]:
    """From event to acceptance at the merchants that are well: with one in ten that is not, and without those, in turn."""
    names = [f"shop-{number:03d}" for number in range(endpoints)]
    bad = names[::BAD_PART]
    well = [name for name in names if name not in bad]
    (closed,) = free_ports(1)
    kinds = [Manner.HANG, Manner.DRIP, Manner.RESET, Manner.FAIL, Manner.REFUSE_MORE]
    manners = {name: kinds[at % len(kinds)] for at, name in enumerate(bad)}
    ports = dict.fromkeys(bad[::6], closed)  # refused
    configs = {"calm": settings_of(place, well), "troubled": settings_of(place, names, ports=ports)}
    p99_ms: dict[str, list[float]] = {"calm": [], "troubled": []}
    p50_ms: dict[str, list[float]] = {"calm": [], "troubled": []}
    for number in range(rounds):
        for kind, config in configs.items():
            accepted_at: dict[str, float] = {}
            crowd = Crowd(partial(_note, accepted_at))
            crowd.manners = manners
            told = names if kind == "troubled" else well
            async with gathered(crowd, place.sink_port):
                with measured(place.folder, "fanout", str(config)):
                    due = await _append_at_rate(place, told, rate, seconds, f"{kind[0]}{number}")
                    orders = [order for order, (name, _) in due.items() if name not in bad]
                    await crowd.until(lambda: accepted_at.keys() >= set(orders), TOLD_WITHIN_S)  # noqa: B023 - at once
            took_ms = [(accepted_at[order] - due[order][1]) * 1000 for order in orders]
            counted = took_ms[len(took_ms) // 4 :]  # the rest is to warm up
            p50_ms[kind].append(_percentile(counted, 50))
            p99_ms[kind].append(_percentile(counted, 99))
    return {
        "isolation_ratio": median(p99_ms["troubled"]) / median(p99_ms["calm"]),
        "isolation_p99_ms": median(p99_ms["troubled"]),
        "isolation_calm_p99_ms": median(p99_ms["calm"]),
        "isolation_p50_ms": median(p50_ms["troubled"]),
        "isolation_calm_p50_ms": median(p50_ms["calm"]),
    }


def _note(accepted_at: dict[str, float], _: str, body: bytes) -> None:
    accepted_at.setdefault(order_in(body), time.monotonic())


async def _append_at_rate(
    place: Installation, names: Sequence[str], rate: float, seconds: float, prefix: str
) -> dict[str, tuple[str, float]]:
    """Open loop, one event after another for the merchants in turn: whose each order is, and when it was due."""
    orders = [f"{prefix}T{number:06d}" for number in range(round(rate * seconds))]
    events = [events_of(place, names[at % len(names)], order) for at, order in enumerate(orders)]
    due: dict[str, tuple[str, float]] = {}
    async with Producer(place.access, service="benchmark", timeout_s=60.0) as producer, asyncio.TaskGroup() as tasks:
        began = time.monotonic()
        for at, order in enumerate(orders):
            due_at = began + at / rate
            await asyncio.sleep(max(due_at - time.monotonic(), 0.0))
            due[order] = names[at % len(names)], due_at
            tasks.create_task(append(place, producer, events[at]))
    return due


def _percentile(values: Sequence[float], percent: int) -> float:
    return quantiles(values, n=100, method="inclusive")[percent - 1]
