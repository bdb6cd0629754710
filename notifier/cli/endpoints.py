"""`notifier endpoints`: how each is doing, and an operator's word about one."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

import msgspec
import typer
from rich.text import Text

from consumers.app import client_of
from consumers.client import Answer, trusting
from consumers.telling.calling import call
from consumers.telling.measures import in_words
from consumers.telling.pace import PROBE_S_MAX, is_called_one_by_one
from notifier.cli.answers import why_failed
from notifier.cli.commanding import End, Given, give
from notifier.cli.looking import Look, looking, reports
from notifier.cli.names import require_endpoint
from notifier.cli.operator import By, line, who
from notifier.cli.options import AsJson, CommandFailed, ConfigFile, print_json, reaching_kafka, read_settings
from notifier.cli.pending import pending_words, told
from notifier.cli.tables import add, screen, table
from notifier.cli.words import ago, ahead, moment, plain
from notifier.clock import SystemClock
from notifier.config import Endpoint, Settings
from notifier.deliveries import command
from notifier.deliveries import ping as pings
from notifier.deliveries.command import Command
from notifier.deliveries.endpoint_report import Health, Healths
from notifier.deliveries.endpoint_state import State, Why

app = typer.Typer(
    help="Merchants' endpoints: how each is doing; leave one alone, serve it again, send it a test.",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(metavar="ENDPOINT", help="Name of an endpoint of the settings.")]


@app.command("list", epilog="Example: `notifier endpoints list`")
def list_(context: typer.Context, *, as_json: AsJson = False, config_file: ConfigFile = None) -> None:
    """
    Show each endpoint: whether it is called, how its attempts of the last 24 hours went, what waits for it and since when.

    All of it is read from the deliveries topic, so nothing has to run; on a large installation that takes a while. An endpoint
    that left the settings is shown as long as something waits for it.
    """
    settings = read_settings(context, config_file)
    now = SystemClock().now()
    with reaching_kafka(settings):
        found = asyncio.run(_list(settings, now))
    if as_json:
        print_json([one.as_json for one in found])
    elif found:
        _print_list(found, now)
    else:
        typer.echo("The settings have no endpoints, and nothing waits for one.", err=True)


@app.command(epilog='Example: `notifier endpoints suspend shop-oms --reason "they move house until noon"`')
def suspend(
    context: typer.Context,
    *,
    endpoint: Name,
    reason: Annotated[
        str | None, typer.Option(parser=line, metavar="TEXT", help="Why; `endpoints list` shows it.")
    ] = None,
    by: By = None,
    config_file: ConfigFile = None,
) -> None:
    """
    Leave an endpoint alone: nothing is sent to it, not even a probe, until it is resumed.

    What comes for it waits, in order, and the time after which a delivery is given up stands still. Your word is written into
    the commands topic, so it holds for every process, those of tomorrow too; giving it again is safe.
    """
    _tell(read_settings(context, config_file, needs="endpoints"), "suspend", endpoint, reason, by)


@app.command(epilog="Example: `notifier endpoints resume shop-oms`")
def resume(
    context: typer.Context,
    *,
    endpoint: Name,
    reason: Annotated[str | None, typer.Option(parser=line, metavar="TEXT", help="Why.")] = None,
    by: By = None,
    config_file: ConfigFile = None,
) -> None:
    """
    Serve an endpoint again that was suspended: by an operator, by its answer 410 (gone), or because it only failed.

    What waited for it is told by itself, in order, one at a time at first and faster with each that it accepts; an order whose
    own attempts have failed comes when its next one is due, an hour later at the most (`notifier deliveries list` says when).
    """
    _tell(read_settings(context, config_file, needs="endpoints"), "resume", endpoint, reason, by)


@app.command(epilog="Example: `notifier endpoints ping shop-oms`")
def ping(context: typer.Context, *, endpoint: Name, as_json: AsJson = False, config_file: ConfigFile = None) -> None:
    """
    Send an endpoint a signed test webhook from here, and say what it answered and how long that took.

    It has every member of a webhook and is about nothing: type `ping`, version 0, channel and order `~ping`, its id begins with
    `ping_`. A receiver verifies it and answers 2xx. It is sent even while the endpoint is suspended, and under the same rules
    as every webhook: an address that must not be called is not called.

    The exit status is 1 unless it was accepted.
    """
    settings = read_settings(context, config_file, needs="endpoints")
    require_endpoint(endpoint, settings)
    (called,) = [one for one in settings.endpoints if one.name == endpoint]
    webhook_id = pings.ping_id(secrets.token_bytes(16))
    answer = asyncio.run(_ping(settings, called, webhook_id))
    said = in_words(answer)
    if as_json:
        print_json(
            {
                "endpoint": endpoint,
                "accepted": answer.is_accepted,
                "status_code": answer.status_code,
                "error": answer.error,
                "told": said,
                "duration_ms": round(answer.duration_ms, 1),
                "webhook_id": webhook_id,
            }
        )
    elif answer.is_accepted:
        typer.echo(f"{endpoint} accepted {webhook_id}: {answer.status_code} in {answer.duration_ms:.0f} ms")
    else:
        typer.echo(f"{endpoint} did not accept {webhook_id}: {said}, in {answer.duration_ms:.0f} ms", err=True)
    if not answer.is_accepted:
        raise typer.Exit(1)


async def _ping(settings: Settings, endpoint: Endpoint, webhook_id: str) -> Answer:
    clock = SystemClock()
    tls = trusting(endpoint.authorities) if endpoint.authorities is not None else None
    async with client_of(settings) as client:
        body = pings.body(webhook_id, clock.now())
        return await call(client, endpoint, tls, webhook_id=webhook_id, body=body, now_ms=clock.now_ms())


# An operator's word


def _tell(
    settings: Settings, word: Literal["suspend", "resume"], endpoint: str, reason: str | None, by: str | None
) -> None:
    require_endpoint(endpoint, settings)
    said = Command(word, endpoint, SystemClock().now(), by=by or who(), reason=reason)

    async def tell() -> Given:
        async with looking(settings) as look:
            return await give(look, said)

    with reaching_kafka(settings):
        given = asyncio.run(tell())
    is_suspended = word == "suspend"
    match given.end:
        case End.OBEYED:
            typer.echo(
                f"{endpoint} is suspended: nothing is sent to it until `notifier endpoints resume {endpoint}`."
                if is_suspended
                else f"{endpoint} is active: what waits is told as it is due; `notifier deliveries list` says when."
            )
        case End.NOBODY:
            typer.echo(
                f"{endpoint} will be {'suspended' if is_suspended else 'resumed'} as soon as fan-out runs, before it sends "
                "anything: the word is written down, and no fan-out is at work now (`notifier run`, `notifier consume fanout`)."
            )
        case End.LATE:
            raise CommandFailed(
                f"fan-out has obeyed in {given.obeyed} of {given.partitions} partitions within {given.seconds:.0f} s. The word "
                "is written down and holds; look at its job.progress and partition.stuck lines for why it is late."
            )


# The list


@dataclass(frozen=True, slots=True)
class _Listed:
    """An endpoint as it is listed."""

    health: Health
    told: str
    pending: Command | None

    @property
    def as_json(self) -> dict[str, object]:
        """Flat."""
        asked = self.pending
        return msgspec.structs.asdict(self.health) | {
            "told": self.told,
            "asked": asked.command if asked else None,
            "asked_at": asked.at if asked else None,
        }


async def _list(settings: Settings, now: datetime) -> list[_Listed]:
    healths = Healths((one.name for one in settings.endpoints), now)
    async with looking(settings) as look:
        async with aclosing(reports(look, healths.attempted)) as found:
            async for partition, report in found:
                healths.take(partition, report)
        pending = await pending_words(look, healths.obeyed)
        return [
            _Listed(health, _told(health, await _word(look, health)), pending.get(health.endpoint))
            for health in healths
        ]


async def _word(look: Look, health: Health) -> Command | None:
    """What the operator said by whose word the endpoint is suspended, as long as the commands topic has it."""
    if health.command_partition is None or health.command_offset is None:
        return None
    stored = await look.reader.one(look.topics.commands, health.command_partition, health.command_offset)
    try:
        return command.from_record(stored.record) if stored is not None else None
    except msgspec.DecodeError:
        return None


def _told(health: Health, word: Command | None) -> str:
    """An endpoint's state for people, in a sentence; nothing where there is nothing to say."""
    said = []
    match health.state, health.reason:
        case State.SUSPENDED, Why.OPERATOR:
            by = f" by {plain(word.by)}" if word is not None and word.by else " by an operator"
            why = f' ("{plain(word.reason)}")' if word is not None and word.reason else ""
            said.append(f"suspended{by}{why}: nothing is sent until `notifier endpoints resume {health.endpoint}`")
        case State.SUSPENDED, Why.GONE:
            said.append(
                f"suspended, for it answered 410 (gone): nothing is sent until `notifier endpoints resume {health.endpoint}`"
            )
        case State.SUSPENDED, _:
            said.append("suspended, for it only failed: it is probed, and served by itself once it accepts")
        case State.ACTIVE, None:
            said.append("active, and nothing was ever for it")
        case State.ACTIVE, _ if is_called_one_by_one(health.failures_in_a_row):
            said.append(
                f"active, and failed {health.failures_in_a_row} times in a row: it is called one at a time, when something is "
                f"due and with pauses of up to {PROBE_S_MAX:.0f} s, until it accepts"
            )
        case State.ACTIVE, _:
            pass
    if health.partitions_suspended and health.partitions_active:
        total = health.partitions_suspended + health.partitions_active
        said.append(f"so in {health.partitions_suspended} of {total} partitions, in the others it is active")
    if not health.is_in_settings:
        said.append("not in the settings any more: what waits stays until it returns")
    return "; ".join(said)


def _next(one: Health, now: datetime) -> str:
    """When it is called next, as far as what is due decides that."""
    if one.next_attempt_at is None:
        return ""
    if one.state is State.SUSPENDED:
        return "probe"
    return "one by one" if is_called_one_by_one(one.failures_in_a_row) else ahead(one.next_attempt_at, now)


def _print_list(found: list[_Listed], now: datetime) -> None:
    console = screen()
    shown = table("endpoint", "state", "accepted", "p50/p99 ms", "waiting", "next", "dead")
    for one in (each.health for each in found):
        add(
            shown,
            one.endpoint,
            Text(one.state.value, style="yellow" if one.state is State.SUSPENDED else "green"),
            f"{one.success_rate:.1%} of {one.attempts}" if one.success_rate is not None else "",
            f"{one.p50_ms:.0f}/{one.p99_ms:.0f}" if one.p50_ms is not None and one.p99_ms is not None else "",
            f"{one.waiting} for {ago(one.oldest_waiting_since, now)}" if one.waiting else "",
            _next(one, now),
            Text(str(one.dead or ""), style="red"),
        )
    console.print(shown)
    for each in found:
        one = each.health
        if each.told:
            # of one that is active it is when that began, long before it failed
            is_known = one.since is not None and one.state is State.SUSPENDED
            since = f" (since {moment(one.since)})" if is_known else ""
            console.print(Text(f"{one.endpoint} is {each.told}{since}."), soft_wrap=True)
        if each.pending is not None:
            console.print(Text(f"{one.endpoint} was {told(each.pending)}", style="yellow"), soft_wrap=True)
        if one.last_failed_at is not None:
            why = why_failed(one.last_error, one.last_status_code)
            console.print(
                Text(f"{one.endpoint} last failed {ago(one.last_failed_at, now)} ago: {why}."), soft_wrap=True
            )
    if any(each.health.dead for each in found):
        console.print(
            Text("Dead letters: `notifier deliveries list --state dead`, `notifier deliveries redrive --dry-run`."),
            soft_wrap=True,
        )
