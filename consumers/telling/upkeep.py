"""
What keeps one partition of the deliveries log whole while nothing happens: every minute, and daily.

The topic deletes what is a month old, and Kafka forgets what a group has committed when it was idle for a week. So where fan-out
is, who is left alone and what waits is written again before that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from functools import partial

from consumers.telling.means import Shared
from notifier.deliveries import position
from notifier.deliveries.position import Position
from notifier.record import Record

LOOK_EVERY_S = 60.0

DAY = timedelta(days=1)
"""What still counts is written again when it is as old."""

RENEWED_AT_ONCE_MAX = 500
"""Lanes of one endpoint that one look goes through: some 700,000 a day."""


class Upkeep:
    """
    The upkeep of one partition.

    Args:
        here: where fan-out is now, in its inputs.
        commit: lets what is done be committed again: rule 7, and who commits backwards leaves a lag with nothing to do.
    """

    def __init__(
        self,
        shared: Shared,
        *,
        quiet_s: Callable[[], int],
        here: Callable[[], tuple[int, int]],
        commit: Callable[[], None],
    ) -> None:
        self._means = shared.means
        self._partition = shared.partition
        self._view = shared.view
        self._recorder = shared.recorder
        self._endpoints = shared.endpoints
        self._due = shared.due
        self._callees = shared.callees
        self._quiet_s = quiet_s
        self._here = here
        self._commit = commit
        self._renewed: dict[str, int] = {}
        """By endpoint: up to which due time its lanes were looked through for what is old, in Unix milliseconds."""

    async def run(self) -> None:
        """Every minute: look (rule 7), write down where we are, let rest what is quiet, renew what is old, commit again."""
        means, ride_out = self._means, self._means.outages.ride_out
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            await ride_out(self._view.look)
            self._due.learn(await ride_out(partial(means.store.due_groups, means.topics.deliveries, self._partition)))
            await ride_out(partial(self._endpoints.learn, self._callees.by_name))
            await self._write_position()
            await ride_out(partial(self._view.rest, means.clock.now_ms() - self._quiet_s() * 1000))
            async with asyncio.TaskGroup() as renewing:
                for key in await ride_out(self._old):
                    renewing.create_task(self._recorder.record(key, lambda known: known))
            self._commit()

    async def _write_position(self) -> None:
        """The place from which to go on, should Kafka forget it: where there was progress, and daily."""
        orders, commands = self._here()
        now = Position(orders, commands, self._means.clock.now())

        def step(known: Record | None) -> Record | None:
            if known is None:
                return position.to_record(now)
            before = position.from_record(known)
            is_old = before.at <= now.at - DAY
            has_moved = now.orders > before.orders or now.commands > before.commands
            return position.to_record(position.join(before, now)) if is_old or has_moved else None

        await self._recorder.record(position.KEY, step)

    async def _old(self) -> list[bytes]:
        """Which endpoints, and some of the lanes that wait, were last written a day ago. Of who left the settings it expires."""
        means, topic = self._means, self._means.topics.deliveries
        keys = [name.encode() for name in self._callees.by_name]
        for name, _ in self._due:
            if name not in self._callees.by_name:
                continue
            after_ms, limit = self._renewed.get(name, 0), RENEWED_AT_ONCE_MAX
            while True:
                found = await means.store.due(
                    topic, self._partition, name, until_ms=None, limit=limit, from_ms=after_ms
                )
                if len(found) < limit or found[-1][1] > after_ms:
                    break
                # all of these are due at one moment: the next look would find them again, and none behind them
                limit *= 2
            keys += [key for key, _ in found]
            self._renewed[name] = found[-1][1] if len(found) == limit else 0
        before_ms = means.clock.now_ms() - round(DAY.total_seconds() * 1000)
        return await self._view.older_than(keys, before_ms)
