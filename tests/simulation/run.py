"""Run one seed from its beginning to its verdict."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from unittest.mock import patch

import consumers.fanout
import consumers.orders
from notifier import logs
from tests.simulation import checks
from tests.simulation.faults import AWAY_S, Faults
from tests.simulation.loop import EndlessError, SeededLoop
from tests.simulation.world import World

QUIET_WITHIN_S = 7200.0
"""After faults have stopped: retries are at most a minute apart, and dead letters are given up within five."""

TWO_LOOKS_S = 130.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a seed. The digest is the same for the same trace."""

    seed: int
    broken: tuple[str, ...]
    digest: str
    steps: int
    virtual_s: float
    counts: dict[str, int]


def run(seed: int, *, is_told: bool = False) -> Verdict:
    """Run a seed; `is_told`: print its trace."""
    loop = SeededLoop(seed, is_shuffled=seed % 2 == 1)
    world = None
    with _small_time(), _silence(), _no_collection(), asyncio.Runner(loop_factory=lambda: loop) as runner:
        world = World(seed, loop, is_told=is_told)
        try:
            broken = runner.run(_live(world))
        except EndlessError as endless:
            broken = [f"L1 {endless}", *world.unquiet()]
        verdict = Verdict(seed, tuple(broken), world.digest, loop.steps, loop.time(), dict(world.counts))
        world.bury()
    return verdict


async def _live(world: World) -> list[str]:
    faults = Faults(world)
    for job in ("ingress", "orders", "fanout"):
        world.start(job)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(world.alipayhk.tell_all(world.accounts, orders=world.random.choice((2, 4, 7))))
        tasks.create_task(faults.run(world.random.choice((400.0, 800.0, 1300.0))))
    for _ in range(int(QUIET_WITHIN_S / 10)):
        await asyncio.sleep(10)
        if world.is_quiet():
            break
    await asyncio.sleep(TWO_LOOKS_S)
    broken = [] if world.is_quiet() else ["L1 it does not become quiet", *world.unquiet()]
    return broken + await checks.everything(world)


@contextmanager
def _small_time() -> Iterator[None]:
    """What takes days takes minutes."""
    away = timedelta(seconds=AWAY_S)
    with (
        patch.object(consumers.orders, "ORDERS_AWAY_TOO_LONG", away),
        patch.object(consumers.fanout, "DELIVERIES_AWAY_TOO_LONG", away),
    ):
        yield


@contextmanager
def _silence() -> Iterator[None]:
    """No log lines: there are many, and the trace says what matters."""
    rank, logs._current.rank = logs._current.rank, 1000
    try:
        yield
    finally:
        logs._current.rank = rank


@contextmanager
def _no_collection() -> Iterator[None]:
    """When garbage is collected depends on what ran before; what it ends must not disturb the trace."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
