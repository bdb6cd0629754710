"""Keeps every record as it comes to lie in a topic: what is compacted or deleted later was there, and counts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from notifier.demo.history import Entry
from notifier.kafka.access import Access
from notifier.kafka.follower import follow


@dataclass(slots=True)
class Keeper:
    """All records of the topics that it follows."""

    access: Access
    partitions: int
    on_entries: Callable[[str, Sequence[Entry]], None]
    entries: defaultdict[str, list[Entry]] = field(default_factory=lambda: defaultdict(list))
    ends: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    """How far it has read each partition of a topic."""

    async def follow(self, topic: str) -> None:
        """Follow one topic until cancelled."""
        ends = self.ends[topic] = [0] * self.partitions
        async for records in follow(self.access, topic, self.partitions):
            found = [Entry(*record) for record in records]
            self.entries[topic] += found
            for entry in found:
                ends[entry.partition] = max(ends[entry.partition], entry.stored.offset + 1)
            self.on_entries(topic, found)

    def whole(self, topic: str) -> tuple[Entry, ...]:
        """All records of a topic, partition after partition, each in its order."""
        return tuple(sorted(self.entries[topic], key=lambda entry: (entry.partition, entry.stored.offset)))
