"""
The one writer of a partition's deliveries: however many attempts are in flight, outcomes become durable one batch after another.

Each outcome is a pure step from what is known of its key to the next record. The step is taken on what the view holds when it is
written, so it does not matter what a lane looked like when the attempt began.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from consumers.view import View
from notifier.deliveries.delivery import DeliveryRecord, Lane, from_record, to_record
from notifier.outage import Outages
from notifier.record import Record

BATCH_MAX = 500

Step = Callable[[Record | None], Record | None]
"""From what is known of a key to its next record; None: nothing to record, somebody else did."""

LaneStep = Callable[[Lane], DeliveryRecord | None]
"""The same of a lane."""


@dataclass(frozen=True, slots=True)
class _Item:
    key: bytes
    step: Step
    recorded: asyncio.Future[Record | None]


class Recorder:
    """Records outcomes in one partition of the deliveries log."""

    def __init__(
        self, view: View, outages: Outages, *, on_record: Callable[[bytes, Record | None, Record | None], None]
    ) -> None:
        self._view = view
        self._outages = outages
        self._on_record = on_record
        self._items: deque[_Item] = deque()
        self._has_items = asyncio.Event()

    async def record(self, key: bytes, step: Step) -> Record | None:
        """Return what is known of the key then, once it is durable."""
        item = _Item(key, step, asyncio.get_running_loop().create_future())
        self._items.append(item)
        self._has_items.set()
        return await item.recorded

    async def record_lane(self, key: bytes, step: LaneStep) -> Lane:
        """Return the lane's new state, once it is durable."""

        def on_records(known: Record | None) -> Record | None:
            delivery = step(lane_in(known))
            return to_record(delivery) if delivery is not None else None

        return lane_in(await self.record(key, on_records))

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._has_items.wait()
            batch = [self._items.popleft() for _ in range(min(len(self._items), BATCH_MAX))]
            if not self._items:
                self._has_items.clear()
            moves = await self._outages.ride_out(partial(self._write, batch))
            for item, (before, after) in zip(batch, moves, strict=True):
                self._on_record(item.key, before, after)
                if not item.recorded.done():
                    item.recorded.set_result(after)

    async def _write(self, batch: list[_Item]) -> list[tuple[Record | None, Record | None]]:
        snapshot = await self._view.read(item.key for item in batch)
        known: dict[bytes, Record] = dict(snapshot.known)
        records: list[Record] = []
        moves: list[tuple[Record | None, Record | None]] = []
        for item in batch:
            before = known.get(item.key)
            after = item.step(before)
            if after is not None:
                records.append(after)
                known[item.key] = after
            moves.append((before, after or before))
        if records:
            await self._view.append(snapshot, records)
        return moves


def lane_in(record: Record | None) -> Lane:
    """The lane that a record holds; an idle one where there is none."""
    return from_record(record).lane if record is not None else Lane()
