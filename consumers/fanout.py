"""
The fan-out job: events in, merchants told (design, section 6).

Each event goes to each endpoint that wants it, in its lane. What is told or given up, and what has to wait, is durable in the
deliveries log before the event counts as done. What waits longer than a few seconds is written down as waiting, so a slow
endpoint holds nothing else up; it comes back by the due index.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple

import msgspec

from consumers.callees import Callee, Callees
from consumers.due import DueTimes
from consumers.endpoints import Endpoints
from consumers.lanes import Todo
from consumers.notes import DELIVERIES_AWAY_TOO_LONG, note, resume
from consumers.obeying import Obeying
from consumers.partition import Feed, FeedClosed
from consumers.reading_back import ReadingBack
from consumers.recorder import Recorder, lane_in
from consumers.serving import Means, Serving
from consumers.view import Merging, View
from consumers.watermark import Watermark
from notifier import deliveries, events, position
from notifier.deliveries import Kind, kind_of
from notifier.delivery import Lane, Ref, from_record, lane_key
from notifier.endpoint_state import State, Why
from notifier.errors import NewerStateError
from notifier.events import Telling
from notifier.logs import get_logger
from notifier.ports import Appender, DueChange, DueGroup
from notifier.position import Position
from notifier.record import Record, Stored

log = get_logger()

LOOK_EVERY_S = 60.0

BACK_MS = 72 * 3_600_000
"""Where to begin without a commit: what is older has had its time (contract, section 3, `start`)."""

DAY = timedelta(days=1)
"""What still counts is written again when it is as old: the topic deletes what is a month old (design, section 6)."""

RENEWED_AT_ONCE_MAX = 500
"""Lanes of one endpoint that one look goes through: some 700,000 a day."""

WAITING_MAX = 1_000_000
"""Of one endpoint, over all partitions: what comes beyond its part in one of them is a dead letter, which can be redriven."""

DELIVERIES_IN_MEMORY_MAX = 1_000
"""Deliveries of one partition that are held in memory at once; what is beyond stays in the log."""

DELIVERIES_AT_ONCE = 500

IDLE_S = 5.0
PAUSE_S = 0.005
"""Between two rounds through what is due: news come by the thousand, and a round is for all of them."""
NO_ROOM_S = 1.0
GIVE_UP_EVERY_S_MAX = 60.0


def _due(record: Record) -> DueChange | None:
    due = deliveries.due(record)
    return DueChange(due[0], record.key, due[1]) if due is not None else None


LANES = Merging(merge=deliveries.merge, due=_due, version=deliveries.version, may_rest=deliveries.may_rest)


@dataclass(frozen=True, slots=True)
class FanoutJob:
    """What all partitions of the job share."""

    means: Means
    callees: Callees
    appender: Appender
    quiet_s: int
    """After this a lane with nothing waiting keeps only a pointer in the view."""
    partitions: set[FanoutPartition] = field(default_factory=set)
    """Those at work now."""
    obeyed: dict[str, datetime] = field(default_factory=dict)
    """By endpoint: when the operator's word was given that was obeyed last."""

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
            means.topics.deliveries, partition, LANES, store=means.store, reader=means.reader, appender=job.appender
        )
        self._recorder = Recorder(self._view, means.outages, on_record=self._on_record)
        self._endpoints = Endpoints(self._view, self._recorder, means.clock)
        self._due = DueTimes()
        self._watermark = Watermark()
        self._serving = Serving(
            means,
            partition,
            view=self._view,
            recorder=self._recorder,
            endpoints=self._endpoints,
            due=self._due,
            tasks=self._tasks,
            on_done=self._on_done,
            on_gone=self._on_gone,
        )
        self._obeying = Obeying(
            means, partition, recorder=self._recorder, endpoints=self._endpoints, callees=job.callees, obeyed=job.obeyed
        )
        self._reading_back = ReadingBack(
            means,
            partition,
            recorder=self._recorder,
            endpoints=self._endpoints,
            due=self._due,
            callees=job.callees,
            upto=lambda: self._watermark.next_offset,
        )
        self._feed: Feed | None = None
        self._commands_upto = 0
        self._in_memory = 0
        self._has_room = asyncio.Event()
        self._changes: deque[tuple[str, State, Why]] = deque()
        self._has_changes = asyncio.Event()
        self._given_up_at: dict[str, float] = {}
        """By endpoint: when it was last looked through for what is over, in the loop's time."""
        self._renewed: dict[str, int] = {}
        """By endpoint: up to which due time its lanes were looked through for what is old, in Unix milliseconds."""

    @property
    def waiting(self) -> int:
        """Lanes that wait for a later time."""
        return self._due.waiting_in_all

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
            topic = self._means.topics.deliveries
            log.error("partition.stuck", topic=topic, partition=self._partition, reason="newer_state_version")
            await feed.closed()
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
                self._serve_due(),
                self._serving.park(),
                self._reading_back.run(),
                self._write_changes(),
                self._look(),
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
        await self._endpoints.learn(self._job.callees.by_name)
        self._take_over_suspensions()
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

    def _take_over_suspensions(self) -> None:
        """Who failed for long somewhere else is not called here as if nothing had been."""
        for name, callee in self._job.callees.by_name.items():
            known = self._endpoints.get(name)
            if known is not None and known.state is State.SUSPENDED and known.reason is Why.FAILING:
                callee.suspend_at_start()

    async def _position(self) -> Position | None:
        record = (await self._view.read([position.KEY])).known.get(position.KEY)
        return position.from_record(record) if record is not None else None

    # Every minute

    async def _look(self) -> None:
        """Look (rule 7), write down where we are, let rest what is quiet, renew what is old, then commit again."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            ride_out = self._means.outages.ride_out
            await ride_out(self._view.look)
            self._due.learn(await ride_out(self._due_groups))
            await ride_out(partial(self._endpoints.learn, self._job.callees.by_name))
            await self._write_position()
            await ride_out(partial(self._view.rest, self._means.clock.now_ms() - self._job.quiet_s * 1000))
            async with asyncio.TaskGroup() as renewing:
                for key in await ride_out(self._old):
                    renewing.create_task(self._recorder.record(key, lambda known: known))
            self._count_done()

    async def _due_groups(self) -> Sequence[DueGroup]:
        return await self._means.store.due_groups(self._means.topics.deliveries, self._partition)

    async def _write_position(self) -> None:
        """The place from which to go on, should Kafka forget it: where there was progress, and daily."""
        at = self._means.clock.now()
        now = Position(self._watermark.upto, self._commands_upto, at)

        def step(known: Record | None) -> Record | None:
            before = position.from_record(known) if known is not None else None
            if before is None or before.at <= at - DAY:
                return position.to_record(now if before is None else position.join(before, now))
            if (now.orders, now.commands) <= (before.orders, before.commands):
                return None
            return position.to_record(position.join(before, now))

        await self._recorder.record(position.KEY, step)

    async def _old(self) -> list[bytes]:
        """Which endpoints, and some of the lanes that wait, were last written a day ago. Of who left the settings it expires."""
        means, topic = self._means, self._means.topics.deliveries
        keys = [name.encode() for name in self._job.callees.by_name]
        for name, _ in self._due:
            if name not in self._job.callees.by_name:
                continue
            after_ms = self._renewed.get(name, 0)
            found = await means.store.due(
                topic, self._partition, name, until_ms=None, limit=RENEWED_AT_ONCE_MAX, from_ms=after_ms
            )
            keys += [key for key, _ in found]
            self._renewed[name] = found[-1][1] if len(found) == RENEWED_AT_ONCE_MAX else 0
        before_ms = means.clock.now_ms() - round(DAY.total_seconds() * 1000)
        return await self._view.older_than(keys, before_ms)

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

    # Endpoints (`consumers.callees.Listener`)

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
                if self._endpoints.get(name) is not None:
                    await self._endpoints.change(name, state, why, start=self._watermark.next_offset)

    # What waits

    async def _serve_due(self) -> None:
        """Take up the lanes whose time has come, as far as their endpoints have room."""
        while True:
            now_ms = self._means.clock.now_ms()
            wait_s = IDLE_S
            self._due.changed.clear()
            for name, due_ms in self._due:
                callee = self._job.callees.by_name.get(name)
                if callee is None or self._endpoints.is_left_alone(name):
                    continue  # it left the settings, or is left alone: what waits stays
                if due_ms > now_ms:
                    wait_s = min(wait_s, (due_ms - now_ms) / 1000)
                elif self._serving.room(callee):
                    await self._means.outages.ride_out(partial(self._take_up, name, callee))
                else:
                    await self._give_up_what_is_over(name, callee)
                    wait_s = min(wait_s, max(callee.ready_in_s, PAUSE_S), NO_ROOM_S)
            try:
                async with asyncio.timeout(wait_s):
                    await self._due.changed.wait()
            except TimeoutError:
                continue
            await asyncio.sleep(PAUSE_S)

    async def _give_up_what_is_over(self, name: str, callee: Callee) -> None:
        now = asyncio.get_running_loop().time()
        every_s = min(self._means.delivery.give_up_after_s / 10, GIVE_UP_EVERY_S_MAX)
        if callee.is_paused and now - self._given_up_at.get(name, now - every_s) >= every_s:
            self._given_up_at[name] = now
            await self._means.outages.ride_out(partial(self._serving.give_up_what_is_over, name, callee))

    async def _take_up(self, name: str, callee: Callee) -> None:
        serving, topic = self._serving, self._means.topics.deliveries
        now_ms = self._means.clock.now_ms()
        room = serving.room(callee)
        self._due.take(name)  # before the wait: what becomes due meanwhile is remembered again
        try:
            due = await self._means.store.due(
                topic, self._partition, name, until_ms=None, limit=room + serving.busy(name) + 1
            )
            idle = [(key, at_ms) for key, at_ms in due if not serving.is_busy(key)]
            ready = [key for key, at_ms in idle if at_ms <= now_ms][:room]
            later = [at_ms for key, at_ms in idle if key not in ready]
            snapshot = await self._view.read(ready)
            found = {key: from_record(record) for key, record in snapshot.known.items()}
            bodies = await serving.bodies(list(found.values()))
        except BaseException:
            self._due.remember(name, now_ms)  # not looked into: it is asked again
            raise
        if later:
            self._due.remember(name, min(later))
        for (key, delivery), telling in zip(found.items(), bodies, strict=True):
            if delivery.lane.turns and not serving.is_busy(key) and not serving.is_finishing:
                serving.take_up(delivery, key, callee, telling)
