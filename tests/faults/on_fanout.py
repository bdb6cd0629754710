"""Fan-out's processes in trouble while merchants are."""

from __future__ import annotations

from collections.abc import AsyncIterator

from tests.faults.moods import SEEN_AS, Mood
from tests.faults.on_kafka import visit
from tests.faults.stage import Stage
from tests.waiting import until

DELIVERY_TIMEOUT_S = 3.0
"""Short, since merchants hang; long enough that a busy machine makes none of the others fail."""

VISITS = 2

BAD_DAYS = (
    {"ferry-tickets": Mood.HANGS, "market-books": Mood.FAILS},
    {"ferry-tickets": Mood.DRIPS, "market-books": Mood.SLOWS},
    {"ferry-tickets": Mood.RESETS, "market-books": Mood.REFUSES},
)
"""Two of the three are in trouble, each time in another one."""


async def fanout_kill9(stage: Stage) -> None:
    """While merchants are in trouble, of whatever kind, a fan-out process is killed; the other goes on with what it held."""
    async for _ in _bad_days(stage):
        gone = stage.part("fanout-1")
        held = await stage.work_of(gone)
        await gone.kill()
        await stage.taken_over(held)
        await gone.start()
        await stage.at_rest()


async def fanout_sigstop(stage: Stage) -> None:
    """The same, and the process stands still until the other has all of its work; then it goes on, not knowing."""
    async for _ in _bad_days(stage):
        zombie = stage.part("fanout-1")
        held = await stage.work_of(zombie)
        zombie.freeze()
        try:
            await stage.taken_over(held)
        finally:
            marks = stage.marks()
            zombie.thaw()
        await zombie.said("partitions.assigned", marks[zombie.name])

        async def share_the_work() -> bool:
            return all((await stage.held_by("fanout")).values())

        await until(share_the_work, 60.0, "both processes hold partitions again")
        await stage.at_rest()


async def fanout_storm(stage: Stage) -> None:
    """The same, and a stranger joins their group and leaves it, again and again: all is handed back and given anew."""
    group, _ = stage.groups["fanout"]
    async for _ in _bad_days(stage):
        for _ in range(VISITS):
            await visit(stage, group, [stage.topics.orders, stage.topics.commands])
        await stage.at_rest()


async def _bad_days(stage: Stage) -> AsyncIterator[None]:
    """Let merchants be in trouble; go on when fan-out has met it. In the end all are well."""
    for moods in BAD_DAYS:
        marks = stage.marks()
        await stage.shops.be(moods)
        for merchant, mood in moods.items():
            await stage.one_said("fanout", "delivery.attempted", marks, endpoint=merchant, **SEEN_AS[mood])
        yield
    await stage.shops.be({})
