"""
The lanes of one partition while they are served: each by one task, its events in order, until one fails or none is left.

What came of an attempt is durable before anything follows from it. What has to wait is written down and leaves the memory; the
due index brings it back.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from consumers.client import Answer
from consumers.telling.backoff import retry_after_s, retry_in_s
from consumers.telling.callees import Callee
from consumers.telling.calling import call
from consumers.telling.lanes import ActiveLane, Todo, record_of, say, trace, waiting_in
from consumers.telling.means import Shared
from consumers.telling.measures import in_words
from notifier import events
from notifier.deliveries.delivery import DeliveryRecord, Lane, Outcome, Ref, Turn, from_record, give_up_unheard, settle
from notifier.events import Telling
from notifier.kept import record_in
from notifier.ports import Kept
from notifier.record import Record
from notifier.watching import tracing

PARK_AFTER_S = 3.0
"""What has not been told after this long is written down as waiting, and its event counts as done."""

FINISH_S = 1.5
"""How long attempts in flight may end when the partition is taken away; those cut off are repeated by the next owner."""

GIVEN_UP_AT_ONCE_MAX = 200

BODIES_AHEAD = 4
"""Of one lane: most have no more events than that."""

AHEAD = 32
"""Lanes of one endpoint that a partition takes up before there are slots for them: what it reads for one, it reads for all."""

_T = TypeVar("_T")

GONE = 410
"""RFC 9110, 15.5.11: the endpoint is no more, and says that this is for ever."""


class Serving:
    """
    The lanes of one partition.

    Args:
        on_done: called with an event's offset when one of the deliveries that it waits for is durable, in one way or the other.
        on_gone: called with the name of an endpoint that answered 410.
    """

    def __init__(
        self,
        shared: Shared,
        *,
        tasks: asyncio.TaskGroup,
        on_done: Callable[[int], None],
        on_gone: Callable[[str], None],
    ) -> None:
        self._means = shared.means
        self._partition = shared.partition
        self._view = shared.view
        self._recorder = shared.recorder
        self._endpoints = shared.endpoints
        self._due = shared.due
        self._tasks = tasks
        self._on_done = on_done
        self._on_gone = on_gone
        self._lanes: dict[bytes, ActiveLane] = {}
        self._going_behind: Counter[bytes] = Counter()
        """How many events of a lane are being written down behind what waits there: until they are, none of it is begun."""
        self._busy: Counter[str] = Counter()
        """By endpoint: lanes that are served, and events that are being written down."""
        self._on_the_way: Counter[str] = Counter()
        """By endpoint: lanes that were taken up and have had no slot yet."""
        self._is_finishing = False

    def holds(self, key: bytes, turn: Turn) -> bool:
        """Whether this is in memory already."""
        lane = self._lanes.get(key)
        return lane is not None and lane.holds(turn)

    def tell(self, key: bytes, callee: Callee, telling: Telling, todo: Todo, *, is_behind: bool) -> None:
        """Take an event in; `is_behind` where something of its lane waits durably."""
        lane = self._lanes.get(key)
        if lane is not None and not lane.is_parked:
            lane.add([todo])
            return
        now = self._means.clock.now()
        lane = ActiveLane(key, callee, telling.channel, telling.order, deque([todo]), now)
        if is_behind or self.is_busy(key) or callee.is_paused or self._endpoints.is_left_alone(callee.endpoint.name):
            # something waits before it, or nothing is sent there now: it goes behind, durably, and comes back when due
            self._going_behind[key] += 1
            self._busy[callee.endpoint.name] += 1
            self._tasks.create_task(self._go_behind(lane, is_behind=is_behind))
            return
        self._hold(lane)
        self._tasks.create_task(self._serve(lane))

    def take_up(
        self, delivery: DeliveryRecord, key: bytes, callee: Callee, tellings: Mapping[int, Telling | None]
    ) -> None:
        """Serve a lane that waited, now that it is due; `tellings`: bodies that were read already, by version."""
        now = self._means.clock.now()
        todos = deque(Todo(turn, tellings.get(turn.version), None, 0.0) for turn in delivery.lane.turns)
        # a clock that was wrong may have set a later one: its time runs from now on
        since = min(delivery.lane.since or now, now)
        lane = ActiveLane(key, callee, delivery.channel, delivery.order, todos, since, delivery.lane.attempt)
        self._hold(lane)
        self._on_the_way[callee.endpoint.name] += 1
        self._tasks.create_task(self._serve(lane, is_on_the_way=True))

    def is_busy(self, key: bytes) -> bool:
        """Is a lane being served, or something of it on its way into the log? Then what is durable is not all there is of it."""
        return key in self._lanes or key in self._going_behind

    def busy(self, name: str) -> int:
        """How many lanes of an endpoint are, at most."""
        return self._busy[name]

    @property
    def is_finishing(self) -> bool:
        """Nothing is begun any more."""
        return self._is_finishing

    def room(self, callee: Callee) -> int:
        """How many lanes of an endpoint may be taken up: those that were and have no slot yet count as well."""
        taken = self._on_the_way[callee.endpoint.name]
        return max((callee.room if callee.is_paused else AHEAD) - taken, 0)

    async def _go_behind(self, lane: ActiveLane, *, is_behind: bool) -> None:
        if not is_behind and self._due.waiting(lane.callee.endpoint.name) >= self._means.waiting_max:
            await self._give_up_unheard(lane)
        else:
            await self._write_down(lane, self._means.clock.now())
        _take_one(self._going_behind, lane.key)
        _take_one(self._busy, lane.callee.endpoint.name)
        self._forget(lane)

    # Serving a lane

    async def _serve(self, lane: ActiveLane, *, is_on_the_way: bool = False) -> None:
        """Tell a lane's events in order, until one fails or none is left."""
        name = lane.callee.endpoint.name
        try:
            while lane.todo and not lane.is_parked and not self._is_finishing:
                todo = lane.todo[0]
                if todo.telling is None:
                    todo.telling = await self._means.outages.ride_out(partial(self._body, lane, todo.turn))
                if todo.telling is None:
                    await self._settle(lane, todo, Outcome.SKIPPED, None)
                    continue
                async with lane.callee.slot() as is_free:
                    if is_on_the_way:
                        is_on_the_way = self._arrive(name)
                    if lane.is_parked:
                        return
                    if not is_free or self._endpoints.is_left_alone(name):
                        await self._put_off(lane)
                        return
                    if lane.todo[0] is not todo:  # an event came meanwhile, which goes before what is told once more
                        lane.attempt, lane.since = 0, self._means.clock.now()
                        continue
                    lane.is_calling = lane.is_engaged = True
                    lane.attempt += 1
                    url = lane.callee.endpoint.url
                    answer = await self._call(lane, todo.telling)
                    lane.is_calling = False
                if not await self._judge(lane, todo, answer, url):
                    return
                lane.is_engaged = False
        finally:
            if is_on_the_way:
                self._arrive(name)
            self._forget(lane)

    def _arrive(self, name: str) -> bool:
        _take_one(self._on_the_way, name)
        self._due.changed.set()
        return False

    async def _put_off(self, lane: ActiveLane) -> None:
        """Nothing is sent there now: what is not written down yet is, and the index brings it back."""
        lane.is_parked = True
        now = self._means.clock.now()
        if any(todo.counts is not None for todo in lane.todo):
            await self._write_down(lane, now)
        else:
            # it is due, and was before: when there is room again, whenever that is, nothing else brings it back
            lane.next_attempt_at = now

    async def _call(self, lane: ActiveLane, telling: Telling) -> Answer:
        callee, began = lane.callee, time.monotonic()
        came = tracing.valid(telling.traceparent)
        traceparent = None if came is None else tracing.onward(came)
        answer = await call(
            self._means.client,
            callee.endpoint,
            callee.tls,
            webhook_id=telling.event_id,
            body=telling.body,
            now_ms=self._means.clock.now_ms(),
            traceparent=traceparent,
        )
        if traceparent is not None and tracing.is_on():
            trace(lane, telling, answer, traceparent, began)
        return answer

    async def _judge(self, lane: ActiveLane, todo: Todo, answer: Answer, url: str) -> bool:
        """Record what came of an attempt at that URL; whether the lane goes on."""
        means = self._means
        now = means.clock.now()
        wish_s = None if answer.is_accepted else retry_after_s(answer.retry_after, now)
        is_there = lane.callee.is_at(url)
        if is_there:
            lane.callee.note(
                is_accepted=answer.is_accepted, duration_ms=answer.duration_ms, error=in_words(answer), wish_s=wish_s
            )
        if answer.is_accepted:
            await self._settle(lane, todo, Outcome.ACCEPTED, answer)
            return True
        is_left_alone = answer.status_code == GONE and is_there
        if is_left_alone:
            self._on_gone(lane.callee.endpoint.name)
        elif self._is_over(lane.callee.endpoint.name, lane.since, now):
            await self._settle(lane, todo, Outcome.DEAD, answer)
            return True
        # before the wait for the record: an event that comes meanwhile goes behind this one durably, not into a lane that ends
        lane.is_parked = True
        retry_s = wish_s if wish_s is not None else retry_in_s(
            lane.attempt,
            first_retry_s=means.delivery.first_retry_s,
            retry_s_max=means.delivery.retry_s_max,
            random=means.random,
        )  # fmt: skip
        # where it was called is not where it is called now: that it failed there is no reason to wait
        retry_s = lane.callee.within_budget(retry_s) if is_there else 0.0
        if answer.status_code == GONE:
            # it is left alone whatever this is; when an operator resumes it, what waits shall be ready
            retry_s = min(retry_s, means.delivery.first_retry_s)
        await self._write_down(lane, now + timedelta(seconds=retry_s), Outcome.FAILED, answer)
        told_s = None if is_left_alone else round(retry_s, 3)
        say(lane, todo, Outcome.FAILED, answer, means.clock.now(), retry_in_s=told_s)
        return False

    def _is_over(self, name: str, since: datetime, now: datetime) -> bool:
        """Whether what has been the first of its lane since then has had its time."""
        state = self._endpoints.get(name)
        waited = state.waited(since, now) if state is not None else now - since
        return waited >= timedelta(seconds=self._means.delivery.give_up_after_s)

    async def _settle(
        self, lane: ActiveLane, todo: Todo, outcome: Outcome, answer: Answer | None, *, error: str | None = None
    ) -> None:
        now = self._means.clock.now()
        is_dead = outcome is Outcome.DEAD

        def step(before: Lane) -> DeliveryRecord | None:
            if before.has_told(todo.turn):
                return None  # another owner settled it
            after = settle(before, todo.turn, now=now, is_dead=is_dead)
            return record_of(lane, todo.turn, outcome, answer, after, partition=self._partition, error=error)

        durable = await self._recorder.record_lane(lane.key, step)
        lane.next_attempt_at = durable.next_attempt_at
        say(lane, todo, outcome, answer, self._means.clock.now(), error=error)
        lane.is_engaged = False
        self._follow(lane, todo, durable)
        lane.attempt = 0
        lane.since = now

    def _follow(self, lane: ActiveLane, told: Todo, durable: Lane) -> None:
        """Go on with what the log says: another owner may have settled events of ours, and have written down others between."""
        for todo in [todo for todo in lane.todo if todo is told or durable.has_told(todo.turn)]:
            lane.todo.remove(todo)
            self._release(todo)
        lane.add([Todo(turn, None, None, 0.0) for turn in durable.turns if not lane.holds(turn)])

    async def _write_down(
        self,
        lane: ActiveLane,
        due: datetime,
        outcome: Outcome = Outcome.WAITING,
        answer: Answer | None = None,
    ) -> None:
        """Record a lane's events as waiting; then their events are done."""
        todos = list(lane.todo)
        held = ActiveLane(lane.key, lane.callee, lane.channel, lane.order, deque(todos), lane.since, lane.attempt)
        now = self._means.clock.now()

        def step(before: Lane) -> DeliveryRecord | None:
            after = waiting_in(held, before, due=due, now=now)
            if after == before:
                return None
            return record_of(held, todos[0].turn, outcome, answer, after, partition=self._partition)

        # until it is in the log, what is durable is not all there is: nothing of the lane is begun, whoever serves it no more
        self._going_behind[lane.key] += 1
        try:
            if todos:
                lane.next_attempt_at = (await self._recorder.record_lane(lane.key, step)).next_attempt_at
        finally:
            _take_one(self._going_behind, lane.key)
        for todo in todos:
            self._release(todo)

    async def _give_up_unheard(self, lane: ActiveLane) -> None:
        """Too much waits for this endpoint already: what comes now is a dead letter, which can be redriven."""
        (todo,) = lane.todo
        turn = todo.turn
        assert isinstance(turn, Ref), "what is told once more has been heard"

        def step(before: Lane) -> DeliveryRecord | None:
            after = give_up_unheard(before, turn)
            if after == before:
                return None
            return record_of(lane, turn, Outcome.DEAD, None, after, partition=self._partition, error="too_many_waiting")

        await self._recorder.record_lane(lane.key, step)
        say(lane, todo, Outcome.DEAD, None, self._means.clock.now(), error="too_many_waiting")
        self._release(todo)

    async def give_up_what_is_over(self, name: str, callee: Callee) -> bool:
        """
        Give up some of what has had its time while its endpoint only failed: it would wait for a probe of its own for ever.

        What has been the first for longest is due first, nearly: only where all that was looked at is over there may be more.
        """
        means = self._means
        due = await means.store.due(
            means.topics.deliveries, self._partition, name, until_ms=None, limit=GIVEN_UP_AT_ONCE_MAX
        )
        snapshot = await self._view.read(key for key, _ in due if not self.is_busy(key))
        over = 0
        async with asyncio.TaskGroup() as giving_up:
            for key, record in snapshot.known.items():
                delivery, now = from_record(record), means.clock.now()
                since = delivery.lane.since
                if since is not None and self._is_over(name, since, now) and not self.is_busy(key):
                    todos = deque(Todo(turn, None, None, 0.0) for turn in delivery.lane.turns)
                    lane = ActiveLane(
                        key, callee, delivery.channel, delivery.order, todos, since, delivery.lane.attempt
                    )
                    lane.is_parked = True  # nobody serves it: an event that comes meanwhile goes behind it durably
                    self._hold(lane)
                    giving_up.create_task(self._give_up(lane))
                    over += 1
        return over == GIVEN_UP_AT_ONCE_MAX

    async def _give_up(self, lane: ActiveLane) -> None:
        try:
            await self._settle(lane, lane.todo[0], Outcome.DEAD, None, error="endpoint_failing")
        finally:
            self._forget(lane)

    # Bodies

    async def bodies(self, deliveries: Sequence[DeliveryRecord]) -> list[dict[int, Telling | None]]:
        """What each of these lanes has to tell first, by version: read for all of them together."""
        turns = [
            (at, _order_key(one.channel, one.order), turn)
            for at, one in enumerate(deliveries)
            for turn in one.lane.turns[:BODIES_AHEAD]
        ]
        found: list[dict[int, Telling | None]] = [{} for _ in deliveries]
        bodies = await self._bodies([(key, turn) for _, key, turn in turns])
        for (at, _, turn), body in zip(turns, bodies, strict=True):
            found[at][turn.version] = body
        return found

    async def _body(self, lane: ActiveLane, turn: Turn) -> Telling | None:
        (body,) = await self._bodies([(_order_key(lane.channel, lane.order), turn)])
        return body

    async def _bodies(self, turns: Sequence[tuple[bytes, Turn]]) -> list[Telling | None]:
        """Events' bodies, from the orders view or else from the log at their offsets; None: superseded and compacted away."""
        means, topic = self._means, self._means.topics.orders
        read = await means.store.read(topic, self._partition, [key for key, _ in turns])
        kept = [
            record_in(key, entry) if isinstance(entry, Kept) else None
            for (key, _), entry in zip(turns, read.entries, strict=True)
        ]
        here = [_if_it_is(turn, key, record) for (key, turn), record in zip(turns, kept, strict=True)]
        missing = [turn.offset for (_, turn), record in zip(turns, here, strict=True) if record is None]
        stored = await means.reader.some(topic, self._partition, missing)
        there = [
            _if_it_is(turn, key, stored[turn.offset].record) if turn.offset in stored else None for key, turn in turns
        ]
        records = (one or other for one, other in zip(here, there, strict=True))
        return [events.telling_of(record) if record is not None else None for record in records]

    # Memory

    def _release(self, todo: Todo) -> None:
        """What this event waited for is durable, in one way or the other."""
        if todo.counts is not None:
            offset, todo.counts = todo.counts, None
            self._on_done(offset)

    def _hold(self, lane: ActiveLane) -> None:
        self._lanes[lane.key] = lane
        self._busy[lane.callee.endpoint.name] += 1

    def _forget(self, lane: ActiveLane) -> None:
        if self._lanes.get(lane.key) is lane:
            del self._lanes[lane.key]
            _take_one(self._busy, lane.callee.endpoint.name)
        if lane.next_attempt_at is not None:
            self._due.remember(lane.callee.endpoint.name, round(lane.next_attempt_at.timestamp() * 1000))
        self._due.changed.set()

    async def park(self) -> None:
        """Write down what takes too long, so that it holds up no other event's commit."""
        while True:
            await asyncio.sleep(PARK_AFTER_S / 4)
            late = asyncio.get_running_loop().time() - PARK_AFTER_S
            slow = [
                lane
                for lane in self._lanes.values()
                if any(todo.counts is not None and todo.arrived_at <= late for todo in lane.todo)
            ]
            await asyncio.gather(*(self._park_one(lane) for lane in slow))

    async def _park_one(self, lane: ActiveLane) -> None:
        now = self._means.clock.now()
        if lane.is_calling:
            await self._write_down(lane, now + timedelta(seconds=lane.callee.endpoint.timeout_s))
        else:
            # it has not even a slot: what is due comes back by the index, in the endpoint's own measure
            lane.is_parked = True
            await self._write_down(lane, now)
            self._forget(lane)

    async def finish(self) -> None:
        """Let attempts in flight end and be recorded, for a moment; begin none."""
        self._is_finishing = True
        for lane in self._lanes.values():
            if not lane.is_engaged:
                lane.is_parked = True
        deadline = asyncio.get_running_loop().time() + FINISH_S
        while any(lane.is_engaged for lane in self._lanes.values()):
            self._due.changed.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._due.changed.wait()
            except TimeoutError:
                return


def _if_it_is(turn: Turn, key: bytes, record: Record | None) -> Record | None:
    """The record, if it is this order's at this version."""
    if record is None or record.key != key or not events.is_ours(record):
        return None
    return record if events.version_of(record) == turn.version else None


def _take_one(counter: Counter[_T], key: _T) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]


def _order_key(channel: str, order: str) -> bytes:
    return f"{channel}/{order}".encode()
