"""
The one writer of a partition's deliveries: however many attempts are in flight, outcomes become durable one batch after another.

Each outcome is a pure step from one state of its lane to the next. The step is taken on what the view holds when it is written,
so it does not matter what the lane looked like when the attempt began.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from consumers.view import View
from notifier.delivery import DeliveryRecord, Lane, from_record, to_record
from notifier.outage import Outages
from notifier.record import Record

BATCH_MAX = 500

Step = Callable[[Lane], DeliveryRecord | None]
"""From a lane's state to the record that holds its next one; None: nothing to record, somebody else did."""


@dataclass(frozen=True, slots=True)
class _Item:
    key: bytes
    step: Step
    recorded: asyncio.Future[Lane]


class Recorder:
    """Records outcomes in one partition of the deliveries log."""

    def __init__(self, view: View, outages: Outages, *, on_lane: Callable[[bytes, Lane, Lane], None]) -> None:
        self._view = view
        self._outages = outages
        self._on_lane = on_lane
        self._items: deque[_Item] = deque()
        self._has_items = asyncio.Event()

    async def record(self, key: bytes, step: Step) -> Lane:
        """Return the lane's new state, once it is durable."""
        item = _Item(key, step, asyncio.get_running_loop().create_future())
        self._items.append(item)
        self._has_items.set()
        return await item.recorded

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._has_items.wait()
            batch = [self._items.popleft() for _ in range(min(len(self._items), BATCH_MAX))]
            if not self._items:
                self._has_items.clear()
            moves = await self._outages.ride_out(partial(self._write, batch))
            for item, (before, after) in zip(batch, moves, strict=True):
                self._on_lane(item.key, before, after)
                if not item.recorded.done():
                    item.recorded.set_result(after)

    async def _write(self, batch: list[_Item]) -> list[tuple[Lane, Lane]]:
        snapshot = await self._view.read(item.key for item in batch)
        lanes = {key: from_record(record).lane for key, record in snapshot.known.items()}
        records: list[Record] = []
        moves: list[tuple[Lane, Lane]] = []
        for item in batch:
            before = lanes.get(item.key, Lane())
            delivery = item.step(before)
            after = delivery.lane if delivery else before
            if delivery:
                records.append(to_record(delivery))
                lanes[item.key] = after
            moves.append((before, after))
        if records:
            await self._view.append(snapshot, records)
        return moves
