"""`notifier quarantine`: genuine evidence that was set aside, and an operator's word about it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated

import typer
from rich.text import Text

from notifier import evidence
from notifier.cli import told
from notifier.cli.aside import Aside, Orders, Released, asides, release_of
from notifier.cli.looking import Look, looking
from notifier.cli.names import require_channel
from notifier.cli.operator import By, line, who
from notifier.cli.options import AsJson, CommandFailed, ConfigFile, print_json, reaching_kafka, read_settings
from notifier.cli.reasons import REASONS, Words
from notifier.cli.tables import add, money_cell, screen, table, text
from notifier.cli.words import clock_time, plain
from notifier.clock import SystemClock
from notifier.config import Settings
from notifier.errors import Reason
from notifier.kafka.access import Access
from notifier.kafka.producer import Producer
from notifier.record import Record
from notifier.release import RELEASABLE, TEXT_CHARS_MAX, Held, Word, to_evidence

LIMIT = 100
APPEND_TIMEOUT_S = 10.0

_ID = re.compile(r"([0-9]{1,9})-([0-9]{1,18})")

app = typer.Typer(
    help="Genuine evidence that was set aside: what it is, why, and what to do; and releasing a held payment.",
    no_args_is_help=True,
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a piece of evidence lies in the inbox."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return told.place(self.partition, self.offset)


def _place(given: str) -> Place:
    match = _ID.fullmatch(given)
    if match is None:
        raise typer.BadParameter("it is PARTITION-OFFSET, such as 3-17; `notifier quarantine list` shows them.")
    return Place(int(match[1]), int(match[2]))


Id = Annotated[
    Place,
    typer.Argument(metavar="ID", parser=_place, help="PARTITION-OFFSET in the inbox, as `list` shows it: 3-17."),
]


@app.command("list", epilog="Example: `notifier quarantine list --channel shop-hkd`")
def list_(
    context: typer.Context,
    *,
    channel: Annotated[str | None, typer.Option(metavar="CHANNEL", help="Only this channel's.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, metavar="N", help="At most so many: the latest.")] = LIMIT,
    as_json: AsJson = False,
    config_file: ConfigFile = None,
) -> None:
    """
    List what was set aside within the last 90 days, the latest at the top.

    `held` marks a payment that does not count now, `counts` one that does since (it was released, or the order was announced).
    Without a mark there never was one to count, or nobody knows: then `show` says more.
    """
    settings = read_settings(context, config_file)
    with reaching_kafka(settings):
        rows, count = asyncio.run(_list(settings, channel, limit))
    if not rows and channel is not None:  # one that left the settings may still have some
        require_channel(channel, settings, hint="--channel")
    if count > len(rows):
        typer.echo(f"{count} in quarantine; these {len(rows)} are the latest. `--limit` shows more.", err=True)
    if as_json:
        print_json(rows)
    elif rows:
        _print_list(rows)
    else:
        typer.echo(f"Nothing{f' of {channel}' if channel else ''} is in quarantine.", err=True)


@app.command(epilog="Example: `notifier quarantine show 3-17`")
def show(
    context: typer.Context,
    *,
    place: Id,
    as_json: AsJson = False,
    config_file: ConfigFile = None,
) -> None:
    """
    Show one piece of evidence that was set aside: why, what to do, and what it says.

    Fields that are or may be about the buyer, and the signature, are hidden (in JSON they are null): whoever needs them reads
    the quarantine topic itself.
    """
    settings = read_settings(context, config_file)
    with reaching_kafka(settings):
        aside, is_held, released = asyncio.run(_show(settings, place))
    if as_json:
        words = _words(aside.reason)
        print_json(
            aside.row
            | {
                "meaning": words.meaning,
                "action": words.action,
                "is_held": is_held,
                "released_at": released.at if released else None,
                "released_by": released.by if released else None,
                "released_because": released.reason if released else None,
                "is_release_read": released.is_read if released else None,
                "fields": aside.fields(),
            }
        )
    else:
        _print_one(aside, released, is_held=is_held)


@app.command(epilog='Example: `notifier quarantine release 3-17 --reason "the shop confirms the amount"`')
def release(
    context: typer.Context,
    *,
    place: Id,
    reason: Annotated[
        str,
        typer.Option(
            parser=line,
            metavar="TEXT",
            help="Why it counts. It goes into the order's event, which every subscriber reads: nothing about the buyer.",
        ),
    ],
    by: By = None,
    as_json: AsJson = False,
    config_file: ConfigFile = None,
) -> None:
    """
    Let a held payment count, by your word.

    Your word is written into the inbox, with who and why, and stays there as evidence like any other; the orders job applies it
    once, however often it is said. Only a payment that is held as `amount_mismatch` or `unregistered` can be released.
    """
    settings = read_settings(context, config_file)
    with reaching_kafka(settings):
        said = asyncio.run(_release(settings, place, reason, by or who()))
    if as_json:
        print_json(said)
    else:
        typer.echo(
            f"released {said['id']}: {money_cell(said['amount'], str(said['currency']))} of {plain(str(said['channel']))}/"
            f"{plain(str(said['order']))} will count. The word is in the inbox at "
            f"{said['inbox_partition']}-{said['inbox_offset']}; the orders job applies it: "
            f"`notifier orders show {plain(str(said['channel']))} {plain(str(said['order']))}`"
        )


async def _list(settings: Settings, channel: str | None, limit: int) -> tuple[list[dict[str, object]], int]:
    """The rows, and how many there would be without the limit."""
    latest: dict[int, dict[int, tuple[int, Aside]]] = {}
    places: set[tuple[int, int]] = set()
    prefix = f"{channel}/".encode() if channel is not None else b""
    async with looking(settings) as look:
        async with aclosing(asides(look)) as found:
            async for aside in found:
                if not aside.record.key.startswith(prefix) or (aside.partition, aside.offset) in places:
                    continue
                places.add((aside.partition, aside.offset))
                own = latest.setdefault(aside.partition, {})
                own[aside.offset] = aside.set_aside_at_ms, aside
                if len(own) > limit:
                    del own[next(iter(own))]
        chosen = sorted((one for own in latest.values() for one in own.values()), key=lambda one: one[0], reverse=True)
        rows = [aside.row for _, aside in chosen[:limit]]
        async with Orders.at_hand(look, settings) as orders:
            for row in rows:
                row["is_held"] = await orders.is_held(row)
            _tell_if_away(orders)
    return rows, len(places)


async def _show(settings: Settings, place: Place) -> tuple[Aside, bool | None, Released | None]:
    async with looking(settings) as look:
        aside = await _find(look, place)
        released = await release_of(look, aside)
        async with Orders.at_hand(look, settings) as orders:
            is_held = await orders.is_held(aside.row)
            _tell_if_away(orders)
    return aside, is_held, released


async def _find(look: Look, place: Place) -> Aside:
    if place.partition < look.partitions:
        async with aclosing(asides(look, place.partition)) as found:
            async for aside in found:
                if (aside.partition, aside.offset) == (place.partition, place.offset):
                    return aside
    raise CommandFailed(
        f"nothing that was set aside lies at {place}, or it is older than the 90 days that quarantine keeps; "
        "`notifier quarantine list` shows what there is."
    )


async def _release(settings: Settings, place: Place, reason: str, by: str) -> dict[str, object]:
    async with looking(settings) as look:
        aside = await _find(look, place)
        row = aside.row
        if aside.reason not in RELEASABLE:
            words = _words(aside.reason)
            raise CommandFailed(
                f"{place} can't be released: it was set aside as {plain(aside.reason)}. {words.meaning} {words.action}"
            )
        async with Orders.at_hand(look, settings) as orders:
            if await orders.is_held(row) is False:
                raise CommandFailed(
                    f"{place} is held no more: its payment counts. See `notifier orders show {plain(text(row['channel']))} "
                    f"{plain(text(row['order']))}`."
                )
            _tell_if_away(orders)
        word = Word(Held(place.partition, place.offset, str(row["trade_no"])), reason, by)
        said = to_evidence(word, evidence.from_record(aside.record), SystemClock().now())
        offset = await _append(settings, look.topics.inbox, place.partition, evidence.to_record(said))
    kept = ("id", "channel", "order", "trade_no", "amount", "currency")
    return {name: row[name] for name in kept} | {
        "reason": reason,
        "by": by,
        "inbox_partition": place.partition,
        "inbox_offset": offset,
    }


async def _append(settings: Settings, topic: str, partition: int, record: Record) -> int:
    """Into the partition of the evidence that it is about: its key, and so its partition, is the same."""
    access = Access.to(settings.kafka, "notifier-release")
    async with Producer(access, service="release", timeout_s=APPEND_TIMEOUT_S) as producer:
        (offset,) = await producer.append(topic, partition, [record])
    return offset


def _tell_if_away(orders: Orders) -> None:
    if orders.is_away:
        typer.echo("Redis does not answer: whether a payment is still held is not known here.", err=True)


def _words(reason: str) -> Words:
    if reason in set(Reason):
        return REASONS[Reason(reason)]
    return Words("A later version set it aside, for a reason that this one does not know.", "Ask that version.")


_MARKS: dict[object, Text] = {True: Text("held", style="yellow"), False: Text("counts", style="green"), None: Text()}


def _print_list(rows: list[dict[str, object]]) -> None:
    shown = table("id", "received", "order", "reason", "amount", "")
    for row in rows:
        add(
            shown,
            str(row["id"]),
            clock_time(text(row["received_at"])),
            f"{plain(text(row['channel']))}/{plain(text(row['order']))}",
            plain(text(row["reason"])),
            money_cell(row["amount"], str(row["currency"])),
            _MARKS[row["is_held"]],
        )
    screen().print(shown)


def _stands(aside: Aside, released: Released | None, *, is_held: bool | None) -> Iterator[Text]:
    """What became of it since it was set aside, and what to do."""
    words = _words(aside.reason)
    if released is not None:
        why = plain(released.reason, chars_max=TEXT_CHARS_MAX)
        yield Text(f'Released at {clock_time(released.at)} by {plain(released.by)}: "{why}"', style="green")
    match is_held, released:
        case False, None:
            yield Text("The order was announced since then: the payment counts.", style="green")
        case False, _:
            yield Text("The payment counts.", style="green")
        case _, Released(is_read=False):
            yield Text("The orders job has not come to that word yet: look whether `notifier consume orders` runs.")
        case _, Released():
            pass
        case _:
            if is_held:
                yield Text("It is held: it does not count.", style="yellow")
            yield Text(f"What to do: {words.action}")
            if aside.reason in RELEASABLE:
                yield Text(f'  notifier quarantine release {aside.row["id"]} --reason "…"')


def _print_one(aside: Aside, released: Released | None, *, is_held: bool | None) -> None:
    row, words, console = aside.row, _words(aside.reason), screen()
    head = Text(f"{row['id']}  {plain(text(row['channel']))}/{plain(text(row['order']))}  ", style="bold")
    console.print(head.append(plain(aside.reason), style="yellow"))
    console.print(Text(words.meaning))
    console.print(*_stands(aside, released, is_held=is_held), sep="\n")
    shown = table("", "")
    shown.has_heading = False
    for name in ("received_at", "kind", "evidence_id", "verdict", "told", "trade_no"):
        add(shown, name, Text(plain(text(row[name])) if name != "evidence_id" else str(row[name])))
    add(shown, "amount", money_cell(row["amount"], str(row["currency"])) or "-")
    console.print(shown)
    fields = aside.fields()
    if not fields:
        return
    shown = table("field", "as AlipayHK sent it")
    for name, value in fields.items():
        add(shown, plain(name), Text(plain(value)) if value is not None else Text("hidden", style="dim"))
    console.print(shown)
