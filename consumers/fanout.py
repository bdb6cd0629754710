"""
The fan-out job: events in, merchants told (design, section 6).

Each event goes to each endpoint that wants it, in its lane. What is told or given up, and what has to wait, is durable in the
deliveries log before the event counts as done. What waits longer than a few seconds is written down as waiting, so a slow
endpoint holds nothing else up; it comes back by the due index.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol

import msgspec

from consumers.backoff import retry_after_s, retry_in_s
from consumers.callees import Callee, Callees
from consumers.client import Answer
from consumers.lanes import ActiveLane, Todo, record_of, say
from consumers.measures import in_words
from consumers.notes import DELIVERIES_AWAY_TOO_LONG, note, read_note
from consumers.partition import Feed, FeedClosed
from consumers.recorder import Recorder
from consumers.view import Merging, RecreatedTopicError, View
from consumers.watermark import Watermark
from notifier import events, webhooks
from notifier.clock import Clock
from notifier.config import Delivery
from notifier.delivery import DeliveryRecord, Lane, Outcome, Ref, from_record, lane_key, merge, settle, wait
from notifier.errors import NewerStateError
from notifier.events import Telling
from notifier.kept import record_in
from notifier.logs import get_logger
from notifier.outage import Outages
from notifier.ports import Appender, DueChange, Kept, LogReader, ViewStore
from notifier.record import Record, Stored
from notifier.topics import Topics

log = get_logger()

LOOK_EVERY_S = 60.0
PARK_AFTER_S = 3.0
"""What has not been told after this long is written down as waiting, and its event counts as done."""

BACK_MS = 72 * 3_600_000
"""Where to begin without a commit: what is older has had its time (contract, section 3, `start`)."""

EVENTS_IN_MEMORY_MAX = 1_000
"""Deliveries of one partition that are held in memory at once; what is beyond stays in the log."""

IDLE_S = 5.0
NO_ROOM_S = 0.25
FINISH_S = 1.5
"""How long attempts in flight may end when the partition is taken away; those cut off are repeated by the next owner."""


def _due(record: Record) -> DueChange | None:
    delivery = from_record(record)
    at = delivery.lane.next_attempt_at
    return DueChange(delivery.endpoint, record.key, round(at.timestamp() * 1000) if at else None)


LANES = Merging(
    merge=merge,
    due=_due,
    version=lambda record: from_record(record).lane.known,
    may_rest=lambda record: not from_record(record).lane.waiting,
)


class Caller(Protocol):
    """Calls endpoints (`consumers.client.Client`)."""

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, *, timeout_s: float, tls: ssl.SSLContext | None = None
    ) -> Answer:
        """POST once; whatever the destination does is in the answer."""
        ...


@dataclass(frozen=True, slots=True)
class FanoutJob:
    """What all partitions of the job share."""

    topics: Topics
    delivery: Delivery
    callees: Callees
    client: Caller
    store: ViewStore
    reader: LogReader
    appender: Appender
    outages: Outages
    clock: Clock
    random: Callable[[], float]
    quiet_s: int
    """After this a lane with nothing waiting keeps only a pointer in the view."""

    def work(self, partition: int) -> FanoutPartition:
        """The work on one partition."""
        return FanoutPartition(self, partition)


class FanoutPartition:
    """One partition of the orders log, told."""

    def __init__(self, job: FanoutJob, partition: int) -> None:
        self._job = job
        self._partition = partition
        self._view = View(
            job.topics.deliveries, partition, LANES, store=job.store, reader=job.reader, appender=job.appender
        )
        self._recorder = Recorder(self._view, job.outages, on_lane=self._on_lane)
        self._lanes: dict[bytes, ActiveLane] = {}
        self._going_behind: Counter[bytes] = Counter()
        """How many events of a lane are being written down behind what waits there: until they are, none of it is begun."""
        self._next_due_ms: dict[str, int] = {}
        self._has_changed = asyncio.Event()
        self._feed: Feed | None = None
        self._watermark = Watermark()
        self._in_memory = 0
        self._is_finishing = False
        self._tasks = asyncio.TaskGroup()
        self.waiting = 0

    @property
    def in_flight(self) -> int:
        """Deliveries held in memory."""
        return self._in_memory

    @property
    def oldest_at_ms(self) -> int | None:
        """When the oldest event that is not done was appended."""
        return self._watermark.oldest_at_ms

    async def run(self, feed: Feed) -> None:
        """Tell until the partition is taken away."""
        try:
            await self._tell(feed)
        except* FeedClosed:
            pass  # and with it all tasks of this partition ended
        except* NewerStateError:
            topic = self._job.topics.deliveries
            log.error("partition.stuck", topic=topic, partition=self._partition, reason="newer_state_version")
            await feed.closed()

    async def _tell(self, feed: Feed) -> None:
        job = self._job
        begin = await job.outages.ride_out(lambda: self._open(feed))
        self._watermark.next_offset = begin
        self._feed = feed
        commands = await job.outages.ride_out(lambda: feed.committed(job.topics.commands))
        async with self._tasks as tasks:
            for helper in (self._recorder.run(), self._serve_due(), self._park(), self._look(feed)):
                tasks.create_task(helper)
            feed.begin(job.topics.orders, begin)
            feed.begin(job.topics.commands, commands.offset if commands else 0)
            try:
                await self._take_in(feed)
            except FeedClosed:
                await self._finish()
                raise

    async def _open(self, feed: Feed) -> int:
        """Where to begin, with a view that knows what the last committer knew (rules 4 and 9)."""
        job, orders = self._job, self._job.topics.orders
        commit = await feed.committed(orders)
        noted = read_note(commit.metadata) if commit else None
        start, end = await job.reader.bounds(orders, self._partition)
        if commit is not None and commit.offset > end:
            raise RecreatedTopicError(
                f"{orders} partition {self._partition} ends at {end}, but {commit.offset} was committed: the topic was deleted"
                " and made anew. Give the installation a new kafka.topic_prefix, or delete the consumer group to start over."
            )
        is_recent = noted is not None and job.clock.now() - noted.at <= DELIVERIES_AWAY_TOO_LONG
        await self._view.open(noted.end if noted and is_recent else 0)
        await self._learn_due()
        if commit and is_recent:
            return commit.offset
        begin = await job.reader.offset_at(orders, self._partition, job.clock.now_ms() - BACK_MS)
        if commit is not None:
            # what it counts as done may be compacted away by now; what is not, the lanes know, and nothing is told twice
            return min(commit.offset, begin)
        if start < end:
            log.warning("position.assumed", topic=orders, partition=self._partition, offset=begin)
        return begin

    async def _learn_due(self) -> None:
        """What waits, and when the first of it is due, for each endpoint."""
        store, topic = self._job.store, self._job.topics.deliveries
        waiting = 0
        for name in self._job.callees.by_name:
            first = await store.due(topic, self._partition, name, until_ms=None, limit=1)
            if first:
                self._remember_due(name, first[0][1])
                waiting += await store.waiting(topic, self._partition, name)
        self.waiting = waiting

    async def _look(self, feed: Feed) -> None:
        """Every minute: look (rule 7), then commit again."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            await self._job.outages.ride_out(self._view.look)
            await self._job.outages.ride_out(self._learn_due)
            await self._job.outages.ride_out(self._rest)
            self._count_done()

    async def _rest(self) -> None:
        await self._view.rest(self._job.clock.now_ms() - self._job.quiet_s * 1000)

    def _count_done(self) -> None:
        """What may be committed of the orders topic, as of now."""
        assert self._feed is not None
        self._feed.done(self._job.topics.orders, self._watermark.upto, self._note())

    def _note(self) -> str:
        return note(self._view.known_end, self._job.clock.now())

    # Taking events in

    async def _take_in(self, feed: Feed) -> None:
        while True:
            batch = await feed.take(IDLE_S)
            if batch is None:
                continue
            if batch.topic != self._job.topics.orders:
                # nothing commands fan-out yet; the topic is read from the start so that the group never changes its subscription
                feed.done(batch.topic, batch.records[-1].offset + 1, self._note())
                continue
            at_once = max(EVENTS_IN_MEMORY_MAX // max(len(self._job.callees.by_name), 1) // 2, 1)
            for first in range(0, len(batch.records), at_once):
                await self._job.outages.ride_out(partial(self._spread, batch.records[first : first + at_once]))
                while self._in_memory >= EVENTS_IN_MEMORY_MAX:
                    self._has_changed.clear()
                    await self._until_changed_or_closed(feed)

    async def _until_changed_or_closed(self, feed: Feed) -> None:
        closed = self._tasks.create_task(feed.closed())
        changed = self._tasks.create_task(self._has_changed.wait())
        try:
            await asyncio.wait({closed, changed}, return_when=asyncio.FIRST_COMPLETED)
            if closed.done():
                raise FeedClosed
        finally:
            closed.cancel()
            changed.cancel()

    async def _spread(self, records: Sequence[Stored]) -> None:
        """Give each event to the lanes that want it."""
        wanted = [
            (stored, telling, callee, lane_key(callee.endpoint.name, telling.channel, telling.order))
            for stored in records
            if (telling := self._telling_of(stored)) is not None
            for callee in self._job.callees.wanting(telling.channel, telling.type, telling.flags_added)
        ]
        snapshot = await self._view.read(key for *_, key in wanted)
        known = {key: from_record(record).lane for key, record in snapshot.known.items()}
        counts: dict[int, int] = dict.fromkeys((stored.offset for stored in records), 0)
        fresh = []
        for stored, telling, callee, key in wanted:
            if known.get(key, Lane()).knows(telling.version) or self._is_held(key, telling.version):
                continue
            counts[stored.offset] += 1
            fresh.append((stored, telling, callee, key))
        # nothing above awaits after the view was read, so an event is counted exactly once
        for stored in records:
            self._watermark.add(stored.offset, counts[stored.offset], stored.appended_at_ms)
        self._count_done()
        for stored, telling, callee, key in fresh:
            todo = Todo(
                Ref(telling.version, stored.offset, telling.event_id),
                telling,
                stored.offset,
                asyncio.get_running_loop().time(),
            )
            self._enqueue(key, callee, telling, todo, is_behind=bool(known.get(key, Lane()).waiting))

    def _telling_of(self, stored: Stored) -> Telling | None:
        """An event as it is told; None where the record is none of ours, which must hold nothing up."""
        try:
            return events.telling_of(stored.record)
        except (KeyError, ValueError, msgspec.DecodeError):
            log.error("event.unreadable", partition=self._partition, offset=stored.offset)
            return None

    def _is_held(self, key: bytes, version: int) -> bool:
        lane = self._lanes.get(key)
        return lane is not None and any(todo.ref.version == version for todo in lane.todo)

    def _enqueue(self, key: bytes, callee: Callee, telling: Telling, todo: Todo, *, is_behind: bool) -> None:
        self._in_memory += 1
        lane = self._lanes.get(key)
        if lane is not None and not lane.is_parked:
            lane.todo.append(todo)
            return
        now = self._job.clock.now()
        lane = ActiveLane(key, callee, telling.channel, telling.order, deque([todo]), now)
        if is_behind or callee.is_paused or self._is_busy(key):
            # something waits before it, or nothing is sent there now: it goes behind, durably, and comes back when due
            self._going_behind[key] += 1
            self._tasks.create_task(self._go_behind(lane, now))
            return
        self._lanes[key] = lane
        self._tasks.create_task(self._serve(lane))

    async def _go_behind(self, lane: ActiveLane, now: datetime) -> None:
        await self._write_down(lane, now)
        self._going_behind[lane.key] -= 1
        if not self._going_behind[lane.key]:
            del self._going_behind[lane.key]
        self._forget(lane)

    def _is_busy(self, key: bytes) -> bool:
        """Is a lane being served, or something of it on its way into the log? Then what is durable is not all there is of it."""
        return key in self._lanes or key in self._going_behind

    # Serving a lane

    async def _serve(self, lane: ActiveLane) -> None:
        """Tell a lane's events in order, until one fails or none is left."""
        try:
            while lane.todo and not lane.is_parked and not self._is_finishing:
                todo = lane.todo[0]
                if todo.telling is None:
                    todo.telling = await self._job.outages.ride_out(partial(self._body, lane, todo.ref))
                if todo.telling is None:
                    await self._settle(lane, todo, Outcome.SKIPPED, None)
                    continue
                async with lane.callee.slot() as is_free:
                    if lane.is_parked:
                        return
                    if not is_free:
                        lane.is_parked = True
                        await self._write_down(lane, self._job.clock.now() + timedelta(seconds=lane.callee.ready_in_s))
                        return
                    lane.is_calling = lane.is_engaged = True
                    lane.attempt += 1
                    answer = await self._call(lane.callee, todo.telling)
                    lane.is_calling = False
                if not await self._judge(lane, todo, answer):
                    return
                lane.is_engaged = False
        finally:
            self._forget(lane)

    async def _call(self, callee: Callee, telling: Telling) -> Answer:
        endpoint = callee.endpoint
        timestamp = self._job.clock.now_ms() // 1000
        headers = webhooks.headers(endpoint.secrets, telling.event_id, timestamp, telling.body)
        return await self._job.client.post(
            endpoint.url, {**endpoint.headers, **headers}, telling.body, timeout_s=endpoint.timeout_s, tls=callee.tls
        )

    async def _judge(self, lane: ActiveLane, todo: Todo, answer: Answer) -> bool:
        """Record what came of an attempt; whether the lane goes on."""
        job = self._job
        now = job.clock.now()
        wish_s = retry_after_s(answer.retry_after, now)
        lane.callee.note(
            is_accepted=answer.is_accepted, duration_ms=answer.duration_ms, error=in_words(answer), wish_s=wish_s
        )
        if answer.is_accepted:
            await self._settle(lane, todo, Outcome.ACCEPTED, answer)
            return True
        if now - lane.since >= timedelta(seconds=job.delivery.give_up_after_s):
            await self._settle(lane, todo, Outcome.DEAD, answer)
            return True
        # before the wait for the record: an event that comes meanwhile goes behind this one durably, not into a lane that ends
        lane.is_parked = True
        retry_s = wish_s if wish_s is not None else retry_in_s(
            lane.attempt,
            first_retry_s=job.delivery.first_retry_s,
            retry_s_max=job.delivery.retry_s_max,
            random=job.random,
        )  # fmt: skip
        retry_s = lane.callee.within_budget(retry_s)
        await self._write_down(lane, now + timedelta(seconds=retry_s), Outcome.FAILED, answer)
        say(lane, todo, Outcome.FAILED, answer, self._job.clock.now(), retry_in_s=round(retry_s, 3))
        return False

    async def _settle(self, lane: ActiveLane, todo: Todo, outcome: Outcome, answer: Answer | None) -> None:
        now = self._job.clock.now()
        is_dead = outcome is Outcome.DEAD

        def step(before: Lane) -> DeliveryRecord | None:
            if before.settled >= todo.ref.version:
                return None  # another owner settled it
            after = settle(before, todo.ref, now=now, is_dead=is_dead)
            return record_of(lane, todo, outcome, answer, after, partition=self._partition)

        durable = await self._recorder.record(lane.key, step)
        lane.next_attempt_at = durable.next_attempt_at
        say(lane, todo, outcome, answer, self._job.clock.now())
        self._follow(lane, durable)
        lane.attempt = 0
        lane.since = now

    def _follow(self, lane: ActiveLane, durable: Lane) -> None:
        """Go on with what the log says: another owner may have settled events of ours, and have written down others between."""
        while lane.todo and lane.todo[0].ref.version <= durable.settled:
            self._release(lane.todo.popleft())
        held = {todo.ref.version for todo in lane.todo}
        others = [Todo(ref, None, None, 0.0) for ref in durable.waiting if ref.version not in held]
        if others:
            lane.todo = deque(sorted((*lane.todo, *others), key=lambda todo: todo.ref))

    async def _write_down(
        self,
        lane: ActiveLane,
        due: datetime,
        outcome: Outcome = Outcome.WAITING,
        answer: Answer | None = None,
    ) -> None:
        """Record a lane's events as waiting; then their events are done."""
        todos = list(lane.todo)
        attempt = lane.attempt

        def step(before: Lane) -> DeliveryRecord | None:
            after = wait(before, [todo.ref for todo in todos], since=lane.since, attempt=attempt, due=due)
            return (
                record_of(lane, todos[0], outcome, answer, after, partition=self._partition)
                if after != before
                else None
            )

        if todos:
            lane.next_attempt_at = (await self._recorder.record(lane.key, step)).next_attempt_at
        for todo in todos:
            self._release(todo)

    async def _body(self, lane: ActiveLane, ref: Ref) -> Telling | None:
        """An event's body, from the orders view or else from the log at its offset; None: superseded and compacted away."""
        job, key = self._job, f"{lane.channel}/{lane.order}".encode()
        (entry,) = (await job.store.read(job.topics.orders, self._partition, [key])).entries
        if isinstance(entry, Kept) and events.version_of(record := record_in(key, entry)) == ref.version:
            return events.telling_of(record)
        stored = await job.reader.one(job.topics.orders, self._partition, ref.offset)
        if stored is None or stored.record.key != key or events.version_of(stored.record) != ref.version:
            return None
        return events.telling_of(stored.record)

    def _release(self, todo: Todo) -> None:
        """What this event waited for is durable, in one way or the other."""
        if todo.counts is not None:
            if self._watermark.done(todo.counts):
                self._count_done()
            todo.counts = None
            self._in_memory -= 1
            self._has_changed.set()

    def _forget(self, lane: ActiveLane) -> None:
        if self._lanes.get(lane.key) is lane:
            del self._lanes[lane.key]
        if lane.next_attempt_at is not None:
            self._due_at(lane.key, lane.next_attempt_at)
        self._has_changed.set()

    # What waits

    def _on_lane(self, key: bytes, before: Lane, after: Lane) -> None:
        """A lane's new state is durable: remember when something of its endpoint is due."""
        self.waiting += bool(after.waiting) - bool(before.waiting)
        if after.next_attempt_at is not None:
            self._due_at(key, after.next_attempt_at)

    def _due_at(self, key: bytes, at: datetime) -> None:
        self._remember_due(key.split(b"/", 1)[0].decode(), round(at.timestamp() * 1000))

    def _remember_due(self, name: str, due_ms: int) -> None:
        """Something of an endpoint is due then. Only ever earlier: what was said while Redis was being asked must not be lost."""
        self._next_due_ms[name] = min(due_ms, self._next_due_ms.get(name, due_ms))
        self._has_changed.set()

    async def _park(self) -> None:
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
        now = self._job.clock.now()
        if lane.is_calling:
            await self._write_down(lane, now + timedelta(seconds=lane.callee.endpoint.timeout_s))
        else:
            # it has not even a slot: what is due comes back by the index, in the endpoint's own measure
            lane.is_parked = True
            await self._write_down(lane, now)
            self._forget(lane)

    async def _serve_due(self) -> None:
        """Take up the lanes whose time has come, as far as their endpoints have room."""
        while True:
            now_ms = self._job.clock.now_ms()
            wait_s = IDLE_S
            self._has_changed.clear()
            for name, due_ms in list(self._next_due_ms.items()):
                callee = self._job.callees.by_name.get(name)
                if callee is None:
                    continue  # it left the settings: what waits stays
                if due_ms > now_ms:
                    wait_s = min(wait_s, (due_ms - now_ms) / 1000)
                elif self._room(callee):
                    await self._job.outages.ride_out(partial(self._take_up, name, callee))
                else:
                    # its slots may come free in another partition, which tells us nothing
                    wait_s = min(wait_s, max(callee.ready_in_s, NO_ROOM_S))
            try:
                async with asyncio.timeout(max(wait_s, 0.001)):
                    await self._has_changed.wait()
            except TimeoutError:
                continue

    def _room(self, callee: Callee) -> int:
        """How many lanes of an endpoint may be taken up: those that were and have no slot yet count as well."""
        taken = sum(1 for lane in self._lanes.values() if lane.callee is callee and not lane.is_calling)
        return max(callee.room - taken, 0)

    async def _take_up(self, name: str, callee: Callee) -> None:
        store, topic = self._job.store, self._job.topics.deliveries
        now_ms = self._job.clock.now_ms()
        room = self._room(callee)
        self._next_due_ms.pop(name, None)  # before the wait: what becomes due meanwhile is remembered again
        due = await store.due(
            topic, self._partition, name, until_ms=None, limit=room + len(self._lanes) + len(self._going_behind) + 1
        )
        idle = [(key, at_ms) for key, at_ms in due if not self._is_busy(key)]
        ready = [key for key, at_ms in idle if at_ms <= now_ms][:room]
        later = [at_ms for key, at_ms in idle if key not in ready]
        if later:
            self._remember_due(name, min(later))
        if not ready or self._is_finishing:
            return
        snapshot = await self._view.read(ready)
        now = self._job.clock.now()
        for key in ready:
            record = snapshot.known.get(key)
            delivery = from_record(record) if record else None
            if delivery is None or not delivery.lane.waiting or self._is_busy(key) or self._is_finishing:
                continue
            lane = ActiveLane(
                key,
                callee,
                delivery.channel,
                delivery.order,
                deque(Todo(ref, None, None, 0.0) for ref in delivery.lane.waiting),
                delivery.lane.since or now,
                attempt=delivery.lane.attempt,
            )
            self._lanes[key] = lane
            self._tasks.create_task(self._serve(lane))

    async def _finish(self) -> None:
        """Let attempts in flight end and be recorded, for a moment; begin none."""
        self._is_finishing = True
        for lane in self._lanes.values():
            if not lane.is_engaged:
                lane.is_parked = True
        deadline = asyncio.get_running_loop().time() + FINISH_S
        while any(lane.is_engaged for lane in self._lanes.values()):
            self._has_changed.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._has_changed.wait()
            except TimeoutError:
                return
