"""The endpoints while they are being called: whether an attempt may begin, how they fare, and who wants what."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Literal, Protocol, TypedDict

from consumers.client import trusting
from consumers.telling.backoff import RetryBudget
from consumers.telling.blame import Blame
from consumers.telling.measures import Measures, Measuring
from consumers.telling.pace import PROBE_S_MAX, Pace
from consumers.telling.slots import Share, Slots
from notifier.config import Delivery, Endpoint
from notifier.logs import get_logger

log = get_logger()

State = Literal["active", "suspended"]

FULL_S = 0.25
"""When to ask again for room at an endpoint that has as much in flight as it may; who subscribed hears of it sooner."""

REMIND_S = 1.0
"""Who wanted room and did not take it within this has something else to do: others are told."""

_WANTING_MAX = 4096


class Listener(Protocol):
    """Who wants to hear of an endpoint: a partition. What it does about it, it does in a later turn of the loop."""

    def on_state(self, callee: Callee) -> None:
        """`callee.state` has changed."""
        ...

    def on_room(self, callee: Callee) -> bool:
        """
        An endpoint that had no room has some (`callee.room`), or a pause is over.

        Whether the listener has something for it and is about to begin: then those behind it are not told of the same room.
        """
        ...


class Callee:
    """One endpoint, for all partitions of this process. Times are the event loop's."""

    def __init__(
        self,
        endpoint: Endpoint,
        delivery: Delivery,
        *,
        share: Share,
        blame: Blame,
        on_note: Callable[[Callee, float], None],
        random: Callable[[], float],
    ) -> None:
        self.endpoint = endpoint
        self._retry_s_max = delivery.retry_s_max
        self._random = random
        self._pace = _pace(endpoint, delivery, random)
        self._share = share
        self._blame = blame
        self._on_note = on_note
        self._budget = RetryBudget()
        self._measuring = Measuring()
        self._has_left = False
        self._listeners: dict[Listener, None] = {}
        """In the order in which they are told; whoever took room goes to its end."""
        self._had_room = True
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = 0.0
        self._has_been_called = False

    @property
    def tls(self) -> ssl.SSLContext | None:
        """Whom to trust; None: the system's authorities. Made when it is first asked for."""
        return trusting(self.endpoint.authorities) if self.endpoint.authorities is not None else None

    # What the settings say of it

    def change(self, endpoint: Endpoint, delivery: Delivery) -> None:
        """
        Go by these settings from the next attempt on. How it fares is known of a URL: of another one nothing is known yet.
        """
        is_elsewhere = endpoint.url != self.endpoint.url
        self.endpoint = endpoint
        self._retry_s_max = delivery.retry_s_max
        if is_elsewhere:
            self._begin_anew(delivery)
        else:
            self._pace.change(**_measure(endpoint, delivery))
        self._changed()

    def _begin_anew(self, delivery: Delivery) -> None:
        before = self.state
        self._pace = _pace(self.endpoint, delivery, self._random)
        self._budget = RetryBudget()
        self._measuring = Measuring()
        self._blame.forget(self.endpoint.name)
        self._has_been_called = False
        if self.state != before:
            log.info("endpoint.resumed", endpoint=self.endpoint.name, reason="moved")
            self._tell_state()

    def leave(self) -> None:
        """It is no longer in the settings: nothing is begun any more."""
        self._has_left = True
        self._blame.forget(self.endpoint.name)
        self._share.dismiss()
        self._listeners.clear()
        if self._alarm is not None:
            self._alarm.cancel()

    def is_at(self, url: str) -> bool:
        """Whether this is where it is called now; what came of an attempt elsewhere says nothing about it."""
        return self.endpoint.url == url and not self._has_left

    # Whether to call it

    @property
    def state(self) -> State:
        """Suspended: it has only failed for `suspend_after_s`, and is probed."""
        return "suspended" if self._pace.is_suspended else "active"

    @property
    def is_paused(self) -> bool:
        """Whether it is called one by one with pauses, since it fails: nothing for it is worth being held in memory."""
        return self._pace.is_paused

    @property
    def in_flight(self) -> int:
        """Attempts that have begun and not ended."""
        return self._share.in_flight

    @property
    def room(self) -> int:
        """How many more attempts may begin now, those that wait for a slot already being counted as begun."""
        self._adjust()
        return self._share.room

    @property
    def ready_in_s(self) -> float:
        """0 if there is room; else when it is worth asking again."""
        if self.room:
            return 0.0
        if not self._pace.is_paused:
            return FULL_S
        # a probe that is under way may take its whole time
        under_way_s = self.endpoint.timeout_s if self._share.in_flight or self._share.waiters else 0.0
        return max(self._pace.ready_in_s(_now()), under_way_s)

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[bool]:
        """
        Room for one attempt, whose end is then said to `note`.

        True: call it. False: not now, since it fails; ask again in `ready_in_s`. While it does not fail this waits for its turn,
        in the endpoint and in the process.
        """
        if not await self._take():
            yield False
            return
        try:
            yield True
        finally:
            self._share.give_back()
            self._changed()

    async def _take(self) -> bool:
        if self._has_left or (self._pace.is_paused and not self.room):
            return False
        pauses = self._pace.pauses_begun
        self._had_room = self._share.room > 1
        is_taken = False
        try:
            is_taken = await self._share.take()
        finally:
            if not is_taken:
                self._changed()
        if is_taken and not self._may_still_begin(pauses):
            self._share.give_back()  # it left or was throttled between the slot and this turn of the loop
            self._changed()
            return False
        if is_taken:
            self._has_been_called = True
            self._pace.begin(_now())
            self._adjust()
            self._had_room = self._share.room > 0
        return is_taken

    def _may_still_begin(self, pauses: int) -> bool:
        return not self._has_left and self._pace.pauses_begun == pauses

    # What came of it

    def note(
        self, *, is_accepted: bool, duration_ms: float = 0.0, error: str | None = None, wish_s: float | None = None
    ) -> None:
        """
        Take account of an attempt, after each.

        Args:
            is_accepted: whether it was.
            duration_ms: how long it took.
            error: why it failed, in words.
            wish_s: how long the endpoint asked to be left alone (`backoff.retry_after_s`).
        """
        if self._has_left:
            return  # nothing follows from it, and who is not there is not counted among those that fail
        now, before, pauses = _now(), self.state, self._pace.pauses_begun
        self._budget.attempted(now)
        self._measuring.add(is_accepted=is_accepted, duration_ms=duration_ms, error=error)
        if is_accepted:
            self._pace.accepted(now)
        else:
            self._pace.failed(now, wish_s=wish_s or 0.0, is_ours=self._blame.is_ours)
        self._on_note(self, now)
        if self._pace.pauses_begun != pauses:
            self._share.dismiss()
        self._changed()
        if self.state != before:
            if self.state == "suspended":
                log.warning("endpoint.suspended", endpoint=self.endpoint.name, reason="failing")
            else:
                log.info("endpoint.resumed", endpoint=self.endpoint.name, reason="accepted")
            self._tell_state()

    def within_budget(self, retry_in_s: float) -> float:
        """
        When to try again what just failed: then, or later where that would be one retry too many. Asked once for each retry.

        Never later than `retry_s_max`. While the endpoint is paused its pace is the tighter bound, and what waits shall be ready
        when it comes back.
        """
        if self._pace.is_paused:
            return retry_in_s
        return max(retry_in_s, min(self._budget.take(_now()), self._retry_s_max))

    @property
    def measures(self) -> Measures:
        """How the last attempts went."""
        return self._measuring.measures()

    def is_failing(self, now: float) -> bool:
        """As `Pace.is_failing`."""
        return self._pace.is_failing(now)

    def throttle(self, now: float) -> None:
        """Call it one by one from now on: it fails, and so do most others."""
        self._pace.throttle(now)
        self._share.dismiss()
        self._changed()

    def resume(self) -> None:
        """An operator's word, told by who obeys it: forget that it failed, and begin with one attempt at a time."""
        before = self.state
        self._pace.resume()
        self._changed()
        if self.state != before:
            self._tell_state()

    def suspend_at_start(self) -> None:
        """It was found suspended for failing: begin so, with a probe soon. Who has called it in this process knows better."""
        if self._has_been_called or self._pace.is_suspended:
            return
        self._pace.suspend(_now())
        self._share.dismiss()
        self._changed()
        self._tell_state()

    # Who hears of it

    def subscribe(self, listener: Listener) -> None:
        """Tell it from now on, if it is not told yet. The loop is running."""
        if listener in self._listeners:
            return
        self._listeners[listener] = None
        self._changed()

    def unsubscribe(self, listener: Listener) -> None:
        """Tell it no more."""
        self._listeners.pop(listener, None)

    def _tell_state(self) -> None:
        for listener in list(self._listeners):
            listener.on_state(self)

    def _adjust(self) -> None:
        self._share.change(limit=self._pace.limit(_now()), is_failing=self._pace.has_failed)

    def _changed(self) -> None:
        """After whatever may have made room: see who may begin, and who has to hear of it."""
        self._adjust()
        had_room, self._had_room = self._had_room, self._share.room > 0
        if not self._listeners:
            return
        if self._had_room and not had_room:
            # not at once: what came of the attempt that made room is noted in this turn of the loop
            self._alarm_in(0.0)
        elif not self._had_room and (pause_s := self._pace.ready_in_s(_now())) > 0.0:
            self._alarm_in(pause_s)

    def _alarm_in(self, in_s: float) -> None:
        """Tell the listeners then, unless it is to be sooner anyway."""
        at = _now() + in_s
        if self._alarm is not None:
            if self._alarm_at <= at:
                return
            self._alarm.cancel()
        self._alarm_at = at
        self._alarm = asyncio.get_running_loop().call_at(at, self._tell_room)

    def _tell_room(self) -> None:
        self._alarm = None
        self._adjust()
        if not self._share.room:
            self._changed()
            return
        self._had_room = True
        taken = 0
        for listener in list(self._listeners):
            if not listener.on_room(self):
                continue
            taken += 1
            del self._listeners[listener]
            self._listeners[listener] = None
            if taken == self._share.room:
                self._alarm_in(REMIND_S)
                return


class Callees:
    """All endpoints of a process, sharing its bound on attempts in flight."""

    def __init__(self, endpoints: Sequence[Endpoint], delivery: Delivery, random: Callable[[], float]) -> None:
        self._random = random
        self._slots = Slots(delivery.concurrency)
        self._blame = Blame(len(endpoints))
        self.by_name = {endpoint.name: self._callee(endpoint, delivery) for endpoint in endpoints}
        self._wanting = lru_cache(_WANTING_MAX)(self._find_wanting)

    def _callee(self, endpoint: Endpoint, delivery: Delivery) -> Callee:
        return Callee(
            endpoint,
            delivery,
            share=self._slots.share(endpoint.concurrency),
            blame=self._blame,
            on_note=self._judge,
            random=self._random,
        )

    def change(self, endpoints: Sequence[Endpoint], delivery: Delivery) -> None:
        """Go by these from now on: who stays keeps pace and place, who is new begins, who is not among them is not called."""
        self._slots.change(delivery.concurrency)
        self._blame.change(len(endpoints))
        before = self.by_name
        self.by_name = {}
        for endpoint in endpoints:
            callee = before.pop(endpoint.name, None)
            if callee is None:
                callee = self._callee(endpoint, delivery)
            else:
                callee.change(endpoint, delivery)
            self.by_name[endpoint.name] = callee
        for callee in before.values():
            callee.leave()
        self._wanting.cache_clear()

    def wanting(self, channel: str, event_type: str, flags_added: Collection[str] = ()) -> Sequence[Callee]:
        """Whom an event is for. Asked again it costs nothing, however many endpoints there are."""
        return self._wanting(channel, event_type, bool(flags_added))

    def _find_wanting(self, channel: str, event_type: str, has_flags: bool) -> tuple[Callee, ...]:
        flags = ("any",) if has_flags else ()
        return tuple(callee for callee in self.by_name.values() if callee.endpoint.wants(channel, event_type, flags))

    def _judge(self, callee: Callee, now: float) -> None:
        """Whether most endpoints fail at once. Then none is suspended, and those that fail are slowed down at once."""
        if not self._blame.note(callee.endpoint.name, now, is_failing=callee.is_failing(now)):
            return
        failing, endpoints = len(self._blame.failing), len(self.by_name)
        if self._blame.is_ours:
            log.error("endpoints.failing", failing=failing, endpoints=endpoints)
            for name in self._blame.failing:
                self.by_name[name].throttle(now)
        else:
            log.info("endpoints.recovered", failing=failing, endpoints=endpoints)


class _Measure(TypedDict):
    """What the settings say of an endpoint's pace."""

    concurrency: int
    pause_s: float
    pause_s_max: float
    suspend_after_s: float


def _measure(endpoint: Endpoint, delivery: Delivery) -> _Measure:
    return _Measure(
        concurrency=endpoint.concurrency,
        pause_s=delivery.first_retry_s,
        pause_s_max=min(delivery.retry_s_max, PROBE_S_MAX),
        suspend_after_s=delivery.suspend_after_s,
    )


def _pace(endpoint: Endpoint, delivery: Delivery, random: Callable[[], float]) -> Pace:
    return Pace(**_measure(endpoint, delivery), random=random)


def _now() -> float:
    return asyncio.get_running_loop().time()
