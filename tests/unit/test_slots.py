"""The slots of a process: bounded, fair, and nobody's turn is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.telling.slots import Share, Slots
from tests.owners import spin


@dataclass
class Attempts:
    """Attempts that end when a test says so."""

    tasks: asyncio.TaskGroup
    begun: list[str] = field(default_factory=list)
    """The names of those that had a slot, in their order."""
    ends: dict[str, asyncio.Event] = field(default_factory=dict)
    dismissed: list[str] = field(default_factory=list)

    def want(self, share: Share, name: str) -> asyncio.Task[None]:
        """One more attempt that wants a slot."""
        self.ends[name] = asyncio.Event()
        return self.tasks.create_task(self._attempt(share, name))

    async def _attempt(self, share: Share, name: str) -> None:
        if not await share.take():
            self.dismissed.append(name)
            return
        try:
            self.begun.append(name)
            await self.ends[name].wait()
        finally:
            share.give_back()

    async def end(self, *names: str) -> None:
        """Let these end, and whoever comes after them begin."""
        for name in names:
            self.ends[name].set()
        await spin()

    def end_all(self) -> None:
        """Let all end, now and later."""
        for event in self.ends.values():
            event.set()


async def test_no_more_have_a_slot_than_there_are() -> None:
    slots = Slots(3)
    async with asyncio.TaskGroup() as tasks:
        attempts = Attempts(tasks)
        for number in range(10):
            attempts.want(slots.share(8), f"{number}")
        await spin()

        assert attempts.begun == ["0", "1", "2"]
        assert slots.in_flight == 3
        await attempts.end("1")
        assert attempts.begun == ["0", "1", "2", "3"]
        attempts.end_all()
    assert sorted(attempts.begun) == sorted(map(str, range(10)))
    assert slots.in_flight == 0


async def test_an_endpoint_has_no_more_than_its_own_bound() -> None:
    slots = Slots(100)
    share = slots.share(2)
    async with asyncio.TaskGroup() as tasks:
        attempts = Attempts(tasks)
        for number in range(4):
            attempts.want(share, f"{number}")
        await spin()

        assert attempts.begun == ["0", "1"]
        assert (share.in_flight, share.room) == (2, 0)
        share.change(limit=3, is_failing=False)
        await spin()
        assert attempts.begun == ["0", "1", "2"]
        share.change(limit=1, is_failing=False)
        await attempts.end("0", "1")
        assert attempts.begun == ["0", "1", "2"], "what it has is not taken away, and no more is given"
        attempts.end_all()
    assert attempts.begun == ["0", "1", "2", "3"]


async def test_a_free_slot_goes_to_the_endpoint_with_the_fewest() -> None:
    slots = Slots(4)
    many, one, none = (slots.share(8) for _ in range(3))
    async with asyncio.TaskGroup() as tasks:
        attempts = Attempts(tasks)
        for number in range(3):
            attempts.want(many, f"many {number}")
        attempts.want(one, "one 0")
        await spin()
        for share, name in ((many, "many 3"), (one, "one 1"), (none, "none 0")):
            attempts.want(share, name)
            await spin()
        assert len(attempts.begun) == 4

        await attempts.end("many 0")
        await attempts.end("many 1")
        await attempts.end("many 2")

        assert attempts.begun[4:] == ["none 0", "many 3", "one 1"], "then many has none and waits longest of all"
        attempts.end_all()


async def test_among_equals_it_goes_to_the_one_that_waits_longest() -> None:
    slots = Slots(1)
    shares = [slots.share(8) for _ in range(4)]
    async with asyncio.TaskGroup() as tasks:
        attempts = Attempts(tasks)
        attempts.want(shares[0], "0")
        await spin()
        for number in (2, 1, 3):
            attempts.want(shares[number], f"{number}")
            await spin()
        attempts.want(shares[2], "2 again")
        attempts.want(shares[0], "0 again")
        await spin()

        for name in ("0", "2", "1", "3", "2 again", "0 again"):
            await attempts.end(name)

    assert attempts.begun == ["0", "2", "1", "3", "2 again", "0 again"]


async def test_the_last_fifth_is_for_endpoints_with_none_in_flight() -> None:
    slots = Slots(10)
    greedy = slots.share(100)
    async with asyncio.TaskGroup() as tasks:
        attempts = Attempts(tasks)
        for number in range(20):
            attempts.want(greedy, f"greedy {number}")
        await spin()
        assert len(attempts.begun) == 8

        for number in range(3):
            attempts.want(slots.share(8), f"first {number}")
        await spin()

        assert attempts.begun[8:] == ["first 0", "first 1"]
        await attempts.end("greedy 0")
        assert attempts.begun[10:] == ["first 2"]
        attempts.end_all()


async def test_hundreds_that_hang_keep_no_healthy_endpoint_waiting() -> None:
    """They failed before, so the reserve is not for them, even with none in flight: each of them alone would fill it."""
    slots = Slots(500)
    async with asyncio.TaskGroup() as tasks:
        attempts = Attempts(tasks)
        for number in range(900):
            share = slots.share(8)
            share.change(limit=1, is_failing=True)
            attempts.want(share, f"hanging {number}")
        await spin()
        assert len(attempts.begun) == 400

        for number in range(100):
            attempts.want(slots.share(8), f"healthy {number}")
        await spin()

        assert attempts.begun[400:] == [f"healthy {number}" for number in range(100)]
        attempts.end_all()
    assert len(attempts.begun) == 1000, "and they are served, too"


async def test_one_that_accepts_again_may_use_the_reserve() -> None:
    slots = Slots(5)
    hanging, mended = slots.share(8), slots.share(8)
    mended.change(limit=8, is_failing=True)
    async with asyncio.TaskGroup() as tasks:
        attempts = Attempts(tasks)
        for number in range(4):
            attempts.want(hanging, f"{number}")
        attempts.want(mended, "mended")
        await spin()
        assert "mended" not in attempts.begun

        mended.change(limit=8, is_failing=False)
        await spin()

        assert attempts.begun[-1] == "mended"
        attempts.end_all()


async def test_who_is_dismissed_has_no_slot_and_hears_of_it() -> None:
    slots = Slots(1)
    share, other = slots.share(1), slots.share(1)
    async with asyncio.TaskGroup() as tasks:
        attempts = Attempts(tasks)
        for name in ("a", "b", "c"):
            attempts.want(share, name)
        attempts.want(other, "other")
        await spin()

        share.dismiss()
        await spin()

        assert attempts.dismissed == ["b", "c"]
        await attempts.end("a")
        assert attempts.begun == ["a", "other"]
        attempts.end_all()
    assert slots.in_flight == 0


async def test_a_cancelled_waiter_takes_no_turn() -> None:
    slots = Slots(1)
    share, other = slots.share(1), slots.share(1)
    async with asyncio.TaskGroup() as tasks:
        attempts = Attempts(tasks)
        attempts.want(share, "a")
        first, _, _ = (attempts.want(share, "b"), attempts.want(other, "c"), attempts.want(share, "d"))
        await spin()

        first.cancel()
        await spin()
        for name in ("a", "c", "d"):
            await attempts.end(name)

    assert attempts.begun == ["a", "c", "d"]
    assert (slots.in_flight, share.in_flight, len(share.waiters)) == (0, 0, 0)


@pytest.mark.parametrize("is_given_first", [True, False], ids=["given, then cancelled", "cancelled, then given"])
async def test_who_is_cancelled_in_the_turn_in_which_it_is_given_a_slot_passes_it_on(is_given_first: bool) -> None:
    slots = Slots(1)
    share, other = slots.share(1), slots.share(1)
    async with asyncio.TaskGroup() as tasks:
        attempts = Attempts(tasks)
        assert await share.take()
        waiting = attempts.want(share, "b")
        attempts.want(other, "c")
        await spin()

        for act in (share.give_back, waiting.cancel) if is_given_first else (waiting.cancel, share.give_back):
            act()
        await spin()

        assert attempts.begun == ["c"]
        attempts.end_all()
    assert slots.in_flight == 0


@given(st.data())
def test_whatever_happens_the_bounds_hold_and_every_waiter_is_served(data: st.DataObject) -> None:
    """Attempts begin, end and are cancelled, endpoints are slowed, dismissed and trusted again, in any order."""

    async def live() -> None:
        slots = Slots(data.draw(st.integers(1, 12)))
        shares = [slots.share(data.draw(st.integers(1, 4))) for _ in range(data.draw(st.integers(1, 5)))]
        wanted: list[asyncio.Task[None]] = []
        steps = data.draw(st.lists(st.sampled_from("wwwwecdlt"), max_size=60))
        async with asyncio.TaskGroup() as tasks:
            attempts = Attempts(tasks)
            for number, step in enumerate(steps):
                share = shares[data.draw(st.integers(0, len(shares) - 1))]
                match step:
                    case "w":
                        wanted.append(attempts.want(share, f"{number}"))
                    case "e" if attempts.begun:
                        attempts.ends[attempts.begun[data.draw(st.integers(0, len(attempts.begun) - 1))]].set()
                    case "c" if wanted:
                        wanted[data.draw(st.integers(0, len(wanted) - 1))].cancel()
                    case "d":
                        share.dismiss()
                    case "l":
                        share.change(limit=data.draw(st.integers(0, 4)), is_failing=data.draw(st.booleans()))
                    case _:
                        await asyncio.sleep(0)
                assert 0 <= slots.in_flight <= slots.bound
                assert slots.in_flight == sum(share.in_flight for share in shares)
                assert all(share.in_flight <= 4 for share in shares)
            for share in shares:
                share.change(limit=1, is_failing=data.draw(st.booleans()))
            attempts.end_all()
        cancelled = sum(task.cancelled() for task in wanted)
        assert len(attempts.begun) + len(attempts.dismissed) + cancelled >= len(wanted)
        assert slots.in_flight == 0
        assert all(share.in_flight == 0 and not share.waiters for share in shares)

    asyncio.run(_within(live()))


async def _within(work: Awaitable[None]) -> None:
    """Whoever is not served is found by the deadline."""
    async with asyncio.timeout(5):
        await work


async def test_a_turn_costs_no_look_at_all_that_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """With two thousand endpoints waiting, a few looks at where one stands, whatever else they wait for."""
    looks = 0
    rank = Share.rank

    def counted(share: Share) -> tuple[int, int]:
        nonlocal looks
        looks += 1
        return rank(share)

    monkeypatch.setattr(Share, "rank", counted)
    slots = Slots(10)
    async with asyncio.TaskGroup() as tasks:
        attempts = Attempts(tasks)
        shares = [slots.share(8) for _ in range(2_000)]
        for number in range(6_000):
            attempts.want(shares[number % 2_000], f"{number}")
        await spin()
        attempts.end_all()

    assert len(attempts.begun) == 6_000
    assert looks < 6_000 * 20
