"""`notifier tail`: the orders topic as a subscriber sees it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from contextlib import aclosing
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Annotated

import msgspec
import typer

from notifier.cli.names import require_channel
from notifier.cli.options import CommandFailed, ConfigFile, reaching_kafka, read_settings
from notifier.cli.words import money, plain
from notifier.config import Settings
from notifier.kafka.access import Access
from notifier.kafka.admin import Admin
from notifier.kafka.follower import Followed, follow
from notifier.settings.endpoints import EVENT_TYPES
from notifier.settings.faults import nearest
from notifier.topics import Topics


class _Event(msgspec.Struct, frozen=True):
    """What is shown of `event` (contract, section 6)."""

    type: str
    version: int
    flags_added: tuple[str, ...] = ()


class _Order(msgspec.Struct, frozen=True):
    """What is shown of `order` (contract, section 6)."""

    channel: str
    order: str
    status: str
    currency: str
    amount: int | None = None
    refunded: int = 0
    flags: tuple[str, ...] = ()


class _Value(msgspec.Struct, frozen=True):
    """A record's value, as far as a line shows it. Nothing of the private state is read, so any release's records will do."""

    event: _Event
    order: _Order


_decode = msgspec.json.Decoder(_Value).decode
_decode_raw = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Subscriber:
    """
    What every subscriber has to do (contract, section 6): keep the highest version of each order, pass over what is not above it.

    It remembers one number for each order it has met, for as long as it runs.
    """

    def __init__(self) -> None:
        self._highest: dict[bytes, int] = {}

    def is_news(self, key: bytes, version: int) -> bool:
        """Whether this version of the order was not seen yet, nor a later one."""
        if version <= self._highest.get(key, 0):
            return False
        self._highest[key] = version
        return True


def tail(
    context: typer.Context,
    event_type: Annotated[
        str | None, typer.Option("--type", metavar="TYPE", help="Only events of this type, or a pattern: order.re*")
    ] = None,
    channel: Annotated[str | None, typer.Option(metavar="CHANNEL", help="Only this channel's orders.")] = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="One JSON object a line: the record's value, and where it lies."),
    ] = False,
    config_file: ConfigFile = None,
) -> None:
    """
    Follow the orders topic as a subscriber sees it: from its beginning, then each event as it comes.

    It joins no group and changes nothing. A version of an order that was already shown is not shown again. Ctrl-C ends it.
    """
    if event_type is not None and not any(fnmatchcase(known, event_type) for known in EVENT_TYPES):
        raise typer.BadParameter(f"no event has this type. {nearest(event_type, EVENT_TYPES)}", param_hint="--type")
    settings = read_settings(context, config_file)
    if channel is not None and len(settings.channels):  # a subscriber's machine may have no channels in its settings
        require_channel(channel, settings, hint="--channel")

    def is_wanted(value: _Value) -> bool:
        return (channel is None or value.order.channel == channel) and (
            event_type is None or fnmatchcase(value.event.type, event_type)
        )

    def show(found: Followed) -> None:
        try:
            value = _decode(found.stored.record.value)
        except msgspec.DecodeError:
            typer.echo(f"partition {found.partition} offset {found.stored.offset}: this is no order's event", err=True)
            return
        if subscriber.is_news(found.stored.record.key, value.event.version) and is_wanted(value):
            typer.echo(json_line(found) if as_json else line(found, value))

    subscriber = Subscriber()
    with reaching_kafka(settings):
        asyncio.run(_follow(settings, show))


async def _follow(settings: Settings, show: Callable[[Followed], None]) -> None:
    topic = Topics(settings.kafka.topic_prefix).orders
    access = Access.to(settings.kafka, "notifier-tail")
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with Admin.at_work(access) as admin:
        partitions = await admin.partitions_of(topic)
    if partitions is None:
        raise CommandFailed(f"there is no topic {topic} yet; `notifier topics --apply` makes it.")
    async with aclosing(follow(access, topic, partitions)) as followed:
        async for some in followed:
            for one in some:
                show(one)
            if stop.is_set():
                return


def line(found: Followed, value: _Value) -> str:
    """One event for people."""
    event, order = value.event, value.order
    seen = [
        f"{_local_time(found)}",
        f"{plain(event.type):<20}",
        f"{plain(order.channel)}/{plain(order.order):<20}",
        f"v{event.version:<3}",
        f"{plain(order.status):<10}",
        f"{money(order.amount, order.currency):>13}",
    ]
    if order.refunded:
        seen.append(f"refunded {money(order.refunded, order.currency)}")
    if order.flags:
        # those that this event brought are marked
        seen.append(" ".join([f"{'+' if flag in event.flags_added else ''}{plain(flag)}" for flag in order.flags]))
    return "  ".join(seen)


def json_line(found: Followed) -> str:
    """One event for programs: the record's value as it lies there, and where that is."""
    where: dict[str, object] = {"partition": found.partition, "offset": found.stored.offset}
    return msgspec.json.encode(where | _decode_raw(found.stored.record.value)).decode()


def _local_time(found: Followed) -> str:
    """When the evidence behind it was received."""
    said = found.stored.record.header("ce_time")
    if said is None:
        return f"{'-':<19}"
    return f"{datetime.fromisoformat(said.decode()).astimezone():%Y-%m-%d %H:%M:%S}"


def register(app: typer.Typer) -> None:
    """Mount the command."""
    app.command("tail", epilog="Example: `notifier tail --type order.paid --channel shop-hkd`")(tail)
