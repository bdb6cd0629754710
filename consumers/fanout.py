"""
The fan-out job: events in, merchants told (design, section 6).

Each event goes to each endpoint that wants it, in its lane. What is told or given up, and what has to wait, is durable in the
deliveries log before the event counts as done. What waits longer than a few seconds is written down as waiting, so a slow
endpoint holds nothing else up; it comes back by the due index.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import NamedTuple

import msgspec

from consumers.notes import DELIVERIES_AWAY_TOO_LONG, note, resume
from consumers.partition import Feed, FeedClosed
from consumers.rebuilding import RebuildLines, Rebuilds
from consumers.telling.callees import Callee, Callees
from consumers.telling.due import DueTimes
from consumers.telling.endpoints import Endpoints
from consumers.telling.lanes import Todo
from consumers.telling.means import Means, Shared
from consumers.telling.obeying import Obeying
from consumers.telling.reading_back import ReadingBack
from consumers.telling.recorder import Recorder, lane_in
from consumers.telling.serving import Serving
from consumers.telling.taking_up import TakingUp
from consumers.telling.upkeep import Upkeep
from consumers.telling.watermark import Watermark
from consumers.view import Merging, View
from notifier import deliveries, events
from notifier.config import Delivery, Endpoint
from notifier.deliveries import Kind, kind_of, position
from notifier.deliveries.delivery import Lane, Ref, from_record, lane_key
from notifier.deliveries.endpoint_state import State, Why
from notifier.deliveries.position import Position
from notifier.errors import NewerStateError
from notifier.events import Telling
from notifier.logs import get_logger
from notifier.ports import Appender, DueChange
from notifier.record import Record, Stored

log = get_logger()

BACK_MS = 72 * 3_600_000
"""Where to begin without a commit: what is older has had its time (contract, section 3, `start`)."""

WAITING_MAX = 1_000_000
"""Of one endpoint, over all partitions: what comes beyond its part in one of them is a dead letter, which can be redriven."""

DELIVERIES_IN_MEMORY_MAX = 1_000
"""Deliveries of one partition that are held in memory at once; what is beyond stays in the log."""

DELIVERIES_AT_ONCE = 500

IDLE_S = 5.0


def _due(record: Record) -> DueChange | None:
    due = deliveries.due(record)
    return DueChange(due[0], record.key, due[1]) if due is not None else None


LANES = Merging(
    merge=deliveries.merge,
    due=_due,
    version=deliveries.version,
    may_rest=deliveries.may_rest,
    is_ours=deliveries.is_ours,
)


@dataclass(slots=True)
class FanoutJob:
    """What all partitions of the job share."""

    means: Means
    callees: Callees
    appender: Appender
    quiet_s: int
    """After this a lane with nothing waiting keeps only a pointer in the view."""
    rebuilds: Rebuilds = field(default_factory=RebuildLines)
    partitions: set[FanoutPartition] = field(default_factory=set)
    """Those at work now."""
    obeyed: dict[str, datetime] = field(default_factory=dict)
    """By endpoint: when the operator's word was given that was obeyed last."""

    def use(self, endpoints: Sequence[Endpoint], delivery: Delivery, quiet_s: int) -> None:
        """Take these settings instead. What is in flight ends; everything that begins from now on goes by them."""
        self.means.delivery = delivery
        self.quiet_s = quiet_s
        self.callees.change(endpoints, delivery)
        for partition in self.partitions:
            partition.meet_newcomers()

    def work(self, partition: int) -> FanoutPartition:
        """The work on one partition."""
        return FanoutPartition(self, partition)


class _Begin(NamedTuple):
    """Where to begin in the two inputs."""

    orders: int
    commands: int


class _Wanted(NamedTuple):
    """An event that an endpoint wants."""

    stored: Stored
    telling: Telling
    callee: Callee
    key: bytes


class FanoutPartition:
    """One partition of the orders log, told."""

    def __init__(self, job: FanoutJob, partition: int) -> None:
        means = job.means
        self._job = job
        self._means = means
        self._partition = partition
        self._tasks = asyncio.TaskGroup()
        self._view = View(
            means.topics.deliveries,
            partition,
            LANES,
            store=means.store,
            reader=means.reader,
            appender=job.appender,
            rebuilds=job.rebuilds,
        )
        self._recorder = Recorder(self._view, means.outages, on_record=self._on_record)
        self._endpoints = Endpoints(self._view, self._recorder, means.clock)
        self._due = DueTimes()
        self._watermark = Watermark()
        shared = Shared(means, partition, self._view, self._recorder, self._endpoints, self._due, job.callees)
        self._serving = Serving(shared, tasks=self._tasks, on_done=self._on_done, on_gone=self._on_gone)
        self._obeying = Obeying(shared, obeyed=job.obeyed)
        self._reading_back = ReadingBack(shared, upto=lambda: self._watermark.next_offset)
        self._taking_up = TakingUp(shared, serving=self._serving)
        self._upkeep = Upkeep(
            shared,
            quiet_s=lambda: job.quiet_s,
            here=lambda: (self._watermark.upto, self._commands_upto),
            commit=self._count_done,
        )
        self._feed: Feed | None = None
        self._commands_upto = 0
        self._in_memory = 0
        self._has_room = asyncio.Event()
        self._changes: deque[tuple[str, State, Why]] = deque()
        self._has_changes = asyncio.Event()
        self._may_have_newcomers = asyncio.Event()

    @property
    def waiting(self) -> int:
        """Lanes that wait for a later time."""
        return self._due.waiting_in_all

    def waiting_for(self, name: str) -> int:
        """Lanes of one endpoint that wait."""
        return self._due.waiting(name)

    def is_left_alone(self, name: str) -> bool:
        """Whether nothing is sent to an endpoint until an operator resumes it."""
        return self._endpoints.is_left_alone(name)

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
            await feed.hold(self._means.topics.deliveries, "newer_state_version")
        finally:
            self._job.partitions.discard(self)
            for callee in self._job.callees.by_name.values():
                callee.unsubscribe(self)

    async def _tell(self, feed: Feed) -> None:
        outages, topics = self._means.outages, self._means.topics
        begin = await outages.ride_out(lambda: self._open(feed))
        self._watermark.next_offset, self._commands_upto = begin
        self._feed = feed
        self._job.partitions.add(self)
        async with self._tasks as tasks:
            tasks.create_task(self._recorder.run())
            await self._meet_those_behind()
            for helper in (
                self._taking_up.run(),
                self._serving.park(),
                self._reading_back.run(),
                self._write_changes(),
                self._upkeep.run(),
                self._follow_settings(),
            ):
                tasks.create_task(helper)
            for callee in self._job.callees.by_name.values():
                callee.subscribe(self)
            feed.begin(topics.orders, begin.orders)
            feed.begin(topics.commands, begin.commands)
            try:
                await self._take_in(feed)
            except FeedClosed:
                await self._serving.finish()
                raise

    # Where to begin

    async def _open(self, feed: Feed) -> _Begin:
        """Where to begin, with a view that knows what the last committer knew (rules 4 and 9)."""
        means, topics = self._means, self._means.topics
        resumed = await resume(
            feed,
            means.reader,
            topics.orders,
            self._partition,
            now=means.clock.now(),
            too_long=DELIVERIES_AWAY_TOO_LONG,
        )
        commands = await feed.committed(topics.commands)
        await self._view.open(resumed.known_end)
        self._due.learn(await means.store.due_groups(topics.deliveries, self._partition))
        names = list(self._job.callees.by_name)
        await self._endpoints.learn(names)
        self._take_over_suspensions(names)
        written = await self._position()
        if resumed.committed is not None and resumed.is_recent:
            return _Begin(resumed.committed, commands.offset if commands else written.commands if written else 0)
        if written is not None:
            return _Begin(min(written.orders, resumed.end), written.commands)
        begin = await means.reader.offset_at(topics.orders, self._partition, means.clock.now_ms() - BACK_MS)
        if resumed.committed is not None:
            # what it counts as done may be compacted away by now; what is not, the lanes know, and nothing is told twice
            return _Begin(min(resumed.committed, begin), 0)
        if resumed.start < resumed.end:
            log.warning("position.assumed", topic=topics.orders, partition=self._partition, offset=begin)
        return _Begin(begin, 0)

    async def _meet_those_behind(self) -> None:
        """Who wants to hear everything from the beginning, and was never seen before."""
        means = self._means
        start, _ = await means.outages.ride_out(partial(means.reader.bounds, means.topics.orders, self._partition))
        wanting = [name for name, callee in self._job.callees.by_name.items() if callee.endpoint.start == "earliest"]
        await self._endpoints.meet(((name, start) for name in wanting), is_behind=True)

    def meet_newcomers(self) -> None:
        """There are other endpoints than before: learn what the log says of those that are new."""
        self._forget_who_left()
        self._may_have_newcomers.set()

    def _forget_who_left(self) -> None:
        for name in self._endpoints.learnt - self._job.callees.by_name.keys():
            self._endpoints.forget(name)

    async def _follow_settings(self) -> None:
        while True:
            await self._meet_newcomers()
            await self._may_have_newcomers.wait()

    async def _meet_newcomers(self) -> None:
        """Also those that came while the partition was being opened."""
        self._may_have_newcomers.clear()
        new = [name for name in self._job.callees.by_name if not self._endpoints.has_learnt(name)]
        if not new:
            return
        await self._means.outages.ride_out(partial(self._endpoints.learn, new))
        self._forget_who_left()  # there may have been another reload meanwhile
        self._take_over_suspensions(new)
        for callee in self._job.callees.by_name.values():
            callee.subscribe(self)
        await self._meet_those_behind()
        self._due.changed.set()

    def _take_over_suspensions(self, names: Collection[str]) -> None:
        """Who failed for long somewhere else is not called here as if nothing had been."""
        for name in names:
            callee = self._job.callees.by_name.get(name)
            if callee is None:
                continue
            known = self._endpoints.get(name)
            if known is not None and known.state is State.SUSPENDED and known.reason is Why.FAILING:
                callee.suspend_at_start()

    async def _position(self) -> Position | None:
        record = (await self._view.read([position.KEY])).known.get(position.KEY)
        return position.from_record(record) if record is not None else None

    def _count_done(self) -> None:
        """What may be committed of the orders topic, as of now."""
        assert self._feed is not None
        self._feed.done(self._means.topics.orders, self._watermark.upto, self._note())

    def _note(self) -> str:
        return note(self._view.known_end, self._means.clock.now())

    # Taking events in

    async def _take_in(self, feed: Feed) -> None:
        topics, ride_out = self._means.topics, self._means.outages.ride_out
        while True:
            batch = await feed.take(IDLE_S)
            if batch is None:
                continue
            if batch.topic == topics.commands:
                await self._obeying.obey(batch.records, start=self._watermark.next_offset)
                self._commands_upto = batch.records[-1].offset + 1
                feed.done(topics.commands, self._commands_upto, self._note())
                self._due.changed.set()
                continue
            for wanted in self._some_at_once(batch.records):
                await ride_out(partial(self._spread, *wanted))
                while self._in_memory >= DELIVERIES_IN_MEMORY_MAX:
                    self._has_room.clear()
                    await self._until_room_or_closed(feed)

    async def _until_room_or_closed(self, feed: Feed) -> None:
        closed = self._tasks.create_task(feed.closed())
        room = self._tasks.create_task(self._has_room.wait())
        try:
            await asyncio.wait({closed, room}, return_when=asyncio.FIRST_COMPLETED)
            if closed.done():
                raise FeedClosed
        finally:
            closed.cancel()
            room.cancel()

    def _some_at_once(self, records: Sequence[Stored]) -> Iterator[tuple[list[Stored], list[_Wanted]]]:
        """The records with whom each is for, cut so that a part is not too many deliveries, whoever wants them."""
        part: list[Stored] = []
        wanted: list[_Wanted] = []
        for stored in records:
            part.append(stored)
            telling = self._telling_of(stored)
            if telling is not None:
                wanted += [
                    _Wanted(stored, telling, callee, lane_key(callee.endpoint.name, telling.channel, telling.order))
                    for callee in self._job.callees.wanting(telling.channel, telling.type, telling.flags_added)
                ]
            if len(wanted) >= DELIVERIES_AT_ONCE:
                yield part, wanted
                part, wanted = [], []
        if part:
            yield part, wanted

    async def _spread(self, records: Sequence[Stored], wanted: Sequence[_Wanted]) -> None:
        """Give each event to the lanes that want it."""
        met = {one.callee.endpoint.name: one.stored.offset for one in reversed(wanted)}
        if any(self._wants_all(one.callee) for one in wanted):
            await self._meet_those_behind()
        await self._endpoints.meet(met.items())
        snapshot = await self._view.read(one.key for one in wanted)
        known = {key: from_record(record).lane for key, record in snapshot.known.items()}
        counts: dict[int, int] = dict.fromkeys((stored.offset for stored in records), 0)
        fresh = []
        for one in wanted:
            ref = Ref(one.telling.version, one.stored.offset, one.telling.event_id)
            if not self._endpoints.is_told(one.callee.endpoint.name, one.stored.offset):
                continue
            if known.get(one.key, Lane()).knows(ref.version) or self._serving.holds(one.key, ref):
                continue
            counts[one.stored.offset] += 1
            fresh.append((one, ref))
        # nothing above awaits after the view was read, so an event is counted exactly once
        for stored in records:
            self._watermark.add(stored.offset, counts[stored.offset], stored.appended_at_ms)
        self._count_done()
        arrived_at = asyncio.get_running_loop().time()
        self._in_memory += len(fresh)
        for one, ref in fresh:
            todo = Todo(ref, one.telling, one.stored.offset, arrived_at)
            is_behind = known.get(one.key, Lane()).first is not None
            self._serving.tell(one.key, one.callee, one.telling, todo, is_behind=is_behind)

    def _wants_all(self, callee: Callee) -> bool:
        """Whether it begins with what the topic holds, and has just come into the settings: it is met as one of those behind."""
        return callee.endpoint.start == "earliest" and self._endpoints.get(callee.endpoint.name) is None

    def _telling_of(self, stored: Stored) -> Telling | None:
        """An event as it is told; None where the record is none of ours, which must hold nothing up."""
        try:
            return events.telling_of(stored.record)
        except (KeyError, ValueError, msgspec.DecodeError):
            log.error("event.unreadable", partition=self._partition, offset=stored.offset)
            return None

    def _on_done(self, offset: int) -> None:
        self._in_memory -= 1
        self._has_room.set()
        if self._watermark.done(offset):
            self._count_done()

    def _on_record(self, key: bytes, before: Record | None, after: Record | None) -> None:
        """What the log says now of a key."""
        if after is None:
            return
        match kind_of(key):
            case Kind.LANE:
                lane, was = from_record(after), lane_in(before)
                self._due.count(lane.endpoint, bool(lane.lane.turns) - bool(was.turns))
                if lane.lane.next_attempt_at is not None:
                    self._due.remember(lane.endpoint, round(lane.lane.next_attempt_at.timestamp() * 1000))
            case Kind.ENDPOINT:
                self._endpoints.follow(after)
            case Kind.POSITION:
                pass

    # Endpoints (`consumers.telling.callees.Listener`)

    def on_state(self, callee: Callee) -> None:
        """An endpoint was suspended for failing, or accepted again: whoever owns the partition next should know."""
        state, why = (State.SUSPENDED, Why.FAILING) if callee.state == "suspended" else (State.ACTIVE, Why.ACCEPTED)
        self._change(callee.endpoint.name, state, why)

    def on_room(self, callee: Callee) -> bool:
        """More of an endpoint may be begun; whether something of it is due."""
        self._due.changed.set()
        return self._due.is_due(callee.endpoint.name, self._means.clock.now_ms())

    def _on_gone(self, name: str) -> None:
        if not self._endpoints.is_left_alone(name):
            log.warning("endpoint.suspended", endpoint=name, reason="gone")
        for partition in self._job.partitions:
            partition._change(name, State.SUSPENDED, Why.GONE)

    def _change(self, name: str, state: State, why: Why) -> None:
        self._changes.append((name, state, why))
        self._has_changes.set()

    async def _write_changes(self) -> None:
        """Write down what endpoints came to by themselves; whoever noticed it may be serving another partition."""
        while True:
            await self._has_changes.wait()
            self._has_changes.clear()
            while self._changes:
                name, state, why = self._changes.popleft()
                # who answered 410 to another partition is left alone here, too, though nothing was ever for it here
                if why is Why.GONE or self._endpoints.get(name) is not None:
                    await self._endpoints.change(name, state, why, start=self._watermark.next_offset)
