"""Taking up the lanes of one partition whose time has come, as far as their endpoints have room."""

from __future__ import annotations

import asyncio
from functools import partial

from consumers.telling.backoff import RETRY_AFTER_S_MAX
from consumers.telling.callees import Callee
from consumers.telling.means import Shared
from consumers.telling.serving import Serving
from notifier.deliveries.delivery import from_record

IDLE_S = 5.0
NO_ROOM_S = 1.0
PAUSE_S = 0.005
"""Between two rounds through what is due: news come by the thousand, and a round is for all of them."""

GIVE_UP_EVERY_S_MAX = 60.0
GIVEN_UP_ROUNDS_MAX = 10


class TakingUp:
    """What is due in one partition. The index is the view's (rule 12): a lane stays in it until what came of it is recorded."""

    def __init__(self, shared: Shared, *, serving: Serving) -> None:
        self._means = shared.means
        self._partition = shared.partition
        self._view = shared.view
        self._endpoints = shared.endpoints
        self._due = shared.due
        self._callees = shared.callees
        self._serving = serving
        self._give_up_at: dict[str, float] = {}
        """By endpoint: when it is to be looked through for what is over, in the loop's time."""

    async def run(self) -> None:
        """Take up until cancelled."""
        while True:
            self._due.changed.clear()
            wait_s = await self._round()
            try:
                async with asyncio.timeout(wait_s):
                    await self._due.changed.wait()
            except TimeoutError:
                continue
            await asyncio.sleep(PAUSE_S)

    async def _round(self) -> float:
        """Look at each endpoint of which something waits; how long until there may be something to do again."""
        wait_s = IDLE_S
        now_ms = self._means.clock.now_ms()
        for name, due_ms in self._due:
            callee = self._callees.by_name.get(name)
            if callee is None or not self._endpoints.has_learnt(name) or self._endpoints.is_left_alone(name):
                continue  # it left the settings, has just come into them, or is left alone: what waits stays
            if callee.is_paused:
                wait_s = min(wait_s, await self._give_up_what_is_over(name, callee))
            if not self._is_due(due_ms, now_ms, callee):
                wait_s = min(wait_s, (due_ms - now_ms) / 1000)
            elif self._serving.room(callee):
                await self._means.outages.ride_out(partial(self._take_up, name, callee))
            else:
                wait_s = min(wait_s, max(callee.ready_in_s, PAUSE_S), NO_ROOM_S)
        return wait_s

    def _is_due(self, due_ms: int, now_ms: int, callee: Callee) -> bool:
        """Nothing is put off for so long that it is due beyond the longest wait: a clock was wrong that set it, and it is due."""
        longest_s = max(self._means.delivery.retry_s_max, RETRY_AFTER_S_MAX, callee.endpoint.timeout_s)
        return not now_ms < due_ms <= now_ms + longest_s * 1000

    async def _take_up(self, name: str, callee: Callee) -> None:
        serving, topic = self._serving, self._means.topics.deliveries
        now_ms = self._means.clock.now_ms()
        room = serving.room(callee)
        self._due.take(name)  # before the wait: what becomes due meanwhile is remembered again
        try:
            due = await self._means.store.due(
                topic, self._partition, name, until_ms=None, limit=room + serving.busy(name) + 1
            )
            idle = [(key, at_ms) for key, at_ms in due if not serving.is_busy(key)]
            ready = [key for key, at_ms in idle if self._is_due(at_ms, now_ms, callee)][:room]
            later = [at_ms for key, at_ms in idle if key not in ready]
            snapshot = await self._view.read(ready)
            found = {key: from_record(record) for key, record in snapshot.known.items()}
            bodies = await serving.bodies(list(found.values()))
        except BaseException:
            self._due.remember(name, now_ms)  # not looked into: it is asked again
            raise
        if later:
            self._due.remember(name, min(later))
        for (key, delivery), tellings in zip(found.items(), bodies, strict=True):
            if delivery.lane.turns and not serving.is_busy(key) and not serving.is_finishing:
                serving.take_up(delivery, key, callee, tellings)

    async def _give_up_what_is_over(self, name: str, callee: Callee) -> float:
        """Whatever its pace: what waits must not outlive its time because few probes are made. In how many seconds again."""
        now = asyncio.get_running_loop().time()
        every_s = max(min(self._means.delivery.give_up_after_s / 10, GIVE_UP_EVERY_S_MAX), PAUSE_S)
        next_at = self._give_up_at.get(name, now)
        if next_at > now:
            return next_at - now
        self._give_up_at[name] = now + every_s
        for _ in range(GIVEN_UP_ROUNDS_MAX):
            if not await self._means.outages.ride_out(partial(self._serving.give_up_what_is_over, name, callee)):
                return every_s
        del self._give_up_at[name]  # there is more; others have their turn first
        return PAUSE_S
