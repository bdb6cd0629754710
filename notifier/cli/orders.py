"""`notifier orders`: was it paid, who was told, and why not."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Annotated

import msgspec
import typer
from rich.text import Text

from notifier.cli.looking import looking
from notifier.cli.names import require_channel
from notifier.cli.options import AsJson, CommandFailed, ConfigFile, print_json, reaching_kafka, read_settings
from notifier.cli.story import ASIDE, UNREAD, Story, tell
from notifier.cli.story_shown import print_story
from notifier.cli.tables import add, money_cell, screen, status, table, text
from notifier.cli.words import clock_time, plain
from notifier.config import Settings
from notifier.kafka.follower import Followed
from notifier.settings.faults import nearest

LIMIT = 100

app = typer.Typer(
    help="Was it paid, who was told, and why not: one order with all that happened to it, or a list.",
    no_args_is_help=True,
)


@app.command(epilog="Example: `notifier orders show shop-hkd T1`")
def show(
    context: typer.Context,
    *,
    channel: Annotated[str, typer.Argument(metavar="CHANNEL", help="Name of a channel.")],
    order: Annotated[str, typer.Argument(metavar="ORDER", help="The merchant's order number.")],
    is_whole: Annotated[
        bool, typer.Option("--all", help="Every piece of evidence, resends too: the inbox is read through.")
    ] = False,
    as_json: AsJson = False,
    config_file: ConfigFile = None,
) -> None:
    """
    Show an order: how it stands, every event, the evidence that changed something, and who was told.

    All of it is read from Kafka, so it is true whatever Redis has, and needs no service to run. Evidence is kept for 30 days;
    what is older is known by its event alone. Nothing about the buyer is shown.

    The exit status is 1 if nothing usable was ever told about this order.
    """
    settings = read_settings(context, config_file)

    async def read() -> Story:
        async with looking(settings) as look:
            return await tell(look, channel, order, is_whole=is_whole)

    with reaching_kafka(settings):
        story = asyncio.run(read())
    if not story.events:
        raise CommandFailed(_unknown(story, settings))
    if as_json:
        print_json(story.as_json)
    else:
        print_story(story, settings)


@app.command("list", epilog="Example: `notifier orders list --channel shop-hkd --flagged`")
def list_(
    context: typer.Context,
    *,
    channel: Annotated[str | None, typer.Option(metavar="CHANNEL", help="Only this channel's orders.")] = None,
    flagged: Annotated[
        bool, typer.Option("--flagged", help="Only orders with a contradiction that a person should look at.")
    ] = False,
    limit: Annotated[
        int, typer.Option(min=1, max=100_000, metavar="N", help="At most so many: those that changed last.")
    ] = LIMIT,
    as_json: AsJson = False,
    config_file: ConfigFile = None,
) -> None:
    """
    List orders, the one that changed last at the top.

    The orders topic is read through, from its beginning to its end as it is now: on a large installation that takes a while.
    """
    settings = read_settings(context, config_file)
    recent = _Recent(limit, channel, is_flagged=flagged)

    async def read() -> None:
        async with looking(settings) as look, aclosing(look.records(look.topics.orders)) as records:
            async for one in records:
                recent.take(one)

    with reaching_kafka(settings):
        asyncio.run(read())
    rows = recent.rows
    if not rows and channel is not None:  # one that left the settings may still have some
        require_channel(channel, settings, hint="--channel")
    if recent.count > len(rows):
        typer.echo(f"{recent.count} orders; these {len(rows)} changed last. `--limit` shows more.", err=True)
    if as_json:
        print_json(rows)
    elif rows:
        _print_list(rows)
    else:
        typer.echo("No such orders.", err=True)


class _Listed(msgspec.Struct, frozen=True):
    """What is listed of an order (contract, section 6). Nothing of the private state is read: any release's records will do."""

    channel: str
    order: str
    version: int
    status: str
    is_final: bool
    currency: str
    amount: int | None
    paid: int
    refunded: int
    trade_no: str | None
    paid_at: str | None
    closed_at: str | None
    flags: tuple[str, ...]


class _Value(msgspec.Struct, frozen=True):
    order: _Listed


_decode = msgspec.json.Decoder(_Value).decode


class _Recent:
    """
    The orders that changed last, out of all that go by; and how many there are that were asked for.

    It remembers one number for each order, as every subscriber does, and shows of no more orders than the limit.
    """

    def __init__(self, limit: int, channel: str | None, *, is_flagged: bool) -> None:
        self._limit = limit
        self._prefix = f"{channel}/".encode() if channel is not None else b""
        self._is_flagged = is_flagged
        self._highest: dict[bytes, int] = {}
        self._wanted: set[bytes] = set()
        self._last: dict[int, dict[bytes, tuple[int, dict[str, object]]]] = {}

    def take(self, one: Followed) -> None:
        """Take a record, in its partition's order."""
        key = one.stored.record.key
        if not key.startswith(self._prefix):
            return
        try:
            order = _decode(one.stored.record.value).order
        except msgspec.DecodeError:
            return  # none of ours; fan-out's log says so
        if order.version <= self._highest.get(key, 0):
            return
        self._highest[key] = order.version
        last = self._last.setdefault(one.partition, {})
        last.pop(key, None)
        self._wanted.discard(key)
        if self._is_flagged and not order.flags:
            return
        self._wanted.add(key)
        at = one.stored.record.header("ce_time")
        row = msgspec.structs.asdict(order) | {
            "changed_at": at.decode() if at is not None else None,
            "partition": one.partition,
            "offset": one.stored.offset,
        }
        last[key] = one.stored.appended_at_ms, row
        if len(last) > self._limit:
            del last[next(iter(last))]

    @property
    def count(self) -> int:
        """How many orders there are of those that were asked for."""
        return len(self._wanted)

    @property
    def rows(self) -> list[dict[str, object]]:
        """At most as many as the limit, the one that changed last first."""
        found = [one for last in self._last.values() for one in last.values()]
        return [row for _, row in sorted(found, key=lambda one: one[0], reverse=True)[: self._limit]]


def _unknown(story: Story, settings: Settings) -> str:
    """Why there is no such order, and what to do."""
    said = [f"nothing usable was told about order {plain(story.order)} of channel {plain(story.channel)}."]
    known = [one.name for one in settings.channels]
    asides = [row for row in story.evidence if row["effect"] == ASIDE]
    if asides:
        said.append("Set aside: " + ", ".join(f"{row['id']} ({row['reason']})" for row in asides) + ".")
        said.append(f"`notifier quarantine show {asides[0]['id']}` says why and what to do.")
    if any(row["effect"] == UNREAD for row in story.evidence):
        said.append(
            "Evidence of it lies in the inbox, and the orders job has not come to it: look whether `notifier consume orders` "
            "runs, and at its job.progress lines."
        )
    if not story.evidence:
        if known and story.channel not in known:
            said.append(f"The settings have no such channel. {nearest(story.channel, known)}")
        said.append(
            f"Compare the number with `notifier orders list --channel {plain(story.channel)}`. If AlipayHK says that it has told "
            "us, look for notification.rejected and notification.not_stored in the ingress' log."
        )
    return " ".join(said)


def _print_list(rows: list[dict[str, object]]) -> None:
    has_refunds = any(row["refunded"] for row in rows)
    amounts = ("amount", "paid", "refunded") if has_refunds else ("amount", "paid")
    shown = table("changed", "order", "", "status", *amounts, "flags")
    for row in rows:
        currency = str(row["currency"])
        flags = row["flags"]
        add(
            shown,
            clock_time(text(row["changed_at"])),
            f"{plain(str(row['channel']))}/{plain(str(row['order']))}",
            f"v{row['version']}",
            status(str(row["status"])),
            *(money_cell(row[name], currency) for name in amounts),
            Text(" ".join(map(plain, flags)) if isinstance(flags, tuple) else "", style="yellow"),
        )
    screen().print(shown)
