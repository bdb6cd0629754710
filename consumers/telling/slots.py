"""
The bound on attempts in flight of a process, shared fairly between its endpoints.

A free slot goes to the waiting endpoint that has the fewest; among equals to the one that waits longest. The last fifth is only
for endpoints that have none in flight and do not fail: hundreds that hang hold all the others up by nothing.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from itertools import count

_RESERVED_PART = 5
_STALE_MAX = 64


class Slots:
    """
    The slots of one process.

    Each waiting endpoint stands in one of two lines, those who may use the reserve and the others, ordered by whose turn it is.
    It costs O(log n) in the number of waiting endpoints, and nothing of the waiting attempts behind the first of each.
    """

    def __init__(self, bound: int) -> None:
        self.bound = bound
        self._free = bound
        self._reserved = bound // _RESERVED_PART
        self._turns = count()
        self._favoured = _Line(is_favoured=True)
        self._others = _Line(is_favoured=False)

    @property
    def in_flight(self) -> int:
        """How many slots are taken."""
        return self.bound - self._free

    def change(self, bound: int) -> None:
        """Have so many from now on. What is taken is not taken away: where it is more, nothing is given until it is less."""
        self._free += bound - self.bound
        self.bound = bound
        self._reserved = bound // _RESERVED_PART
        self._hand_out()

    def share(self, limit: int) -> Share:
        """A new endpoint's part, of at most `limit` slots."""
        return Share(self, limit)

    async def _take(self, share: Share) -> bool:
        # nobody who waits could have a slot now, else it would have one: who can have it passes nobody by
        if share.has_room and self._free > (0 if share.is_favoured else self._reserved):
            self._give(share)
            return True
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        turn = next(self._turns)
        share.waiters[turn] = waiter
        self._file(share)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                if share.waiters.pop(turn, None) is not None:
                    self._file(share)
            elif waiter.result():
                self._take_back(share)  # it was given a slot and cancelled before it could know
            raise

    def _give(self, share: Share) -> None:
        self._free -= 1
        share.in_flight += 1

    def _take_back(self, share: Share) -> None:
        self._free += 1
        share.in_flight -= 1
        self._file(share)
        self._hand_out()

    def _file(self, share: Share) -> None:
        """Put an endpoint where it stands now; where it stood before is passed over when its turn would come."""
        if share.is_waiting:
            (self._favoured if share.is_favoured else self._others).add(share)

    def _hand_out(self) -> None:
        while self._free > 0:
            share = self._next()
            if share is None:
                return
            _, waiter = share.waiters.popitem(last=False)
            if not waiter.done():  # else it was cancelled, and its task does not know yet
                self._give(share)
                waiter.set_result(True)
            self._file(share)

    def _next(self) -> Share | None:
        favoured = self._favoured.first()
        other = self._others.first() if self._free > self._reserved else None
        if favoured is None or other is None:
            return favoured or other
        return min(favoured, other, key=Share.rank)


class Share:
    """One endpoint's part of the slots."""

    __slots__ = ("_slots", "in_flight", "is_failing", "limit", "waiters")

    def __init__(self, slots: Slots, limit: int) -> None:
        self._slots = slots
        self.limit = limit
        self.is_failing = False
        self.in_flight = 0
        self.waiters: OrderedDict[int, asyncio.Future[bool]] = OrderedDict()
        """By turn: the first is the one that waits longest."""

    async def take(self) -> bool:
        """Wait for a slot. True: it is taken, and has to be given back. False: the endpoint is not to be called now."""
        return await self._slots._take(self)

    def give_back(self) -> None:
        """The attempt ended: somebody else may have its slot."""
        self._slots._take_back(self)

    def change(self, *, limit: int, is_failing: bool) -> None:
        """How many slots it may have from now on, and whether its last attempt failed. What it has is not taken away."""
        if (limit, is_failing) != (self.limit, self.is_failing):
            self.limit, self.is_failing = limit, is_failing
            self._slots._file(self)
            self._slots._hand_out()

    def dismiss(self) -> None:
        """Tell all that wait that the endpoint is not to be called now."""
        while self.waiters:
            _, waiter = self.waiters.popitem(last=False)
            if not waiter.done():
                waiter.set_result(False)

    @property
    def room(self) -> int:
        """How many more could begin, were there slots enough: those who wait have it already."""
        return max(self.limit - self.in_flight - len(self.waiters), 0)

    @property
    def has_room(self) -> bool:
        """Whether it may have one more."""
        return self.in_flight < self.limit

    @property
    def is_waiting(self) -> bool:
        """Whether it would take a slot."""
        return bool(self.waiters) and self.has_room

    @property
    def is_favoured(self) -> bool:
        """Whether the reserve is for it, too."""
        return self.in_flight == 0 and not self.is_failing

    def rank(self) -> tuple[int, int]:
        """Who has the lowest is next. Only while somebody waits."""
        return self.in_flight, next(iter(self.waiters))


@dataclass(slots=True)
class _Line:
    """Endpoints by rank. An entry whose endpoint has moved on stays until it comes up, or until there are too many of them."""

    is_favoured: bool
    _entries: list[tuple[tuple[int, int], int, Share]] = field(default_factory=list)
    _entries_max: int = _STALE_MAX
    _numbers: count[int] = field(default_factory=count)

    def add(self, share: Share) -> None:
        heappush(self._entries, (share.rank(), next(self._numbers), share))
        if len(self._entries) > self._entries_max:
            self._clear()

    def first(self) -> Share | None:
        while self._entries:
            rank, _, share = self._entries[0]
            if self._stands(rank, share):
                return share
            heappop(self._entries)
        return None

    def _stands(self, rank: tuple[int, int], share: Share) -> bool:
        return share.is_waiting and share.is_favoured == self.is_favoured and share.rank() == rank

    def _clear(self) -> None:
        """Keep one entry for each endpoint that stands here."""
        standing = {id(share): entry for entry in self._entries if self._stands(entry[0], share := entry[2])}
        self._entries = list(standing.values())
        heapify(self._entries)
        self._entries_max = _STALE_MAX + 2 * len(self._entries)
