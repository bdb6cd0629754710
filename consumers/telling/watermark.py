"""How far a partition's events are done: what may be committed is the first that is not."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field


@dataclass(slots=True)
class Watermark:
    """Which events are done: what may be committed is the first that is not."""

    pending: OrderedDict[int, tuple[int, int]] = field(default_factory=OrderedDict)
    """By offset: how many deliveries it waits for, and when it was appended (Unix milliseconds)."""
    next_offset: int = 0

    def add(self, offset: int, deliveries: int, appended_at_ms: int) -> None:
        """An event was seen, with so many deliveries that it waits for."""
        self.next_offset = offset + 1
        if deliveries:
            self.pending[offset] = deliveries, appended_at_ms

    def done(self, offset: int) -> bool:
        """One delivery of an event is settled or recorded as waiting; whether that moves the mark."""
        deliveries, appended_at_ms = self.pending[offset]
        if deliveries > 1:
            self.pending[offset] = deliveries - 1, appended_at_ms
            return False
        is_first = offset == next(iter(self.pending))
        del self.pending[offset]
        return is_first

    @property
    def upto(self) -> int:
        """Everything below is done."""
        return next(iter(self.pending), self.next_offset)

    @property
    def oldest_at_ms(self) -> int | None:
        """When the first event that is not done was appended."""
        return next((appended_at_ms for _, appended_at_ms in self.pending.values()), None)
