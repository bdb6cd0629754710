"""One run: the whole product at work, a fault in its middle, and everything looked at when all is told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from redis.asyncio import Redis

from notifier import config
from notifier.clock import SystemClock
from notifier.config import Settings
from notifier.demo.history import Entry, History, Webhook
from notifier.demo.progress import Progress
from notifier.demo.settings import Ports, Setup, new_secret, write
from notifier.demo.topics import make_topics, number_in_each_partition, read_whole
from notifier.demo.world.accounts import open_accounts
from notifier.demo.world.alipayhk import AlipayHK
from notifier.demo.world.lives import Sending, last_orders, plan, posts_in
from notifier.demo.world.merchants import MERCHANTS
from notifier.kafka.access import Access
from notifier.local.ports import HOST, free_ports
from notifier.topics import TopicPlan, Topics, plans
from tests.faults import checks
from tests.faults.brokers import Services
from tests.faults.cluster import connected
from tests.faults.faults import Fault
from tests.faults.keeper import Keeper
from tests.faults.product import parts
from tests.faults.shops import shops
from tests.faults.stage import Stage
from tests.waiting import until

DELIVERY_TIMEOUT_S = 10.0
"""Long enough that a busy machine makes no merchant fail."""
TOLD_WITHIN_S = 120.0
"""How long everything may take to be told once nothing more is sent; the look, which mends the rest, comes each minute."""

BEGINS_AT, HELD_BACK = 0.3, 0.4
"""A fault begins when so much is sent. So much is held back until it is over; while it is not, that comes slowly."""
SLOW, AT_ONCE = 40.0, 10

_SEGMENTS = {"segment_ms": "1500", "segment_index_bytes": "65536", "min_cleanable_dirty_ratio": "0.001"}

_MORE_SETTINGS = """
[consumers]
session_timeout_s = {session_timeout_s}
"""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is sent, and how fast: entries of the plan a second."""

    orders: int
    rate: float
    seed: int
    session_timeout_s: float = 5.0


@dataclass(slots=True)
class Outcome:
    """How a run ended."""

    problems: list[str] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)


async def run(fault: Fault, services: Services, folder: Path, wish: Wish) -> Outcome:
    """
    Play one run on a Kafka and a Redis of its own; settings and logs are in `folder`.

    What goes wrong in the run is a problem of the outcome; whatever it is, all that was started is ended.
    """
    outcome = Outcome()
    try:
        await _play(fault, services, folder, wish, outcome)
    except* Exception as failed:  # noqa: BLE001 - whatever it was, the run has failed, and says so in its result
        outcome.problems += [f"{type(error).__name__}: {error}" for error in _leaves(failed)]
    return outcome


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    return [
        leaf
        for error in group.exceptions
        for leaf in (_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    ]


async def _play(fault: Fault, services: Services, folder: Path, wish: Wish, outcome: Outcome) -> None:
    accounts, clock = open_accounts(), SystemClock()
    sendings = plan(wish.seed, wish.orders, [account.channel for account in accounts])
    planned_s = len(sendings) / wish.rate
    secrets = {merchant.name: new_secret() for merchant in MERCHANTS}
    webhooks: list[Webhook] = []

    # what waits while it is compacted away is skipped: a promise of its own, not the one that is looked at here
    fails_at, ends_at = (
        (0.0, 0.0) if fault.is_between or fault.delivery_timeout_s else (planned_s * 0.2, planned_s * 0.5)
    )
    async with (
        shops(secrets, webhooks, fails_at=fails_at, ends_at=ends_at) as merchants,
        asyncio.TaskGroup() as tasks,
    ):
        ports = Ports.free()
        timeout_s = fault.delivery_timeout_s or DELIVERY_TIMEOUT_S
        file = write(folder, Setup(services.addresses, ports, accounts, MERCHANTS, merchants.urls, secrets, timeout_s))
        with file.open("a", encoding="utf-8") as more:
            more.write(_MORE_SETTINGS.format(session_timeout_s=wish.session_timeout_s))
        copies = {"NOTIFIER__KAFKA__REPLICATION_FACTOR": str(len(services.brokers))}
        settings = config.load(file, copies)
        await make_topics(settings)
        access = Access.to(settings.kafka, "faults")
        running = parts([ports.internal, *free_ports(4)], file, folder, tasks, copies)
        async with (
            connected(access, services.logs, _plans(settings)) as cluster,
            Redis.from_url(settings.redis.url) as redis,
            AlipayHK(f"http://{HOST}:{ports.public}", accounts, clock) as alipayhk,
        ):
            stage = Stage(
                Topics(settings.kafka.topic_prefix),
                access,
                cluster,
                services.brokers,
                services.redis,
                redis,
                settings.redis.key_prefix,
                running,
                alipayhk,
                merchants,
                wish.session_timeout_s,
            )
            try:
                hit = _Run(fault, stage, settings, rate=wish.rate, webhooks=webhooks, outcome=outcome)
                await hit.play(sendings)
            finally:
                for part in running:
                    await part.kill()


def _plans(settings: Settings) -> list[TopicPlan]:
    return plans(
        Topics(settings.kafka.topic_prefix),
        partitions=settings.kafka.partitions,
        replication_factor=settings.kafka.replication_factor,
        kept_s=settings.orders.kept_s,
        body_bytes_max=settings.ingress.body_bytes_max,
    )


class _Run:
    """From the first process to the last look."""

    def __init__(
        self,
        fault: Fault,
        stage: Stage,
        settings: Settings,
        *,
        rate: float,
        webhooks: list[Webhook],
        outcome: Outcome,
    ) -> None:
        self._fault = fault
        self._stage = stage
        self._settings = settings
        self._rate = rate
        self._webhooks = webhooks
        self._outcome = outcome
        posts, sent_at = stage.alipayhk.posts, stage.alipayhk.first_sent_at
        self._progress = Progress(MERCHANTS, frozenset(), posts, webhooks, sent_at)
        self._keeper = Keeper(stage.access, stage.cluster.partitions, self._on_entries)

    def _on_entries(self, topic: str, entries: Sequence[Entry]) -> None:
        if topic == self._stage.topics.orders:
            self._progress.read(entries)

    async def play(self, sendings: Sequence[Sending]) -> None:
        """Work, be hit, be told; then look at everything."""
        stage, topics = self._stage, self._stage.topics
        for topic in (topics.orders, topics.deliveries):
            await stage.cluster.configure(topic, **_SEGMENTS)
        async with asyncio.TaskGroup() as tasks:
            kept = (topics.inbox, topics.orders, topics.deliveries, topics.quarantine, topics.commands)
            following = [tasks.create_task(self._keeper.follow(topic)) for topic in kept]
            await asyncio.gather(*(part.start() for part in stage.parts))
            await stage.at_rest()

            began = time.monotonic()
            await (self._hit_between if self._fault.is_between else self._hit_in_the_middle)(sendings)
            last = last_orders(number_in_each_partition(self._settings, "peak"), "peak")
            await stage.alipayhk.send_all(last, rate=self._rate)
            await self._told(last)
            self._count(time.monotonic() - began)

            began = time.monotonic()
            await self._at_rest()
            self._outcome.figures["rest_s"] = time.monotonic() - began
            statuses = await asyncio.gather(*(part.end() for part in stage.parts))
            self._outcome.problems += [
                f"{part.name} ended with status {status}"
                for part, status in zip(stage.parts, statuses, strict=True)
                if status != 0
            ]
            await self._caught_up(kept)
            for task in following:
                task.cancel()
        await self._look()

    async def _hit_in_the_middle(self, sendings: Sequence[Sending]) -> None:
        stage, cut = self._stage, round(len(sendings) * (1 - HELD_BACK))
        begins_at = posts_in(sendings) * BEGINS_AT

        async def is_begun() -> bool:
            return len(stage.posts) >= begins_at

        async def hit() -> None:
            await until(is_begun, float("inf"))
            await self._hit()

        async with asyncio.TaskGroup() as tasks:
            hitting = tasks.create_task(hit())
            await stage.alipayhk.send_all(sendings[:cut], rate=self._rate)
            while not hitting.done() and cut < len(sendings):
                await stage.alipayhk.send_all(sendings[cut : cut + AT_ONCE], rate=SLOW)
                cut += AT_ONCE
        await stage.alipayhk.send_all(sendings[cut:], rate=self._rate)

    async def _hit_between(self, sendings: Sequence[Sending]) -> None:
        half = len(sendings) // 2
        await self._stage.alipayhk.send_all(sendings[:half], rate=self._rate)
        await self._stage.gone_on()
        await self._told([])
        await self._hit()
        await self._stage.alipayhk.send_all(sendings[half:], rate=self._rate)

    async def _hit(self) -> None:
        began = time.monotonic()
        await self._fault.play(self._stage)
        self._outcome.figures["fault_s"] = time.monotonic() - began

    async def _told(self, last: Sequence[Sending]) -> None:
        orders = [sending.message.order for sending in last]

        async def is_told() -> bool:
            return self._progress.is_told(orders)

        await until(is_told, TOLD_WITHIN_S, f"everything is told; {self._progress.look().waiting} events wait")

    async def _at_rest(self) -> None:
        """All is committed, and each view has come to the end of its log."""
        stage = self._stage
        for group, topic in stage.groups.values():
            await stage.committed_upto(group, topic, await stage.cluster.ends(topic))
        for topic in (stage.topics.orders, stage.topics.deliveries):

            async def is_there(topic: str = topic) -> bool:
                return await stage.positions(topic) == await stage.cluster.ends(topic)

            await until(is_there, TOLD_WITHIN_S, f"the views of {topic} come to its end")

    async def _caught_up(self, topics: Sequence[str]) -> None:
        async def is_so() -> bool:
            return all([self._keeper.ends[topic] == await self._stage.cluster.ends(topic) for topic in topics])

        await until(is_so, TOLD_WITHIN_S, "every record has been kept")

    def _count(self, seconds: float) -> None:
        seen, figures = self._progress.look(), self._outcome.figures
        posts = len(self._stage.posts)
        figures |= {"posts": posts, "accepted": seen.accepted, "unanswered": seen.unanswered, "events": seen.events}
        figures |= {"seconds": seconds, "per_s": posts / seconds}
        figures |= self._stage.figures
        figures["left_by_themselves"] = sum(part.left_by_itself for part in self._stage.parts)

    async def _look(self) -> None:
        stage, topics, keeper, problems = self._stage, self._stage.topics, self._keeper, self._outcome.problems
        history = History(
            posts=tuple(stage.posts),
            inbox=keeper.whole(topics.inbox),
            orders=keeper.whole(topics.orders),
            deliveries=keeper.whole(topics.deliveries),
            quarantine=keeper.whole(topics.quarantine),
            commands=keeper.whole(topics.commands),
            merchants=MERCHANTS,
            webhooks=tuple(self._webhooks),
        )
        repeats = self._outcome.figures["repeats"] = checks.repeats(history)
        if self._fault.repeats_max is not None and repeats > self._fault.repeats_max:
            problems.append(f"merchants were told {repeats} events again, more than can have been in flight")
        problems += checks.of_history(history, stage.put_there)
        problems += checks.of_logs(stage.parts)
        views = await checks.read_views(stage)
        problems += checks.of_rest(views)
        problems += checks.of_views(views, history.orders, history.deliveries, "whole")
        for topic in (topics.orders, topics.deliveries):
            await stage.cluster.compact(topic)
        orders, deliveries = [await read_whole(self._settings, topic) for topic in (topics.orders, topics.deliveries)]
        self._outcome.figures["compacted"] = (
            len(history.orders) + len(history.deliveries) - len(orders) - len(deliveries)
        )
        problems += checks.of_views(views, orders, deliveries, "compacted")
