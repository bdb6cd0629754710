"""Obeying an operator's word (`notifier.deliveries.command`): each command once, however often it is read."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import assert_never

import msgspec

from consumers.telling.lanes import untold
from consumers.telling.means import Shared
from notifier.deliveries import command
from notifier.deliveries.command import Command, Wanted
from notifier.deliveries.delivery import DeliveryRecord, Lane, Ref, lane_key, redrive
from notifier.deliveries.endpoint_state import State, Why
from notifier.logs import get_logger
from notifier.record import Stored

log = get_logger()


class Obeying:
    """
    The commands of one partition.

    Args:
        obeyed: by endpoint, when the command was given that was obeyed last; all partitions of a process share it.
    """

    def __init__(self, shared: Shared, *, obeyed: dict[str, datetime]) -> None:
        self._means = shared.means
        self._partition = shared.partition
        self._recorder = shared.recorder
        self._endpoints = shared.endpoints
        self._callees = shared.callees
        self._obeyed = obeyed

    async def obey(self, records: Sequence[Stored], *, start: int) -> None:
        """
        Return when all that these say is durable. `start`: where an endpoint that was never seen before is told from.

        Raises:
            NewerStateError: a later release wrote one of them.
        """
        for stored in records:
            try:
                said = command.from_record(stored.record)
            except msgspec.DecodeError:
                log.error("command.unreadable", partition=self._partition, offset=stored.offset)
                continue
            await self._obey(said, stored.offset, start)

    async def _obey(self, said: Command, offset: int, start: int) -> None:
        match said.command:
            case "redrive":
                async with asyncio.TaskGroup() as tasks:
                    for wanted in said.deliveries:
                        tasks.create_task(self._redrive(said.endpoint, wanted, offset))
                log.info(
                    "redrive.begun",
                    endpoint=said.endpoint,
                    deliveries=len(said.deliveries),
                    by=said.by,
                    partition=self._partition,
                    offset=offset,
                )
            case "suspend":
                if await self._change(said, State.SUSPENDED, offset, start):
                    log.warning("endpoint.suspended", endpoint=said.endpoint, reason="operator", by=said.by)
            case "resume":
                if await self._change(said, State.ACTIVE, offset, start):
                    log.info("endpoint.resumed", endpoint=said.endpoint, reason="operator", by=said.by)
            case _:
                assert_never(said.command)

    async def _change(self, said: Command, state: State, offset: int, start: int) -> bool:
        """Write an endpoint's state down; whether it is the first partition of this process that does: each has its own copy."""
        if not await self._endpoints.change(said.endpoint, state, Why.OPERATOR, start=start, command=offset):
            return False
        callee = self._callees.by_name.get(said.endpoint)
        if callee is not None and state is State.ACTIVE:
            callee.resume()
        is_new = self._obeyed.get(said.endpoint) != said.at
        self._obeyed[said.endpoint] = said.at
        return is_new

    async def _redrive(self, endpoint: str, wanted: Wanted, offset: int) -> None:
        ref = Ref(wanted.version, wanted.offset, wanted.event_id)

        def step(before: Lane) -> DeliveryRecord | None:
            after = redrive(before, [ref], round_=offset, now=self._means.clock.now())
            if after == before:
                return None
            return untold(endpoint, wanted.channel, wanted.order, ref, after, partition=self._partition)

        await self._recorder.record_lane(lane_key(endpoint, wanted.channel, wanted.order), step)
