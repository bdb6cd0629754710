"""Processes of two releases on one Redis: what the later one keeps, this one can't read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from notifier.ports import DueChange, Kept, ViewRead
from tests.fakes import FakeViews

_LATER = b"\2"


class LaterViews:
    """The same views, for a process of a later release. It keeps records in a way of its own, and reads both."""

    def __init__(self, views: FakeViews) -> None:
        self._views = views
        self.due, self.due_groups = views.due, views.due_groups
        self.rest, self.rested_upto = views.rest, views.rested_upto
        self.drop_below, self.forget = views.drop_below, views.forget

    async def read(self, topic: str, partition: int, keys: Sequence[bytes]) -> ViewRead:
        """As `notifier.ports.ViewStore`."""
        read = await self._views.read(topic, partition, keys)
        return ViewRead(
            read.position,
            [
                Kept(entry.offset, entry.body.removeprefix(_LATER)) if isinstance(entry, Kept) else entry
                for entry in read.entries
            ],
        )

    async def write(
        self,
        topic: str,
        partition: int,
        *,
        expected: int | None,
        position: int,
        entries: Mapping[bytes, Kept],
        due: Sequence[DueChange],
    ) -> bool:
        """As `notifier.ports.ViewStore`."""
        later = {key: Kept(entry.offset, _LATER + entry.body) for key, entry in entries.items()}
        return await self._views.write(topic, partition, expected=expected, position=position, entries=later, due=due)
