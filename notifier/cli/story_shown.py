"""The story of one order, for people."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from notifier.cli.answers import why_failed
from notifier.cli.story import ASIDE, MADE, REPEATED, UNREAD, Story
from notifier.cli.tables import Listing, add, money_cell, rows, screen, status, table, text
from notifier.cli.words import clock_time, moment, plain
from notifier.config import Settings
from notifier.deliveries.delivery_report import Delivery, State


def print_story(story: Story, settings: Settings) -> None:
    console = screen()
    latest = story.events[-1].order
    console.print(_headline(latest))
    for line in _remarks(latest):
        console.print(line)
    console.print(_events_table(story))
    if story.events[0].event.version > 1:
        console.print(Text(f"Versions below {story.events[0].event.version} have been compacted away.", style="dim"))
    console.print(_evidence_table(story))
    held = {payment.get("trade_no") for payment in rows(latest.get("payments")) if payment.get("held") is not None}
    for row in story.evidence:
        if row["effect"] == ASIDE or (row["reason"] is not None and row["trade_no"] in held):
            console.print(
                Text(f"{row['id']} is in quarantine: `notifier quarantine show {row['id']}` says what to do.")
            )
    if any(True for _ in story.deliveries):
        console.print(_deliveries_table(story))
    for line in _untold(story, settings):
        console.print(line)


def _headline(order: dict[str, object]) -> Text:
    currency = str(order.get("currency"))
    text = Text(f"{plain(str(order.get('channel')))}/{plain(str(order.get('order')))}  ", style="bold")
    text.append(status(str(order.get("status"))))
    text.append(
        f"  {money_cell(order.get('amount'), currency) or '-'}  version {order.get('version')}", style="not bold"
    )
    if order.get("is_final"):
        text.append(", final", style="not bold")
    return text


def _remarks(order: dict[str, object]) -> Iterator[Text]:
    """Was it paid: what counts, what does not and why, what went back, what contradicts itself."""
    currency = str(order.get("currency"))
    payments, refunds, flags = (rows(order.get(name)) for name in ("payments", "refunds", "flags"))
    for payment in payments:
        amount = money_cell(payment.get("amount"), str(payment.get("currency")))
        line = f"  {amount} at {clock_time(text(payment.get('at')))}, trade {plain(str(payment.get('trade_no')))}"
        held = payment.get("held")
        yield Text(
            f"{line}: counts" if held is None else f"{line}: held, {held}", style="" if held is None else "yellow"
        )
    if not payments:
        yield Text("  no payment was told")
    for refund in refunds:
        yield Text(
            f"  refund {plain(str(refund.get('refund')))} of {money_cell(refund.get('amount'), currency)}: {refund.get('status')}"
        )
    if flags or order.get("flags"):
        names = order.get("flags")
        yield Text(f"  flags: {' '.join(map(str, names)) if isinstance(names, list) else '-'}", style="yellow")


def _events_table(story: Story) -> Listing:
    has_refunds = any(one.order.get("refunded") for one in story.events)
    amounts = ("paid", "refunded") if has_refunds else ("paid",)
    shown = table("", "event", "received", "cause", *amounts, title="Events")
    for one in story.events:
        event, currency = one.event, str(one.order.get("currency"))
        added = f" +{' +'.join(map(plain, event.flags_added))}" if event.flags_added else ""
        add(
            shown,
            f"v{event.version}",
            Text(plain(event.type)).append(added, style="yellow").append(" late" if event.late else "", style="yellow"),
            clock_time(one.at),
            event.cause if event.reason is None else f"{event.cause}: {plain(event.reason)}",
            *(money_cell(one.order.get(name), currency) for name in amounts),
        )
    return shown


_EFFECTS = {MADE: "", ASIDE: "set aside", REPEATED: "nothing new", UNREAD: "not read by the orders job yet"}


def _evidence_table(story: Story) -> Listing:
    # of an order with one trade, which is nearly every one, its number stands above
    has_trades = len({row["trade_no"] for row in story.evidence} - {None}) > 1
    shown = table(
        "", "received", "kind", "told", "amount", *(["trade"] if has_trades else []), "made", title="Evidence"
    )
    for row in story.evidence:
        effect = str(row["effect"])
        made = f"v{row['version']}" if effect == MADE else _EFFECTS[effect]
        if row["reason"] is not None:
            made += f"{', ' if effect == MADE else ': '}{row['reason']}"
        told = text(row["told"]) or ("" if row["is_kept"] else "gone from the inbox")
        add(
            shown,
            str(row["id"]),
            clock_time(text(row["received_at"])),
            text(row["kind"]) or "",
            told if row["by"] is None else f"{told} by {plain(str(row['by']))}",
            money_cell(row["amount"], str(row["currency"])),
            *([plain(text(row["trade_no"]))] if has_trades else []),
            made,
        )
    return shown


STATE_STYLES = {
    State.ACCEPTED: "green",
    State.WAITING: "yellow",
    State.SUSPENDED: "yellow",
    State.DEAD: "red",
    State.SKIPPED: "dim",
}


def _deliveries_table(story: Story) -> Listing:
    shown = table("endpoint", "", "state", "attempts", "last answer", "why", title="Deliveries")
    for one in story.deliveries:
        add(
            shown,
            plain(one.endpoint),
            f"v{one.version}",
            Text(one.state.value, style=STATE_STYLES[one.state]),
            "" if one.attempt is None else str(one.attempt),
            _answer(one),
            why(one),
        )
    return shown


def _answer(one: Delivery) -> str:
    has_failed = one.error is not None or one.status_code is None
    said = why_failed(one.error, one.status_code) if has_failed else str(one.status_code)
    return f"{said} at {moment(one.told_at)}" if said and one.told_at else said


def why(one: Delivery) -> str:
    """Why a delivery stands as it does, for people."""
    match one.state:
        case State.WAITING | State.SUSPENDED if one.behind is not None:
            return f"behind v{one.behind}, which comes first"
        case State.SUSPENDED:
            return f"its endpoint is suspended; waits since {moment(one.since)}"
        case State.WAITING:
            return f"waits since {moment(one.since)}, next at {moment(one.next_attempt_at)}"
        case State.DEAD:
            return "given up: a dead letter"
        case State.SKIPPED:
            return "compacted away before it could be told; a later version tells all"
        case State.ACCEPTED:
            return "made once more" if one.is_redriven else ""


def _untold(story: Story, settings: Settings) -> Iterator[Text]:
    """What the topic says nothing about: endpoints that want this order's events, and of which none is recorded."""
    wanting = [
        one for one in settings.endpoints if one.wants(story.channel, "order.paid") or story.channel in one.channels
    ]
    if not wanting:
        yield Text(f"No endpoint of the settings wants events of {story.channel}.", style="yellow")
    seen = {(one.endpoint, one.version) for one in story.deliveries}
    for endpoint in wanting:
        settled = story.deliveries.settled(endpoint.name, story.channel, story.order)
        missing = [
            one.event.version
            for one in story.events
            if one.event.version > settled
            and endpoint.wants(story.channel, one.event.type, one.event.flags_added)
            and (endpoint.name, one.event.version) not in seen
        ]
        if missing:
            versions = ", ".join(f"v{version}" for version in missing)
            yield Text(
                f"{endpoint.name}: nothing is recorded of {versions}. Fan-out has not come to it (does it run?), the "
                "endpoint began later, or it is more than 30 days ago.",
                style="yellow",
            )
