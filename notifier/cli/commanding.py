"""An operator's word to fan-out: given in every partition, then seen to be obeyed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from enum import Enum, auto

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from notifier.checks.words import in_words
from notifier.cli.looking import Look
from notifier.cli.options import CommandFailed
from notifier.deliveries import Kind, command, endpoint_state, kind_of
from notifier.deliveries.command import Command
from notifier.errors import Unavailable
from notifier.kafka.follower import follow
from notifier.kafka.producer import Producer
from notifier.record import Record

APPEND_TIMEOUT_S = 10.0
OBEYED_S_MAX = 30.0
"""Fan-out obeys within a second. Who took a killed process' partitions over does so after its session and some seconds."""
_MEMBERS_EVERY_S = 2.0


class End(Enum):
    """What became of a word."""

    OBEYED = auto()
    NOBODY = auto()
    """No fan-out is at work: it is obeyed when one is."""
    LATE = auto()
    """Fan-out is at work, and has not come to it everywhere."""


@dataclass(frozen=True, slots=True)
class Given:
    """A word that was given: in how many partitions it was obeyed, of how many."""

    end: End
    obeyed: int
    partitions: int
    seconds: float


def producer_of(look: Look) -> Producer:
    """A producer for words: acknowledged by all in-sync replicas."""
    return Producer(look.access, service="operator", timeout_s=APPEND_TIMEOUT_S)


async def give(look: Look, said: Command) -> Given:
    """
    Give a word in every partition, and wait for a while until it is obeyed in each.

    Raises:
        CommandFailed: it did not come to every partition; giving it again is safe.
        Unavailable: Kafka does not answer.
    """
    topics = look.topics
    starts = {at: (await look.reader.bounds(topics.deliveries, at))[1] for at in range(look.partitions)}
    waiting = await _append(look, said)
    loop = asyncio.get_running_loop()
    began_at = asked_at = loop.time()
    with bar("obeyed in", look.partitions) as (shown, task):
        async with aclosing(follow(look.access, topics.deliveries, look.partitions, starts)) as followed:
            async for some in followed:
                for partition, stored in some:
                    if waiting.get(partition, 0) <= _round(stored.record, said.endpoint):
                        waiting.pop(partition, None)
                now, obeyed = loop.time(), look.partitions - len(waiting)
                shown.update(task, completed=obeyed)
                if not waiting:
                    return Given(End.OBEYED, obeyed, look.partitions, now - began_at)
                if now - began_at > OBEYED_S_MAX:
                    return Given(End.LATE, obeyed, look.partitions, now - began_at)
                if now - asked_at > _MEMBERS_EVERY_S or asked_at == began_at:
                    asked_at = now
                    if not await look.scanner.members(topics.group("fanout")):
                        return Given(End.NOBODY, obeyed, look.partitions, now - began_at)
    raise AssertionError("a topic is followed for ever")


async def _append(look: Look, said: Command) -> dict[int, int]:
    """By partition, where it lies now."""
    offsets: dict[int, int] = {}
    record = command.to_record(said)
    async with producer_of(look) as producer:
        for partition in range(look.partitions):
            try:
                (offsets[partition],) = await producer.append(look.topics.commands, partition, [record])
            except Unavailable as error:
                if not offsets:
                    raise
                raise CommandFailed(
                    f"Kafka stopped answering ({in_words(error.why)}): the word lies in {len(offsets)} of {look.partitions} "
                    "partitions, and holds there. Give it again: that is safe."
                ) from error
    return offsets


def _round(record: Record, endpoint: str) -> int:
    """The command that an endpoint's record says was obeyed last; -1 where it is no record of this endpoint."""
    if kind_of(record.key) is not Kind.ENDPOINT or record.key != endpoint.encode():
        return -1
    try:
        return endpoint_state.from_record(record).round.command
    except msgspec.DecodeError:
        return -1


@contextmanager
def bar(what: str, total: int) -> Iterator[tuple[Progress, TaskID]]:
    """How far something is; on a terminal alone."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(compact=True))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield progress, progress.add_task(what, total=total)
