"""Owners of a partition, run by hand: the real job on fakes, fed and watched step by step."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from consumers.orders import OrdersJob
from consumers.partition import Batch, Feed, FeedClosed, Work
from notifier import events, evidence
from notifier.evidence import USABLE, Evidence, Kind, Policy
from notifier.kafka.group import Commit, Source
from notifier.outage import Outages
from notifier.record import Record
from notifier.topics import Topics
from tests.fakes import FakeLogs, FakeViews

TOPICS = Topics("t")
P = 0
NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
POLICY = Policy("HKD", None, "2088000000000001", "open")

SPINS_MAX = 2_000
"""Turns of the event loop after which something that has not happened will not happen."""


class FakeClock:
    """Time that stands still until it is moved."""

    def __init__(self) -> None:
        self.at = NOON

    def now(self) -> datetime:
        """The time it was set to."""
        return self.at

    def now_ms(self) -> int:
        """The same, in Unix milliseconds."""
        return round(self.at.timestamp() * 1000)


def notification(
    order: str, status: str = "TRADE_SUCCESS", *, amount: str = "128.00", made_at: str = "20:00:00", **more: str
) -> Record:
    """An inbox record as the door makes it of a genuine notification."""
    fields = {
        "notify_type": "trade_status_sync",
        "notify_time": f"2026-11-22+{made_at}",
        "out_trade_no": order,
        "trade_no": f"2026112222001{order}",
        "trade_status": status,
        "total_fee": amount,
    } | more
    body = "&".join(f"{name}={value}" for name, value in fields.items()).encode()
    return evidence.to_record(
        Evidence(
            kind=Kind.NOTIFICATION,
            channel="shop-hkd",
            protocol="mapi",
            received_at=NOON,
            key="fingerprint",
            verdict=USABLE,
            policy=POLICY,
            evidence_id=evidence.evidence_id("shop-hkd", "mapi", body),
            order=order,
            body=body,
        )
    )


async def spin(until: Callable[[], bool] | None = None) -> None:
    """Let everything that can go on go on, until something holds."""
    for _ in range(SPINS_MAX):
        if until is not None and until():
            return
        await asyncio.sleep(0)
    assert until is None, "it does not happen"


@dataclass
class World:
    """Logs, views, and what the group has committed."""

    logs: FakeLogs = field(default_factory=FakeLogs)
    views: FakeViews = field(default_factory=FakeViews)
    commits: dict[Source, Commit] = field(default_factory=dict)
    clock: FakeClock = field(default_factory=FakeClock)
    quiet_s: int = 604_800

    async def receive(self, *records: Record) -> None:
        """Put evidence into the inbox."""
        await self.logs.append(TOPICS.inbox, P, records)

    def orders_job(self) -> OrdersJob:
        """The orders job on these."""
        return OrdersJob(
            TOPICS,
            self.views,
            self.logs,
            self.logs,
            Outages(sleep=lambda _: asyncio.sleep(0)),
            self.clock,
            self.quiet_s,
        )

    def told(self) -> list[tuple[str, int, str]]:
        """The orders log: order, version and type of each record."""
        found = [events.from_record(stored.record) for stored in self.logs.records(TOPICS.orders, P)]
        return [(one.order.order, one.order.version, one.event.type) for one in found]

    def latest(self) -> dict[str, int]:
        """The last version that lies in the orders log of each order: what compaction keeps."""
        return {order: version for order, version, _ in self.told()}

    def assert_one_content_per_version(self) -> None:
        """S11: whatever was written twice is the same byte for byte, and no version is missing."""
        contents: dict[tuple[bytes, int], set[Record]] = {}
        for stored in self.logs.records(TOPICS.orders, P):
            contents.setdefault((stored.record.key, events.version_of(stored.record)), set()).add(stored.record)
        for (key, version), records in contents.items():
            assert len(records) == 1, f"{key!r} version {version} has {len(records)} contents"
            assert version == 1 or (key, version - 1) in contents, f"{key!r} version {version} without the one before"


class Owner:
    """One process that owns the partition, or believes that it does."""

    def __init__(self, world: World, work: Work, topic: str = TOPICS.inbox) -> None:
        self.world = world
        self.feed = Feed(P, self, asyncio.Event())
        self._topic = topic
        self.work = work
        self._at = 0
        self._task: asyncio.Task[None] | None = None

    async def committed(self, source: Source) -> Commit | None:
        """The group's commit (`consumers.partition.Member`)."""
        await asyncio.sleep(0)
        return self.world.commits.get(source)

    def begin(self, source: Source, offset: int) -> None:
        """Where the work wants to begin (`consumers.partition.Member`)."""
        if source.topic == self._topic:
            self._at = offset

    async def start(self) -> Owner:
        """Own the partition, and open its view."""
        self._task = asyncio.get_running_loop().create_task(self.work.run(self.feed))
        task = self._task
        await spin(lambda: bool(self.feed.wanted) or task.done())
        return self

    async def fetch(self, records_max: int = 100) -> None:
        """Fetch the next records and hand them over; do not wait for what becomes of them."""
        records = [one for one in self.world.logs.records(self._topic, P) if one.offset >= self._at][:records_max]
        if records:
            self._at = records[-1].offset + 1
            self.feed.put(Batch(self._topic, records))
        await asyncio.sleep(0)

    async def work_off(self, records_max: int = 100) -> None:
        """Fetch what there is, and wait until it is done."""
        await self.fetch(records_max)
        await spin(lambda: self.feed.done_upto.get(Source(self._topic, P), 0) >= self._at)

    def commit(self) -> None:
        """Commit what is done."""
        self.world.commits |= self.feed.uncommitted

    async def stop(self) -> None:
        """Hand the partition back: drain and commit."""
        task = self._task
        assert task is not None
        self.feed.close()
        await spin(task.done)
        with suppress(FeedClosed):  # so it ends, when it hands back
            task.result()
        self.commit()

    async def ended(self) -> None:
        """Return, or raise, as the work did when it ended by itself."""
        task = self._task
        assert task is not None
        await spin(task.done)
        task.result()

    async def crash(self) -> None:
        """End at once: what was not durable is lost."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])


async def orders_owner(world: World) -> Owner:
    """An owner of the inbox's partition that has opened its view."""
    return await Owner(world, world.orders_job().work(P)).start()


def later(days: float) -> timedelta:
    """So many days."""
    return timedelta(days=days)
