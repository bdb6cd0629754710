"""Playing a scene: one installation, its rows one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from pathlib import Path

from notifier.local import Services
from tests.alarms.product import at_work
from tests.alarms.scenes import Scene
from tests.alarms.see import Seen, see, without_metrics


async def play(
    scene: Scene, services: Services, folder: Path, lines: Collection[str] | None, tell: Callable[[Seen], None]
) -> None:
    """Play the rows of these lines (None: all) with those that they need, and tell of each when it was seen, or was not."""
    rows = scene.rows_of(lines)
    if not rows:
        return
    await asyncio.to_thread(_empty, folder)
    async with at_work(services, folder, scene.processes) as product:
        for row in rows:
            tell(await see(row, product))
        if lines is None:
            for problem in filter(None, (without_metrics(row, product) for row in rows)):
                tell(problem)


def _empty(folder: Path) -> None:
    """A folder without the logs of the last time."""
    folder.mkdir(parents=True, exist_ok=True)
    for log in folder.glob("*.log"):
        log.unlink()
