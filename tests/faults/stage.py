"""What a fault may touch, and what it may watch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from redis.asyncio import Redis

from notifier.demo.history import Post
from notifier.demo.world.alipayhk import AlipayHK
from notifier.kafka.access import Access
from notifier.local import Server
from notifier.topics import Topics, partition_of
from tests.faults.cluster import Cluster
from tests.faults.product import Line, Part
from tests.faults.shops import Shops
from tests.waiting import until

SEEN_WITHIN_S = 60.0

_WORKED = ("order.changed", "evidence.repeated", "delivery.attempted")
"""Lines that say that a job has done something for an order."""


@dataclass(frozen=True, slots=True)
class Held:
    """What one process of a job holds, and where each part's log ended at that moment."""

    by: Part
    partitions: list[int]
    marks: dict[str, int]


@dataclass(slots=True)
class Stage:
    """One run in its middle."""

    topics: Topics
    access: Access
    cluster: Cluster
    brokers: Sequence[Server]
    redis_server: Server
    redis: Redis
    key_prefix: str
    parts: list[Part]
    alipayhk: AlipayHK
    shops: Shops
    session_timeout_s: float
    figures: dict[str, float] = field(default_factory=dict)
    """What a fault has measured, by name."""
    put_there: set[str] = field(default_factory=set)
    """Order numbers that a fault wrote into a topic itself: their history is no work of the product."""

    def part(self, name: str) -> Part:
        """A part by its name."""
        return next(part for part in self.parts if part.name == name)

    def of_job(self, job: str) -> list[Part]:
        """The processes of one job."""
        return [part for part in self.parts if part.job == job]

    @property
    def kafka(self) -> Server:
        """The only broker."""
        (broker,) = self.brokers
        return broker

    @property
    def consumers(self) -> list[Part]:
        """All but the ingress."""
        return [part for part in self.parts if part.job != "serve"]

    @property
    def groups(self) -> dict[str, tuple[str, str]]:
        """Of each job: its group, and the topic whose commits tell how far it is."""
        return {
            "orders": (self.topics.group("orders"), self.topics.inbox),
            "fanout": (self.topics.group("fanout"), self.topics.orders),
        }

    @property
    def posts(self) -> Sequence[Post]:
        """What was posted so far."""
        return self.alipayhk.posts

    def marks(self) -> dict[str, int]:
        """Where each part's log ends now."""
        return {part.name: part.mark() for part in self.parts}

    async def one_said(self, job: str, event: str, marks: dict[str, int], **fields: object) -> None:
        """Return once a process of a job has said something behind these marks."""
        looks = [part.saying(event, marks[part.name], **fields) for part in self.of_job(job)]

        async def is_said() -> bool:
            return any(look() for look in looks)

        await until(is_said, SEEN_WITHIN_S, f"a process of {job} says {event} {fields or ''}")

    async def one_of_each_said(self, event: str, marks: dict[str, int], **fields: object) -> None:
        """Return once a process of each consumer job has."""
        for job in self.groups:
            await self.one_said(job, event, marks, **fields)

    async def accepted_more(self, count: int) -> None:
        """Return once AlipayHK has heard `success` so many times more."""
        begin = len(self.posts)

        async def is_so() -> bool:
            return sum(post.is_success for post in self.posts[begin:]) >= count

        await until(is_so, SEEN_WITHIN_S, f"the ingress accepts {count} more")

    async def at_rest(self) -> None:
        """Return once both groups rest with two members each."""
        for group, _ in self.groups.values():
            await self.cluster.until_members(group, 2)

    async def all_copied(self) -> None:
        """Return once every copy of everything is in sync."""
        topics = self.topics
        await self.cluster.until_all_copied([topics.inbox, topics.orders, topics.deliveries, "__consumer_offsets"])

    async def gone_on(self) -> None:
        """Return once each job has committed something that was not there when this was called."""
        for group, topic in self.groups.values():
            ends = await self.cluster.ends(topic)
            await self.committed_upto(group, topic, ends)

    async def committed_upto(
        self, group: str, topic: str, ends: Sequence[int], partitions: Sequence[int] | None = None
    ) -> None:
        """Return once a group has committed so far, in all partitions or in these."""
        among = range(len(ends)) if partitions is None else partitions

        async def is_so() -> bool:
            committed = await self.cluster.committed(group, topic)
            return all(committed[partition] >= ends[partition] for partition in among)

        await until(is_so, SEEN_WITHIN_S, f"{group} has committed {list(ends)} of {topic}")

    async def held_by(self, job: str) -> dict[str, list[int]]:
        """Which partitions each process of a job holds, from what it last said."""
        held: dict[str, list[int]] = {}
        for part in self.of_job(job):
            held[part.name] = []
            for line in part.lines("service.started", "partitions.assigned", "partitions.revoked"):
                held[part.name] = []
                if line["event"] == "partitions.assigned":
                    partitions = line["partitions"]
                    assert isinstance(partitions, list)
                    held[part.name] = partitions
        return held

    async def work_of(self, part: Part) -> Held:
        """What a process of a job holds now."""
        return Held(part, (await self.held_by(part.job))[part.name], self.marks())

    async def taken_over(self, held: Held) -> datetime:
        """
        Wait until the other process of the job has been given all partitions and gets on with those that were held.

        Returns when its log says that it did: this process may be kept waiting on a busy machine.
        """
        (other,) = (part for part in self.of_job(held.by.job) if part is not held.by)
        everything = list(range(self.cluster.partitions))
        await other.said("partitions.assigned", held.marks[other.name], partitions=everything)
        at: list[datetime] = []

        async def goes_on() -> bool:
            said = other.lines("partitions.assigned", *_WORKED, since=held.marks[other.name])
            given = next(number for number, line in enumerate(said) if line.get("partitions") == everything)
            at.extend(
                datetime.fromisoformat(str(line["timestamp"]))
                for line in said[given:]
                if "order" in line and self._partition_of(line) in held.partitions
            )
            return bool(at)

        await until(goes_on, SEEN_WITHIN_S, f"{other.name} gets on with {held.partitions}")
        return at[0]

    def _partition_of(self, line: Line) -> int:
        return partition_of(f"{line['channel']}/{line['order']}".encode(), self.cluster.partitions)

    def view_name(self, topic: str, partition: int) -> str:
        """The name of a view's hash in Redis."""
        return f"{self.key_prefix}:{{{topic}:{partition}}}:view"

    async def positions(self, topic: str) -> list[int]:
        """The position of each partition's view; 0 where there is none."""
        names = [self.view_name(topic, partition) for partition in range(self.cluster.partitions)]
        return [int(await self.redis.hget(name, ".position") or 0) for name in names]

    async def view_moved(self) -> None:
        """Return once a view of each log stands elsewhere than now."""
        for topic in (self.topics.orders, self.topics.deliveries):
            before = await self.positions(topic)

            async def has_moved(topic: str = topic, before: list[int] = before) -> bool:
                return await self.positions(topic) != before

            await until(has_moved, SEEN_WITHIN_S, f"the view of {topic} moves")
