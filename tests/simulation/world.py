"""One seed's world: servers, processes, AlipayHK and merchants, from the first notification until all is quiet."""

from __future__ import annotations

import asyncio
import hashlib
import random
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextvars import Context
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Literal

from consumers.fanout import FanoutJob
from consumers.orders import OrdersJob
from consumers.telling.callees import Callees
from consumers.telling.means import Means
from consumers.view import RecreatedTopicError
from notifier.channel import Channels
from notifier.config import Delivery
from notifier.door.http import Request
from notifier.door.ingress import SUCCESS, Door
from notifier.kafka.group import Commit, Source
from notifier.kept import record_in
from notifier.outage import Outages
from notifier.ports import DueChange, Kept, ViewStore
from notifier.record import Record
from notifier.topics import Topics
from tests.fakes import FakeLogs, FakeViews, Fault, Place
from tests.owners import NOON
from tests.releases import LaterViews
from tests.simulation.alipayhk import AlipayHK, accounts
from tests.simulation.loop import PROCESS, Process, SeededLoop
from tests.simulation.members import Commits, DoorInbox, Fate, Member, P
from tests.simulation.merchants import Merchants, endpoints
from tests.simulation.network import SeededNetwork, succeed
from tests.simulation.replay import Replay

TOPICS = Topics("t")
Job = Literal["ingress", "orders", "fanout"]
CONSUMERS: tuple[Job, ...] = ("orders", "fanout")
FORM = "application/x-www-form-urlencoded; charset=UTF-8"


class Broken(AssertionError):
    """A promise that was not kept. The message begins with its name."""


class VirtualClock:
    """The loop's time, as the time of day."""

    def __init__(self, loop: SeededLoop) -> None:
        self._loop = loop

    def now(self) -> datetime:
        """Noon, and what has passed since."""
        return NOON + timedelta(seconds=self._loop.time())

    def now_ms(self) -> int:
        """The same, in Unix milliseconds."""
        return round(self.now().timestamp() * 1000)


class SeededLogs(FakeLogs):
    """
    Kafka, whose appends go wrong by lot and whose ends are sometimes those of a leader that does not know it is deposed.

    Not while there is no commit: a group's commits are forgotten after a week, and no leader is deposed unnoticed for as long.
    """

    def __init__(self, world: World, rng: random.Random) -> None:
        super().__init__(world.network)
        self._world = world
        self._random = rng
        self.history: defaultdict[Place, list[Record]] = defaultdict(list)
        """Everything that ever landed, whatever compaction and retention have taken since."""

    def fault_of(self, topic: str, count: int) -> Fault | None:
        """By lot; nothing goes wrong in a calm world."""
        if self._world.network.is_calm or self._random.random() > 0.15:
            return None
        faults = [Fault.LOST, Fault.UNKNOWN, Fault.LATE, Fault.LATE, Fault.DOUBLED]
        fault = self._random.choice(faults + 3 * [Fault.CUT] if count > 1 else faults)
        self._world.say(f"append to {topic}: {fault.name}")
        return fault

    def _land(self, place: Place, record: Record) -> int:
        offset = super()._land(place, record)
        self.history[place].append(record)
        self._world.landed(place[0], record, offset)
        return offset

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """The log's bounds; now and then an end that was."""
        start, end = await super().bounds(topic, partition)
        if not self._world.network.is_calm and self._world.commits.are_there and self._random.random() < 0.05:
            end = max(start, end - self._random.randint(1, 8))
        return start, end


class WatchedViews(FakeViews):
    """Redis; what is written to it is looked at."""

    def __init__(self, world: World) -> None:
        super().__init__(world.network)
        self._world = world

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
        """Move the view. An entry names where its record lies, so that it can be had from there as well (S10)."""
        log = self._world.logs.history[topic, partition]
        for key, entry in entries.items():
            record = record_in(key, entry)
            if record is not None and record != log[entry.offset]:
                self._world.broken.append(f"S10 {topic}: what is kept of {key!r} does not lie at {entry.offset}")
        return await super().write(topic, partition, expected=expected, position=position, entries=entries, due=due)


class World:
    """Everything of one seed."""

    def __init__(self, seed: int, loop: SeededLoop, *, is_told: bool) -> None:
        self.seed = seed
        self.loop = loop
        self.random = random.Random(f"world {seed}")
        self.clock = VirtualClock(loop)
        self._is_told = is_told
        self._digest = hashlib.sha256()
        self.counts: defaultdict[str, int] = defaultdict(int)
        self.network = SeededNetwork(self._rng("network"), before_work=self._tell_time)
        self.logs = SeededLogs(self, self._rng("logs"))
        self.views = WatchedViews(self)
        self._are_mixed = seed % 3 == 0
        self._releases = self._rng("releases")
        self.replay = Replay(TOPICS, endpoints())
        self.commits = Commits(self.network, self._fate_of_commit, self._committed)
        self.merchants = Merchants(self._rng("merchants"), self.network, self.say)
        self.accounts = accounts(is_registered_only=self.random.random() < 0.3)
        self.alipayhk = AlipayHK(self._rng("alipayhk"), self.post, span_s=self.random.choice((100.0, 500.0)))
        self.delivery = Delivery(
            timeout_s=5.0,
            first_retry_s=5.0,
            retry_s_max=60.0,
            suspend_after_s=120.0,
            give_up_after_s=self.random.choice((300.0, 259_200.0)),
        )
        self.quiet_s = self.random.choice((60, 604_800))
        self.alive: dict[Process, Job] = {}
        self._processes: list[Process] = []
        self.members: dict[Process, Member] = {}
        self.broken: list[str] = []
        self._doors: dict[Process, tuple[Door, Context]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._number = 0
        loop.set_exception_handler(self._note_bug)

    def _note_bug(self, _: asyncio.AbstractEventLoop, what: dict[str, Any]) -> None:
        self.broken.append(f"L1 a bug: {what['message']}: {what.get('exception')!r}")

    def _rng(self, of: str) -> random.Random:
        return random.Random(f"{of} {self.seed}")

    # What is seen

    def say(self, what: str) -> None:
        """One line of the trace."""
        line = f"{self.loop.time():9.3f} {what}"
        self._digest.update(line.encode())
        if self._is_told:
            sys.stdout.write(f"{line}\n")

    @property
    def digest(self) -> str:
        """The same for the same trace."""
        return self._digest.hexdigest()[:16]

    def landed(self, topic: str, record: Record, offset: int) -> None:
        """A record lies in a log."""
        self.counts[topic] += 1
        version = record.header("ce_orderversion")
        self.say(f"{topic} {offset}: {record.key.decode()} {f'v{version.decode()}' if version else ''}")
        self.replay.landed(topic, record, offset)

    def _tell_time(self) -> None:
        self.logs.now_ms = self.clock.now_ms()

    def _fate_of_commit(self) -> Fate:
        if self.network.is_calm or self.random.random() > 0.15:
            return None
        return self.random.choice(("lost", "unknown", "late"))

    def _committed(self, source: Source, commit: Commit) -> None:
        self.say(f"{source.topic} committed upto {commit.offset} with {commit.metadata}")
        surviving = [one.record for one in self.logs.records(TOPICS.orders, P)]
        for fault in self.replay.uncovered(source.topic, commit.offset, surviving):
            self.broken.append(f"S9 {fault}, at {self.loop.time():.3f} s")

    # Processes

    def start(self, job: Job) -> None:
        """Start one more process of a job."""
        self._number += 1
        process = Process(f"{job}-{self._number}")
        context = Context()
        context.run(PROCESS.set, process)
        self.alive[process] = job
        self._processes.append(process)
        self.say(f"{process.name} starts")
        if job == "ingress":
            door = context.run(self._door)
            self._doors[process] = door, context
            return
        task = self.loop.create_task(self._run(process, job), context=context)
        self._tasks.append(task)

    def _door(self) -> Door:
        trace = self._rng("trace")
        return Door(
            Channels(account.channel for account in self.accounts),
            DoorInbox(self.logs, TOPICS),
            _NobodyAsks(),
            self.clock,
            new_traceparent=lambda: f"00-{trace.getrandbits(128) | 1:032x}-{trace.getrandbits(64) | 1:016x}-01",
        )

    async def _run(self, process: Process, job: Job) -> None:
        outages, rng = Outages(), self._rng(process.name)
        member = self.members[process] = Member(self.logs, self.commits, rng, outages)
        views: ViewStore = self.views
        if self._are_mixed and self._releases.random() < 0.5:
            self.say(f"{process.name} is of a later release")
            views = LaterViews(self.views)
        if job == "orders":
            orders = OrdersJob(TOPICS, views, self.logs, self.logs, outages, self.clock, self.quiet_s)
            work = orders.work(P)
            running = member.run(work)
        else:
            means = Means(
                TOPICS,
                self.delivery,
                self.merchants,
                views,
                self.logs,
                outages,
                self.clock,
                rng.random,
                waiting_max=1_000,
            )
            called = Callees(endpoints(), self.delivery, rng.random)
            fanout = FanoutJob(means, called, self.logs, self.quiet_s)
            running = member.run(fanout.work(P))
        try:
            await running
        except* RecreatedTopicError as refused:
            # the end that a deposed leader told looks like another topic: the supervisor starts the process again
            self.say(f"{process.name} refuses to go on")
            if self.network.is_calm:
                self.broken.append(f"L1 {process.name} refuses to go on: {refused.exceptions[0]}")
        except* Exception as died:  # noqa: BLE001 - whatever it died of is a finding
            self.broken.append(f"L1 {process.name} died of {died.exceptions[0]!r}")
        self.alive.pop(process, None)
        self.say(f"{process.name} has ended")
        self.network.later(self.random.uniform(0.5, 5), partial(self.replace, job))

    def kill(self, process: Process) -> None:
        """End a process where it is: `kill -9`."""
        self.say(f"{process.name} is killed")
        self.loop.hold(process)
        del self.alive[process]

    def freeze(self, process: Process, for_s: float) -> None:
        """Stop a process where it is, and let it go on later: SIGSTOP, SIGCONT."""
        self.say(f"{process.name} stands still for {for_s:.1f} s")
        self.loop.hold(process)
        self.network.later(for_s, partial(self._thaw, process))

    def _thaw(self, process: Process) -> None:
        if process in self.alive and process.is_stopped:
            self.say(f"{process.name} goes on")
            self.loop.release(process)

    def thaw_all(self) -> None:
        """Let all go on that stand still."""
        for process in list(self.alive):
            self._thaw(process)

    def replace(self, job: Job) -> None:
        """What a supervisor does: see to it that a job runs."""
        if self.owners(job) < 1 + (job != "ingress" and self.random.random() < 0.5):
            self.start(job)

    def owners(self, job: Job) -> int:
        """How many processes of a job live, or stand still."""
        return sum(other == job for other in self.alive.values())

    def bury(self) -> None:
        """Let the dead move once more, so that their tasks can be cancelled."""
        self.loop.set_exception_handler(lambda *_: None)
        self.loop.steps = 0
        for process in self._processes:
            process.steps_left = None
            self.loop.release(process)

    # The way in

    async def post(self, token: str, body: bytes) -> bool:
        """POST a body to the door, over the network; whether the answer is `success`. It may never come."""
        answer: asyncio.Future[bool] = self.loop.create_future()
        self.network.later(self.network.latency_s(), partial(self._arrive, token, body, answer))
        return await answer

    def _arrive(self, token: str, body: bytes, answer: asyncio.Future[bool]) -> None:
        doors = [process for process in self._doors if process in self.alive]
        if doors:
            door, context = self._doors[self.random.choice(doors)]
            self._tasks.append(self.loop.create_task(self._receive(door, token, body, answer), context=context))

    async def _receive(self, door: Door, token: str, body: bytes, answer: asyncio.Future[bool]) -> None:
        request = Request(f"/n/{token}", "", FORM, None, body)
        receive = door.at(request.path)
        assert receive is not None, "a channel has this token"
        given = await receive(request)
        is_success = given.status == SUCCESS.status and given.body == SUCCESS.body
        self.say(f"the door answers {given.status}")
        if self.network.is_calm or self.random.random() > 0.1:
            self.network.later(self.network.latency_s(), partial(succeed, answer, is_success))

    # The end

    def is_quiet(self) -> bool:
        """Everything that came has been done, recorded and committed, and no append is still on its way."""
        ends = {topic: len(self.logs.logs[topic, P]) for topic in (TOPICS.inbox, TOPICS.orders, TOPICS.deliveries)}
        done = {source.topic: commit.offset for source, commit in self.commits.by_source.items()}
        reached = {topic: self.views.views[topic, P].position or 0 for topic in (TOPICS.orders, TOPICS.deliveries)}
        return (
            not self.logs.late
            and all(done.get(topic, 0) == ends[topic] for topic in (TOPICS.inbox, TOPICS.orders))
            and all(position == ends[topic] for topic, position in reached.items())
            and not any(lane.first for lane in self.replay.lanes.values())
        )

    def unquiet(self) -> Sequence[str]:
        """What is still to be done, for a person."""
        lanes = [f"{key.decode()} {lane}" for key, lane in self.replay.lanes.items() if lane.first]
        commits = [f"{source.topic}: {commit.offset}" for source, commit in self.commits.by_source.items()]
        ends = [f"{topic} ends at {len(log)}" for (topic, _), log in self.logs.logs.items()]
        views = [f"view of {topic} at {view.position}" for (topic, _), view in self.views.views.items()]
        return [*lanes, *commits, *ends, *views]


class _NobodyAsks:
    async def confirm(self, gateway_url: str, partner_id: str, notify_id: str | None) -> None:
        """As `Verifier`; no channel here asks."""
        raise AssertionError("no channel asks")
