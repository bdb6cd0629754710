"""`notifier deliveries`: who was told what, when, and with which answer; and telling it again."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator
from contextlib import aclosing
from datetime import UTC, datetime
from enum import StrEnum
from heapq import nlargest
from typing import Annotated

import msgspec
import typer
from rich.text import Text

from consumers.telling.pace import is_called_one_by_one
from notifier.cli.answers import why_failed
from notifier.cli.looking import looking, reports
from notifier.cli.names import require_endpoint
from notifier.cli.options import AsJson, ConfigFile, print_json, reaching_kafka, read_settings
from notifier.cli.redrive import redrive
from notifier.cli.story_shown import STATE_STYLES
from notifier.cli.tables import add, screen, table
from notifier.cli.words import ago, ahead, moment, plain
from notifier.clock import SystemClock
from notifier.config import Settings
from notifier.deliveries.delivery_report import Delivery, State
from notifier.deliveries.endpoint_report import Healths

LIMIT = 100
ID_WIDTH_MIN = 140
"""Where a screen is so wide, or there is none, each event's id stands in its row."""

app = typer.Typer(
    help="Who was told what, when, and with which answer; and telling it again.",
    no_args_is_help=True,
)


class Wanted(StrEnum):
    """States to look for. What waits for a suspended endpoint waits, too."""

    WAITING = "waiting"
    ACCEPTED = "accepted"
    DEAD = "dead"
    SUSPENDED = "suspended"

    def has(self, state: State) -> bool:
        """Whether a delivery in this state is meant."""
        return state.value == self.value or (self is Wanted.WAITING and state is State.SUSPENDED)


@app.command("list", epilog="Example: `notifier deliveries list --state waiting`")
def list_(
    context: typer.Context,
    *,
    endpoint: Annotated[str | None, typer.Option(metavar="ENDPOINT", help="Only what is for this endpoint.")] = None,
    state: Annotated[
        Wanted | None,
        typer.Option(help="Only what stands so. `waiting` has what waits for a suspended endpoint, too."),
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, max=100_000, metavar="N", help="At most so many: those of which news came last.")
    ] = LIMIT,
    as_json: AsJson = False,
    config_file: ConfigFile = None,
) -> None:
    """
    List deliveries (one event for one endpoint): how each stands, the last answer, and what is next; the latest at the top.

    All of it is read from the deliveries topic, which keeps 30 days. Of an order and an endpoint that had no news for a day it
    may only have the last delivery, what waits, and what was given up.
    """
    settings = read_settings(context, config_file)
    with reaching_kafka(settings):
        rows, count, throttled = asyncio.run(_list(settings, endpoint, state, limit))
    if not rows and endpoint is not None:  # one that left the settings may still have some
        require_endpoint(endpoint, settings, hint="--endpoint")
    if count > len(rows):
        typer.echo(f"{count} deliveries; news of these {len(rows)} came last. `--limit` shows more.", err=True)
    if as_json:
        print_json([msgspec.structs.asdict(one) for one in rows])
    elif rows:
        _print_list(rows, throttled, SystemClock().now())
    else:
        typer.echo("No such deliveries.", err=True)


app.command("redrive", epilog="Example: `notifier deliveries redrive --endpoint shop-oms --dry-run`")(redrive)


async def _list(
    settings: Settings, endpoint: str | None, state: Wanted | None, limit: int
) -> tuple[list[Delivery], int, set[str]]:
    """The rows, how many there would be without the limit, and the endpoints that are called one by one."""
    healths = Healths((), SystemClock().now())
    rows: list[Delivery] = []
    count = 0
    async with looking(settings) as look, aclosing(reports(look, healths.attempted)) as found:
        async for _, report in found:
            rows_here = [
                one for one in report if endpoint in (None, one.endpoint) and (state is None or state.has(one.state))
            ]
            count += len(rows_here)
            rows = nlargest(limit, rows + rows_here, key=_news_at)
    names = {one.endpoint for one in rows}
    return rows, count, {name for name in names if is_called_one_by_one(healths.failures_in_a_row(name))}


def _news_at(one: Delivery) -> tuple[datetime, str, int]:
    return one.told_at or one.since or datetime.fromtimestamp(0, UTC), one.order, one.version


def _print_list(rows: list[Delivery], throttled: Collection[str], now: datetime) -> None:
    console = screen()
    ids = ("event",) if console.width >= ID_WIDTH_MIN else ()
    shown = table("last news", "endpoint", "order", "", *ids, "state", "answer, and what is next")
    for one in rows:
        add(
            shown,
            moment(one.told_at),
            plain(one.endpoint),
            f"{plain(one.channel)}/{plain(one.order)}",
            f"v{one.version}",
            *(plain(one.event_id) for _ in ids),
            Text(one.state.value, style=STATE_STYLES[one.state]),
            "; ".join(_told(one, now, is_throttled=one.endpoint in throttled)),
        )
    console.print(shown)


def _told(one: Delivery, now: datetime, *, is_throttled: bool) -> Iterator[str]:
    """The last answer, and what is next or what became of it."""
    if one.error is None and one.status_code is not None and one.duration_ms is not None:
        yield f"{one.status_code} in {one.duration_ms:.0f} ms"
    elif failure := why_failed(one.error, one.status_code):
        yield failure
    if one.attempt is not None and one.attempt > 1:
        yield f"{one.attempt} attempts"
    if one.is_redriven:
        yield "redriven"
    match one.state:
        case State.WAITING | State.SUSPENDED if one.behind is not None:
            yield f"behind v{one.behind}, which comes first"
        case State.WAITING:
            tried = "" if one.attempt else ", not tried yet"
            due = (
                "its endpoint fails, and is called one by one"
                if is_throttled
                else f"next {ahead(one.next_attempt_at, now)}"
            )
            yield f"waits for {ago(one.since, now)}{tried}, {due}"
        case State.SUSPENDED:
            yield f"waits for {ago(one.since, now)}: its endpoint is suspended"
        case State.DEAD:
            yield "given up"
        case State.SKIPPED:
            yield "compacted away; a later version tells all"
        case State.ACCEPTED:
            pass
