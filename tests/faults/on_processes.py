"""Stops and starts."""

from __future__ import annotations

from notifier.clock import SystemClock
from tests.faults.stage import Stage
from tests.waiting import until

TAKEN_OVER_WITHIN_S = 5.0
"""Beyond the session timeout (contract, section 3)."""


async def sigterm(stage: Stage) -> None:
    """A process of each job is ended: it leaves its group at once. Then all five are restarted, one after the other."""
    for job in ("orders", "fanout"):
        gone = stage.part(f"{job}-1")
        held = await stage.work_of(gone)
        began = SystemClock().now()
        assert await gone.end() == 0, f"{gone.name} ends with status 0"
        took_s = ((await stage.taken_over(held)) - began).total_seconds()
        stage.figures[f"{job}_handed_over_s"] = took_s
        assert took_s < stage.session_timeout_s, f"{gone.name} was only missed after {took_s:.1f} s"
        await gone.start()
        await stage.at_rest()
    for part in stage.parts:
        assert await part.end() == 0, f"{part.name} ends with status 0"
        await part.start()


async def kill9(stage: Stage) -> None:
    """A process of each job is killed: the other has its partitions within the session timeout and 5 s. So is the ingress."""
    for job in ("orders", "fanout"):
        gone = stage.part(f"{job}-1")
        held = await stage.work_of(gone)
        assert held.partitions, f"{gone.name} holds partitions"
        began = SystemClock().now()
        await gone.kill()
        took_s = ((await stage.taken_over(held)) - began).total_seconds()
        stage.figures[f"{job}_taken_over_s"] = took_s
        limit_s = stage.session_timeout_s + TAKEN_OVER_WITHIN_S
        assert took_s <= limit_s, f"{gone.name} was taken over after {took_s:.1f} s, not within {limit_s:g} s"
        await gone.start()
        await stage.at_rest()
    await stage.part("serve").kill()
    await stage.part("serve").start()


async def sigstop_zombie(stage: Stage) -> None:
    """A process of each job stands still until the other has all of its work; then it goes on, not knowing."""
    zombies = [stage.part("orders-1"), stage.part("fanout-1")]
    held = [await stage.work_of(zombie) for zombie in zombies]
    for zombie in zombies:
        zombie.freeze()
    try:
        for work in held:
            await stage.taken_over(work)
    finally:
        marks = stage.marks()
        for zombie in zombies:
            zombie.thaw()
    for zombie in zombies:
        await zombie.said("partitions.assigned", marks[zombie.name])

    async def share_the_work() -> bool:
        return all([all((await stage.held_by(zombie.job)).values()) for zombie in zombies])

    await until(share_the_work, 60.0, "two processes of each job hold partitions again")
    await stage.at_rest()
