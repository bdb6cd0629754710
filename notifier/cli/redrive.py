"""`notifier deliveries redrive`: telling again what was given up, or what a merchant has lost."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncGenerator, Collection, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated

import msgspec
import typer

from notifier import events
from notifier.checks.words import in_words
from notifier.cli.commanding import bar, producer_of
from notifier.cli.looking import Look, looking, reports
from notifier.cli.names import require_endpoint
from notifier.cli.operator import By, who
from notifier.cli.options import AsJson, CommandFailed, ConfigFile, print_json, reaching_kafka, read_settings
from notifier.cli.tables import add, screen, table
from notifier.cli.when import when
from notifier.cli.words import plain
from notifier.clock import SystemClock
from notifier.config import Settings
from notifier.deliveries import command
from notifier.deliveries.command import DELIVERIES_MAX, Command
from notifier.deliveries.delivery_report import Delivery, Report, State
from notifier.deliveries.endpoint_report import WINDOW
from notifier.deliveries.redriving import Batch, Counted, Named, Plan, Selection, named
from notifier.errors import Unavailable
from notifier.evidence import rfc3339
from notifier.kafka.producer import Producer

RATE = 100
"""Deliveries a second: as many as a merchant's system has to take beside its daily work."""


def redrive(
    context: typer.Context,
    *,
    endpoint: Annotated[str | None, typer.Option(metavar="ENDPOINT", help="Only what is for this endpoint.")] = None,
    event: Annotated[str | None, typer.Option(metavar="ID", help="Only this event: evt_…")] = None,
    since: Annotated[
        datetime | None,
        typer.Option(
            parser=when,
            metavar="T",
            help="Only what was given up (or accepted) then or later: 2026-11-24T10:00, 2h, 3d.",
        ),
    ] = None,
    until: Annotated[
        datetime | None,
        typer.Option(parser=when, metavar="T", help="Only what was given up (or accepted) before that."),
    ] = None,
    with_accepted: Annotated[
        bool,
        typer.Option("--accepted", help="What was accepted, too. Only with one of the options above."),
    ] = False,
    is_dry: Annotated[bool, typer.Option("--dry-run", help="Count by endpoint, and ask for nothing.")] = False,
    rate: Annotated[int, typer.Option(min=1, max=10_000, metavar="N", help="Deliveries a second.")] = RATE,
    by: By = None,
    as_json: AsJson = False,
    config_file: ConfigFile = None,
) -> None:
    """
    Tell dead letters again, under the same ids and with the same bodies; with `--accepted`, also what was accepted.

    Fan-out is asked for them in the commands topic. Each comes after what its order has waiting, so behind newer versions: the
    receiver sees it by `version`. What waits already, or was asked for before, is not asked for twice, so this can be
    interrupted and repeated. What was compacted away (`gone`) can't be told any more; a later version of its order has told it.
    """
    settings = read_settings(context, config_file, needs="endpoints")
    if endpoint is not None:
        require_endpoint(endpoint, settings, hint="--endpoint")
    if with_accepted and not (endpoint or event or since or until):
        raise typer.BadParameter(
            "it would tell every merchant everything of 30 days again; say what with --endpoint, --event, --since or --until.",
            param_hint="--accepted",
        )
    now = SystemClock().now()
    if with_accepted and until is None:
        until = now  # what is told again from here on is not meant when this is repeated
    selection = Selection(endpoint, event, since, until, with_accepted=with_accepted, kept_from=now - WINDOW)
    said_by = None if is_dry else by or who()
    with reaching_kafka(settings):
        found = asyncio.run(_find(settings, selection))
        plan = found.plan
        _refuse_if_unknown(selection, plan)
        done = _Done() if is_dry else asyncio.run(_ask(settings, plan, said_by, rate))
    if as_json:
        print_json([msgspec.structs.asdict(one) for one in plan.counts])
    elif plan.counts:
        _print_counts(plan.counts)
    _print_end(found, selection, done, is_dry=is_dry)
    if done.is_interrupted:
        raise typer.Exit(130)
    if done.error is not None:
        raise typer.Exit(1)


@dataclass(slots=True)
class _Found:
    """What there is to ask for."""

    plan: Plan = field(default_factory=Plan)
    outside: set[str] = field(default_factory=set)
    """Endpoints that left the settings: for them nothing is asked."""
    suspended: set[str] = field(default_factory=set)
    """Endpoints that will not be told before they are served again."""


@dataclass(slots=True)
class _Done:
    """What became of asking."""

    asked: int = 0
    is_interrupted: bool = False
    error: str | None = None
    is_anybody_there: bool = True


async def _find(settings: Settings, selection: Selection) -> _Found:
    """Look through the topics."""
    here = _Found()
    known = {one.name for one in settings.endpoints}
    async with looking(settings) as look, aclosing(reports(look)) as found:
        async for partition, report in found:
            asked = await _asked(look, partition, report)
            seen = set[Named]()
            for one in report:
                seen.add(named(one))
                verdict = selection.judge(one, asked)
                if verdict is None:
                    continue
                if one.endpoint not in known:
                    here.outside.add(one.endpoint)
                    continue
                here.plan.take(partition, one, verdict)
            if selection.with_accepted:
                async with aclosing(_told_long_ago(look, partition, report, settings, seen)) as older:
                    async for one in older:
                        verdict = selection.judge(one, asked)
                        if verdict is not None:
                            here.plan.take(partition, one, verdict)
            here.suspended |= {count.endpoint for count in here.plan.counts if report.is_suspended(count.endpoint)}
    return here


async def _asked(look: Look, partition: int, report: Report) -> Collection[Named]:
    """What an operator has asked for and fan-out has not come to."""
    topics = look.topics
    upto = await look.scanner.committed(topics.group("fanout"), topics.commands, partition)
    if report.position is not None:
        upto = max(upto, report.position.commands)  # Kafka forgets what an idle group has committed
    found = set[Named]()
    async with aclosing(look.records(topics.commands, [partition])) as records:
        async for one in records:
            if one.stored.offset < upto:
                continue
            try:
                said = command.from_record(one.stored.record)
            except msgspec.DecodeError:
                continue  # none of ours; fan-out's log says so
            found |= {(said.endpoint, ref.channel, ref.order, ref.version) for ref in said.deliveries}
    return found


async def _told_long_ago(
    look: Look, partition: int, report: Report, settings: Settings, seen: Collection[Named]
) -> AsyncGenerator[Delivery, None]:
    """
    What was accepted and is not named in the deliveries topic any more: of a lane that had no news for a day it keeps the last
    record, which says up to which version all is done. The events themselves lie in the orders topic.
    """
    async with aclosing(look.records(look.topics.orders, [partition])) as records:
        async for one in records:
            try:
                event = events.telling_of(one.stored.record)
            except (KeyError, ValueError, msgspec.DecodeError):
                continue  # none of ours; fan-out's log says so
            for endpoint in settings.endpoints:
                found = endpoint.name, event.channel, event.order, event.version
                if (
                    found not in seen
                    and endpoint.wants(event.channel, event.type, event.flags_added)
                    and event.version <= report.settled(endpoint.name, event.channel, event.order)
                ):
                    yield Delivery(
                        endpoint=endpoint.name,
                        channel=event.channel,
                        order=event.order,
                        version=event.version,
                        event_id=event.event_id,
                        state=State.ACCEPTED,
                        is_redriven=False,
                        attempt=None,
                        status_code=None,
                        error=None,
                        duration_ms=None,
                        told_at=datetime.fromtimestamp(one.stored.appended_at_ms / 1000, UTC),
                        since=None,
                        next_attempt_at=None,
                        behind=None,
                        event_partition=partition,
                        event_offset=one.stored.offset,
                    )


async def _ask(settings: Settings, plan: Plan, by: str | None, rate: int) -> _Done:
    done = _Done()
    if not plan.total:
        return done
    async with looking(settings) as look:
        with _interrupts() as interrupted, bar("asked for", plan.total) as (shown, task):
            async with producer_of(look) as producer:
                loop = asyncio.get_running_loop()
                next_at = loop.time()
                for batch in plan.batches(min(DELIVERIES_MAX, rate)):
                    if await _is_said_within(interrupted, next_at - loop.time()):
                        done.is_interrupted = True
                        break
                    try:
                        await _append(look, producer, batch, by)
                    except Unavailable as error:
                        done.error = in_words(error.why)
                        break
                    done.asked += len(batch.deliveries)
                    next_at = max(next_at, loop.time()) + len(batch.deliveries) / rate
                    shown.update(task, completed=done.asked)
        if done.error is None:
            done.is_anybody_there = await look.scanner.members(look.topics.group("fanout")) > 0
    return done


async def _append(look: Look, producer: Producer, batch: Batch, by: str | None) -> None:
    said = Command("redrive", batch.endpoint, SystemClock().now(), by=by, deliveries=batch.deliveries)
    await producer.append(look.topics.commands, batch.partition, [command.to_record(said)])


@contextmanager
def _interrupts() -> Iterator[asyncio.Event]:
    """Ctrl-C as an event: what is under way is finished, so that what was asked for is known."""
    loop, said = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGINT, said.set)
    try:
        yield said
    finally:
        loop.remove_signal_handler(signal.SIGINT)


async def _is_said_within(event: asyncio.Event, seconds: float) -> bool:
    if seconds > 0:
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            pass
    return event.is_set()


def _refuse_if_unknown(selection: Selection, plan: Plan) -> None:
    if selection.event_id is None or plan.counts:
        return
    hint = "" if selection.with_accepted else " What was accepted is told again with --accepted."
    raise CommandFailed(
        f"no delivery of {plain(selection.event_id)} was given up, as far as 30 days back.{hint} `notifier deliveries list` "
        "shows what there is."
    )


def _print_counts(counts: list[Counted]) -> None:
    has_accepted = any(one.accepted for one in counts)
    shown = table("endpoint", "dead", *(("accepted",) if has_accepted else ()), "asked for before", "gone")
    for one in counts:
        accepted = (str(one.accepted),) if has_accepted else ()
        add(shown, plain(one.endpoint), str(one.dead), *accepted, str(one.waiting or ""), str(one.gone or ""))
    screen().print(shown)


def _print_end(found: _Found, selection: Selection, done: _Done, *, is_dry: bool) -> None:
    """What happened, on stderr: stdout has the counts."""
    plan = found.plan
    for name in sorted(found.outside):
        typer.echo(f"{plain(name)} is not in the settings: nothing of it is told again.", err=True)
    for name in sorted(found.suspended):
        typer.echo(f"{name} is suspended: it is told when it is served again; see `notifier endpoints list`.", err=True)
    if not plan.total:
        is_explained = found.outside or plan.counts
        letters = "dead letter or accepted delivery" if selection.with_accepted else "dead letter"
        why = "" if is_explained else f": there is no such {letters}. What waits is told by itself"
        typer.echo(f"Nothing is to be told again{why}.", err=True)
        return
    if is_dry:
        typer.echo(f"{plan.total} would be told again; nothing was asked for.", err=True)
        return
    if done.is_interrupted or done.error is not None:
        until = f" with --until {rfc3339(selection.until)}" if selection.with_accepted and selection.until else ""
        stopped = f"Kafka stopped answering ({done.error})" if done.error else "interrupted"
        typer.echo(
            f"{stopped}: {done.asked} of {plan.total} were asked for and will be told. Repeat it{until}: that is safe, none of "
            "them is asked for twice.",
            err=True,
        )
        return
    where = (
        "fan-out tells them now; `notifier deliveries list` shows what comes of it."
        if done.is_anybody_there
        else "no fan-out is at work; it tells them as soon as it runs (`notifier run`, `notifier consume fanout`)."
    )
    typer.echo(f"asked for {done.asked}: {where}", err=True)
