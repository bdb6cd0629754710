"""Long work in short turns."""

from __future__ import annotations

import asyncio

from consumers.turns import TURN_ITEMS, in_turns


async def test_everything_is_done_once_and_in_order() -> None:
    done: list[int] = []

    await in_turns(range(3 * TURN_ITEMS + 1), done.append)

    assert done == list(range(3 * TURN_ITEMS + 1))


async def test_others_have_a_turn_after_every_few() -> None:
    """Without it a backlog in 24 partitions starved heartbeats for more than ten seconds: the group revoked everything."""
    done: list[int] = []
    seen: list[int] = []

    async def look() -> None:
        while len(done) < 3 * TURN_ITEMS:
            seen.append(len(done))
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(look())
        tasks.create_task(in_turns(range(3 * TURN_ITEMS), done.append))

    assert seen == [0, TURN_ITEMS, 2 * TURN_ITEMS]


async def test_work_of_one_turn_is_done_at_once() -> None:
    """A single notification is not made to wait for anybody."""
    work = in_turns(range(TURN_ITEMS), lambda _: None)

    try:
        work.send(None)
    except StopIteration:
        return
    raise AssertionError("it gave its turn away")
