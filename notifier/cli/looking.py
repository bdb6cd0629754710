"""What commands that look something up in the topics have in common."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from notifier.cli.options import CommandFailed
from notifier.config import Settings
from notifier.deliveries.delivery import DeliveryRecord
from notifier.deliveries.delivery_report import Report
from notifier.kafka import scan
from notifier.kafka.access import Access
from notifier.kafka.follower import Followed
from notifier.kafka.reader import Reader
from notifier.kafka.scan import Scanner
from notifier.topics import Topics, partition_of, spread_over


@dataclass(frozen=True, slots=True)
class Look:
    """The topics, ready to be read."""

    access: Access
    topics: Topics
    partitions: int
    """Of every topic."""
    spread_over: int
    """Of these keys are in so many."""
    reader: Reader
    scanner: Scanner

    def partition_of(self, channel: str, order: str) -> int:
        """Where everything about an order lies, in every topic."""
        return partition_of(f"{channel}/{order}".encode("utf-8", "surrogateescape"), self.spread_over)

    async def records(
        self, topic: str, partitions: Sequence[int] | None = None, *, begin: int = 0
    ) -> AsyncGenerator[Followed, None]:
        """All records of a topic as it is now, or of some of its partitions from an offset on; a terminal shows how far it is."""
        wanted = range(self.partitions) if partitions is None else partitions
        with _bar(topic) as progress:
            async with aclosing(self.scanner.scan(topic, wanted, progress, begin=begin)) as found:
                async for some in found:
                    for one in some:
                        yield one


@asynccontextmanager
async def looking(settings: Settings) -> AsyncIterator[Look]:
    """
    Look at the topics while the block runs.

    Raises:
        CommandFailed: they are not there yet.
        Unavailable: Kafka does not answer.
    """
    topics = Topics(settings.kafka.topic_prefix)
    access = Access.to(settings.kafka, "notifier-look")
    async with Scanner.at_work(access) as scanner:
        counts = [
            await scanner.partitions_of(topic)
            for topic in (topics.inbox, topics.orders, topics.deliveries, topics.commands, topics.quarantine)
        ]
        least = min(count or 0 for count in counts)
        if not least:
            raise CommandFailed(
                "the topics are not there yet, or not all of them; `notifier topics --apply` makes them."
            )
        reader = Reader(access)
        try:
            yield Look(access, topics, least, spread_over(least, settings.kafka.partitions), reader, scanner)
        finally:
            await reader.close()


async def reports(
    look: Look, on_attempt: Callable[[DeliveryRecord, datetime], None] | None = None
) -> AsyncGenerator[tuple[int, Report], None]:
    """
    What the deliveries topic tells, partition by partition: all of them together may be more than the memory takes.

    Args:
        on_attempt: told of each attempt, and of when its record was appended.
    """
    for partition in range(look.partitions):
        report = Report()
        async with aclosing(look.records(look.topics.deliveries, [partition])) as records:
            async for one in records:
                attempt = report.take(one.stored)
                if attempt is not None and on_attempt is not None:
                    on_attempt(attempt, datetime.fromtimestamp(one.stored.appended_at_ms / 1000, UTC))
        yield partition, report


@contextmanager
def _bar(what: str) -> Iterator[scan.Progress]:
    console = Console(stderr=True)
    columns = (
        TextColumn("reading {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda read, total: bar.update(task, completed=read, total=total)
