"""
What one partition's log says of the endpoints: from where each is told, and which are left alone.

How an endpoint is doing is the process' to know (`consumers.telling.callees`); what has to outlive the process is here, written
down by the partition's one writer before anything follows from it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from collections.abc import Set as AbstractSet

from consumers.telling.recorder import Recorder
from consumers.view import View
from notifier.clock import Clock
from notifier.deliveries import Kind, endpoint_state, kind_of
from notifier.deliveries.endpoint_state import EndpointState, State, Why, change, first_met, read_for_it
from notifier.record import Record


class Endpoints:
    """The endpoints of one partition."""

    def __init__(self, view: View, recorder: Recorder, clock: Clock) -> None:
        self._view = view
        self._recorder = recorder
        self._clock = clock
        self._states: dict[str, EndpointState] = {}
        self._joined: set[str] = set()
        self._learnt: set[str] = set()

    async def learn(self, names: Collection[str]) -> None:
        """Read what the log says of these."""
        names = list(names)
        snapshot = await self._view.read(name.encode() for name in names)
        for record in snapshot.known.values():
            self.follow(record)
        self._learnt.update(names)

    @property
    def learnt(self) -> AbstractSet[str]:
        """Of whom it was asked what the log says."""
        return self._learnt

    def has_learnt(self, name: str) -> bool:
        """Whether it was asked what the log says of this one. Until then it may be one that is left alone."""
        return name in self._learnt

    def forget(self, name: str) -> None:
        """It left the settings: what the log says of it is asked again when it is back."""
        self._learnt.discard(name)

    def follow(self, record: Record) -> None:
        """A record of the log is known, whoever wrote it."""
        if kind_of(record.key) is Kind.ENDPOINT:
            state = endpoint_state.from_record(record)
            self._states[state.endpoint] = state

    def get(self, name: str) -> EndpointState | None:
        """What is known of an endpoint; None if it was never seen before."""
        return self._states.get(name)

    def is_left_alone(self, name: str) -> bool:
        """Nothing is sent to it until an operator resumes it."""
        state = self._states.get(name)
        return state is not None and state.is_left_alone

    def is_told(self, name: str, offset: int) -> bool:
        """Whether an event is for it now: not what lies before its start, nor what is read for it beside the others."""
        state = self._states[name]
        return state.start <= offset and (state.behind is None or name in self._joined)

    def behind(self) -> list[tuple[str, int]]:
        """For which of them is read beside the others, and from which offset on."""
        return [
            (name, state.behind)
            for name, state in self._states.items()
            if state.behind is not None and name not in self._joined
        ]

    def joins(self, name: str) -> None:
        """From the next event on it goes with the others: what is written of that is only where not to begin again."""
        self._joined.add(name)

    async def meet(self, starts: Iterable[tuple[str, int]], *, is_behind: bool = False) -> None:
        """
        Write down where endpoints begin that were never seen before: before the first delivery to them.

        Args:
            is_behind: what lies from there on is read for them beside the others.
        """
        unknown = [(name, start) for name, start in starts if name not in self._states]
        if unknown:
            async with asyncio.TaskGroup() as tasks:
                for name, start in unknown:
                    tasks.create_task(self._meet(name, start, start if is_behind else None))

    async def _meet(self, name: str, start: int, behind: int | None) -> None:
        met = first_met(name, start=start, at=self._clock.now(), behind=behind)
        await self._recorder.record(name.encode(), lambda known: None if known else endpoint_state.to_record(met))

    async def read_for(self, name: str, upto: int | None) -> None:
        """Write down how far has been read for an endpoint beside the others; None: it has caught up with them."""

        def step(known: Record | None) -> Record | None:
            assert known is not None, "it was met"
            before = endpoint_state.from_record(known)
            after = read_for_it(before, upto)
            return endpoint_state.to_record(after) if after != before else None

        await self._recorder.record(name.encode(), step)

    async def change(self, name: str, state: State, reason: Why, *, start: int, command: int | None = None) -> bool:
        """
        Write down a change; whether it was one. `start` counts where the endpoint was never seen before.

        What follows from it is only done once it is durable: a command that is read again must find that it was obeyed.
        """
        now = self._clock.now()
        is_changed = False

        def step(known: Record | None) -> Record | None:
            nonlocal is_changed
            before = endpoint_state.from_record(known) if known else first_met(name, start=start, at=now)
            after = change(before, state, reason, at=now, command=command)
            is_changed = after != before
            return endpoint_state.to_record(after) if is_changed else None

        await self._recorder.record(name.encode(), step)
        return is_changed
