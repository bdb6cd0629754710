"""
Telling an endpoint what happened before it was first met (`start = "earliest"`): the orders topic is read for it alone.

What it wants is written down as waiting, in the log's order, and served by the due index as everything that waits. How far that
has come is in the endpoint's own record; where it reaches the others the endpoint goes on with them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from functools import partial

import msgspec

from consumers.telling.callees import Callee
from consumers.telling.lanes import untold
from consumers.telling.means import Shared
from notifier import events
from notifier.deliveries.delivery import DeliveryRecord, Lane, Ref, lane_key, wait
from notifier.events import Telling
from notifier.ports import Chunk
from notifier.record import Stored

PAUSE_S = 1.0
"""How long to wait where there is nothing to read for anybody, or where much waits already."""


class ReadingBack:
    """
    The reading for those behind, in one partition.

    Args:
        upto: where the others are: the next event that they will be given.
    """

    def __init__(self, shared: Shared, *, upto: Callable[[], int]) -> None:
        self._means = shared.means
        self._partition = shared.partition
        self._recorder = shared.recorder
        self._endpoints = shared.endpoints
        self._due = shared.due
        self._callees = shared.callees
        self._upto = upto

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            for name, begin in self._endpoints.behind():
                callee = self._callees.by_name.get(name)
                if callee is not None:
                    await self._means.outages.ride_out(partial(self._read_for, name, begin, callee))
            await asyncio.sleep(PAUSE_S)

    async def _read_for(self, name: str, begin: int, callee: Callee) -> None:
        """Read on until so much waits that reading more would only fill memory, until it leaves, or until it has caught up."""
        topic = self._means.topics.orders
        async with aclosing(self._means.reader.read(topic, self._partition, begin, self._upto())) as chunks:
            async for chunk in chunks:
                await self._write_down(callee, chunk)
                await self._endpoints.read_for(name, chunk.next_offset)
                begin = chunk.next_offset
                has_left = self._callees.by_name.get(name) is not callee
                if has_left or self._due.waiting(name) >= self._means.waiting_max // 2:
                    return
        if begin >= self._upto():
            self._endpoints.joins(name)  # nothing is given to the others between these two
            await self._endpoints.read_for(name, None)

    async def _write_down(self, callee: Callee, chunk: Chunk) -> None:
        wanted: dict[tuple[str, str], list[Ref]] = {}
        for stored in chunk.records:
            telling = _telling_of(stored)
            if telling is not None and callee.endpoint.wants(telling.channel, telling.type, telling.flags_added):
                ref = Ref(telling.version, stored.offset, telling.event_id)
                wanted.setdefault((telling.channel, telling.order), []).append(ref)
        async with asyncio.TaskGroup() as tasks:
            for (channel, order), refs in wanted.items():
                tasks.create_task(self._wait(callee.endpoint.name, channel, order, refs))

    async def _wait(self, endpoint: str, channel: str, order: str, refs: Sequence[Ref]) -> None:
        now = self._means.clock.now()

        def step(before: Lane) -> DeliveryRecord | None:
            after = wait(before, refs, since=now, attempt=0, due=now)
            if after == before:
                return None
            return untold(endpoint, channel, order, refs[0], after, partition=self._partition)

        await self._recorder.record_lane(lane_key(endpoint, channel, order), step)


def _telling_of(stored: Stored) -> Telling | None:
    """None where the record is none of ours: who went by it first has said so."""
    try:
        return events.telling_of(stored.record)
    except (KeyError, ValueError, msgspec.DecodeError):
        return None
