"""The processes: the door, and members of a consumer group that all believe for ever that the partition is theirs."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from consumers.partition import Batch, Feed, FeedClosed, Work
from notifier.errors import Unavailable
from notifier.kafka.group import Commit, Source
from notifier.outage import Outages
from notifier.record import Record
from notifier.topics import Topics
from tests.fakes import FakeLogs
from tests.simulation.network import SeededNetwork

P = 0
INBOX_TIMEOUT_S = 2.5

Fate = Literal["lost", "unknown", "late"] | None


class DoorInbox:
    """The inbox as the door needs it (`notifier.ports.InboxAppender`): one record, within a deadline."""

    is_ready = True

    def __init__(self, logs: FakeLogs, topics: Topics) -> None:
        self._logs = logs
        self._topic = topics.inbox

    async def append(self, record: Record) -> None:
        """Return once the record is there."""
        try:
            async with asyncio.timeout(INBOX_TIMEOUT_S):
                await self._logs.append(self._topic, P, [record])
        except TimeoutError:
            raise Unavailable("kafka", "kafka_timeout") from None


@dataclass
class Commits:
    """What a group has committed. Nobody is fenced: the last that arrives counts, whoever sent it."""

    network: SeededNetwork
    fate: Callable[[], Fate]
    on_commit: Callable[[Source, Commit], None]
    by_source: dict[Source, Commit] = field(default_factory=dict)
    highest: dict[Source, int] = field(default_factory=dict)

    @property
    def are_there(self) -> bool:
        """Has each group committed, of the topic that it works on?"""
        return {source.topic.split(".")[1] for source in self.by_source} >= {"inbox", "orders"}

    async def read(self, source: Source) -> Commit | None:
        """The last commit."""
        return await self.network.carry("kafka", lambda: self.by_source.get(source))

    async def write(self, offsets: dict[Source, Commit]) -> None:
        """Commit; it may get lost, or arrive when others have committed since."""
        fate = self.fate()

        def work() -> None:
            if fate == "late":
                self.network.later(30 * self.network.latency_s(), lambda: self._apply(offsets))
            elif fate != "lost":
                self._apply(offsets)
            if fate is not None:
                raise Unavailable("kafka", "CommitFailedError")

        await self.network.carry("kafka", work)

    def _apply(self, offsets: dict[Source, Commit]) -> None:
        for source, commit in offsets.items():
            self.by_source[source] = commit
            self.highest[source] = max(commit.offset, self.highest.get(source, 0))
            self.on_commit(source, commit)


class Member:
    """One process' part in a group (`consumers.partition.Member`): fetches for the real work, commits what it has done."""

    def __init__(self, logs: FakeLogs, commits: Commits, rng: random.Random, outages: Outages) -> None:
        self._logs = logs
        self._commits = commits
        self._random = rng
        self._pause_s = rng.choice((0.5, 2.0, 2.0, 15.0))
        """Between two fetches, at most: whoever comes seldom finds much at once."""
        self._outages = outages
        self._at: dict[Source, int] = {}
        self.feed = Feed(P, self, asyncio.Event())

    async def committed(self, source: Source) -> Commit | None:
        """What was last committed."""
        return await self._commits.read(source)

    def begin(self, source: Source, offset: int) -> None:
        """Fetch from this offset on."""
        self._at[source] = offset

    async def run(self, work: Work) -> None:
        """Work until the feed is closed; then commit and leave."""
        async with asyncio.TaskGroup() as tasks:
            helpers = [tasks.create_task(self._fetch()), tasks.create_task(self._commit_regularly())]
            try:
                await work.run(self.feed)
            except FeedClosed:
                pass
            finally:
                for helper in helpers:
                    helper.cancel()
        try:
            await self._commit()
        except Unavailable:
            return  # not committed: it is repeated

    async def _fetch(self) -> None:
        while True:
            await asyncio.sleep(self._random.uniform(0.02, self._pause_s))
            for source in sorted(self.feed.wanted):
                log = self._logs.logs[source]
                start = max(self._at[source], self._logs.starts[source])
                upto = start + self._random.choice((1, 3, 20))
                found = [stored for stored in log[start:upto] if stored is not None]
                self._at[source] = min(upto, len(log))
                if found:
                    self.feed.put(Batch(source.topic, found))

    async def _commit_regularly(self) -> None:
        while True:
            await asyncio.sleep(self._random.uniform(0.2, 8))
            await self._outages.ride_out(self._commit)

    async def _commit(self) -> None:
        offsets = dict(self.feed.uncommitted)
        if not offsets:
            return
        await self._commits.write(offsets)
        for source, commit in offsets.items():
            if self.feed.uncommitted.get(source) == commit:
                del self.feed.uncommitted[source]
