"""What goes wrong, and when: drawn from the seed, until it is over."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Literal

from notifier import deliveries
from notifier.deliveries import command
from notifier.deliveries.command import Command, Wanted
from notifier.record import Record
from tests.simulation.loop import Process
from tests.simulation.members import P
from tests.simulation.network import To
from tests.simulation.replay import JUNK
from tests.simulation.world import CONSUMERS, TOPICS, Job, World

COMPACTION_LAG_S = 300.0
"""`min.compaction.lag.ms`, made small: a look every minute fits into it as a look does into days."""

RETENTION_S = 660.0
"""Of the inbox: twice the lag, as 30 d are twice 14 d."""

AWAY_S = COMPACTION_LAG_S / 2
OWNERS_MAX = 3
NAMES = ("oms", "erp", "two")
"""The endpoints."""


class Faults:
    """The hand that does it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._random = random.Random(f"faults {world.seed}")
        self._copies = [world.views.save()]
        self._lots: list[tuple[float, Callable[[], None]]] = [
            (3, self._flush),
            (3, self._save),
            (3, self._restore),
            (2, self._lose_suffix),
            (2, lambda: self._lose_sight("redis")),
            (1, lambda: self._lose_sight("kafka")),
            (8, lambda: world.logs.land_late(1)),
            (4, self._compact),
            (1, self._truncate),
            (2, self._one_more_owner),
            (0.4, self._all_leave),
            (2, self._endpoint_fails),
            (1, self._endpoint_is_gone),
            (2, self._operator_says),
            (2, self._operator_redrives),
            (0.3, self._forget_commits),
            (0.5, self._somebody_else_writes),
        ]
        self._pace_s = self._random.choice((3.0, 6.0, 15.0))
        self._steps_between = self._random.choice((150, 600, 3000))

    async def run(self, span_s: float) -> None:
        """Let things go wrong for so long; then all is mended."""
        world, until = self._world, asyncio.get_running_loop().time() + span_s
        weights = [weight for weight, _ in self._lots]
        while asyncio.get_running_loop().time() < until:
            await asyncio.sleep(self._random.expovariate(1 / self._pace_s))
            for process in world.alive:
                if process.steps_left is None:
                    self._arm(process)
            _, strike = self._random.choices(self._lots, weights)[0]
            strike()
        for process in world.alive:
            process.steps_left = None
        world.say("all is calm")
        world.network.is_calm = True
        world.network.away.clear()
        world.merchants.failing.clear()
        world.merchants.gone.clear()
        world.logs.land_late()
        world.thaw_all()
        for job in ("ingress", *CONSUMERS):
            world.replace(job)
        for name in NAMES:
            self._say("resume", name)

    def _arm(self, process: Process) -> None:
        process.steps_left = int(self._random.expovariate(1 / self._steps_between))
        process.at_the_end = lambda: self._strike_down(process)

    def _strike_down(self, process: Process) -> None:
        """Between any two of its awaits."""
        world, job = self._world, self._world.alive.get(process)
        if job is None:
            return
        lot = self._random.random()
        if lot < 0.45:
            world.freeze(process, self._random.choice((1, 8, 40)) * self._random.random())
        elif lot < 0.85 or process not in world.members:
            self._kill(process, job)
        else:
            world.say(f"{process.name} is told to stop")
            world.members[process].feed.close()

    def _kill(self, process: Process, job: Job) -> None:
        self._world.kill(process)
        self._world.network.later(self._random.choice((1, 10, 30)) * self._random.random(), lambda: self._again(job))

    def _again(self, job: Job) -> None:
        self._world.replace(job)

    def _flush(self) -> None:
        self._world.say("redis is flushed")
        self._world.views.flush()

    def _save(self) -> None:
        self._copies.append(self._world.views.save())

    def _restore(self) -> None:
        self._world.say("redis is replaced by an old copy")
        self._world.views.restore(self._random.choice(self._copies))

    def _lose_suffix(self) -> None:
        """A replica that is a moment behind takes over."""
        copy = self._world.views.save()

        def fail_over() -> None:
            self._world.say("redis fails over and forgets a moment")
            self._world.views.restore(copy)

        self._world.network.later(self._random.uniform(0.01, 3), fail_over)

    def _lose_sight(self, of: To) -> None:
        self._world.say(f"{of} is away")
        self._world.network.away.add(of)
        self._world.network.later(self._random.uniform(0.1, 30), lambda: self._world.network.away.discard(of))

    def _compact(self) -> None:
        topic = self._random.choice((TOPICS.orders, TOPICS.deliveries))
        upto = self._older_than(topic, COMPACTION_LAG_S)
        if topic == TOPICS.orders:
            upto = min(upto, self._highest(TOPICS.orders))  # fan-out is never two weeks behind
        self._world.say(f"{topic} is compacted upto {upto}")
        self._world.logs.compact(topic, P, upto)

    def _truncate(self) -> None:
        """Retention: of the inbox what is old and folded, of the compacted logs what compaction has emptied."""
        topic = self._random.choice((TOPICS.inbox, TOPICS.orders, TOPICS.deliveries))
        if topic == TOPICS.inbox:
            start = min(self._older_than(topic, RETENTION_S), self._highest(topic))
        else:
            log = self._world.logs.logs[topic, P]
            start = next((offset for offset, one in enumerate(log) if one is not None), len(log))
        self._world.say(f"{topic} begins at {start}")
        self._world.logs.truncate(topic, P, max(start, self._world.logs.starts[topic, P]))

    def _older_than(self, topic: str, age_s: float) -> int:
        """The first offset that is younger."""
        log, before_ms = self._world.logs.logs[topic, P], self._world.clock.now_ms() - age_s * 1000
        young = (offset for offset, one in enumerate(log) if one is not None and one.appended_at_ms > before_ms)
        return next(young, len(log))

    def _highest(self, topic: str) -> int:
        highest = self._world.commits.highest
        return max((offset for source, offset in highest.items() if source.topic == topic), default=0)

    def _one_more_owner(self) -> None:
        job = self._random.choice(CONSUMERS)
        if self._world.owners(job) < OWNERS_MAX:
            self._world.start(job)

    def _all_leave(self) -> None:
        """Nobody works on the partition for longer than commits are to be believed."""
        job = self._random.choice(CONSUMERS)
        self._world.say(f"all of {job} leave")
        for process in [process for process, other in self._world.alive.items() if other == job]:
            self._world.kill(process)
        self._world.network.later(self._random.uniform(0.5, 3) * AWAY_S, lambda: self._again(job))

    def _endpoint_is_gone(self) -> None:
        """It answers 410 for a while; nobody but an operator brings it back."""
        name, gone = self._random.choice(NAMES), self._world.merchants.gone
        self._world.say(f"{name} is gone")
        gone.add(name)
        self._world.network.later(self._random.choice((10, 60, 240)), lambda: gone.discard(name))

    def _operator_says(self) -> None:
        self._say(self._random.choice(("suspend", "resume", "resume")), self._random.choice(NAMES))

    def _operator_redrives(self) -> None:
        """Something that was told, or was given up, or waits still: an operator may ask for anything."""
        found = [deliveries.delivery_in(one.record) for one in self._world.logs.records(TOPICS.deliveries, P)]
        known = [one for one in found if one is not None]
        if known:
            one = self._random.choice(known)
            wanted = Wanted(one.channel, one.order, one.version, one.event_offset, one.event_id)
            self._say("redrive", one.endpoint, wanted)

    def _say(self, what: Literal["suspend", "resume", "redrive"], endpoint: str, *wanted: Wanted) -> None:
        said = Command(what, endpoint, self._world.clock.now(), deliveries=wanted)
        self._world.logs.now_ms = self._world.clock.now_ms()
        self._world.logs.put(TOPICS.commands, P, command.to_record(said))

    def _forget_commits(self) -> None:
        """Kafka forgets what a group has committed when it was idle for a week."""
        job = self._random.choice((TOPICS.inbox, TOPICS.orders))
        self._world.say(f"what is committed of {job} is forgotten")
        for source in list(self._world.commits.by_source):
            if source.topic == job or (job == TOPICS.orders and source.topic == TOPICS.commands):
                del self._world.commits.by_source[source]

    def _endpoint_fails(self) -> None:
        name, failing = self._random.choice(NAMES), self._world.merchants.failing
        self._world.say(f"{name} fails")
        failing.add(name)
        self._world.network.later(self._random.choice((10, 60, 240)), lambda: failing.discard(name))

    def _somebody_else_writes(self) -> None:
        """A record that no code of this project could make (L2)."""
        self._world.logs.now_ms = self._world.clock.now_ms()
        self._world.logs.put(TOPICS.inbox, P, Record(b"shop-hkd/", JUNK))
