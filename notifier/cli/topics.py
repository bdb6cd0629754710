"""`notifier topics`: the Kafka topics against what is needed."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from rich.text import Text

from notifier.checks.topics import alter, cost, is_altered, is_shortened, remedy, shown
from notifier.cli.options import AsJson, CommandFailed, ConfigFile, print_json, reaching_kafka, read_settings
from notifier.cli.tables import add, screen, table
from notifier.config import Settings
from notifier.kafka.access import Access
from notifier.kafka.admin import Admin, CannotCreateError, Compared, Difference
from notifier.topics import TopicPlan, Topics, plans

_CREATE = "`notifier topics --apply` creates it"


def topics(
    context: typer.Context,
    apply: Annotated[bool, typer.Option("--apply", help="Create the topics that are missing.")] = False,
    as_json: AsJson = False,
    config_file: ConfigFile = None,
) -> None:
    """
    Compare the Kafka topics with what is needed; with `--apply`, create those that are missing.

    Looked at are partitions, replication, cleanup, retention, compaction lag, timestamps, flush, the largest message. A topic
    that is there is never changed and never deleted: for each difference you see what it costs or risks, and the command that
    mends it, for you to decide. (A shorter retention would delete at once; and another number of partitions would move
    orders: that one cannot be mended.)

    The exit status is 0 if all topics are as they have to be, else 1.
    """
    settings = read_settings(context, config_file)
    with reaching_kafka(settings):
        compared = asyncio.run(_compare(settings, apply))
    if as_json:
        print_json([row for one in compared for row in _rows(one, settings.kafka.bootstrap_servers)])
    else:
        _print_table(compared)
        _print_remedies(compared, settings.kafka.bootstrap_servers)
    if any(one.state != "ok" for one in compared):
        raise typer.Exit(1)


async def _compare(settings: Settings, apply: bool) -> list[Compared]:
    kafka = settings.kafka
    wanted = plans(
        Topics(kafka.topic_prefix),
        partitions=kafka.partitions,
        replication_factor=kafka.replication_factor,
        kept_s=settings.orders.kept_s,
        body_bytes_max=settings.ingress.body_bytes_max,
    )
    async with Admin.at_work(Access.to(kafka, "notifier-topics")) as admin:
        compared = await admin.compare(wanted)
        missing = [one.plan for one in compared if one.state == "missing"]
        if not apply or not missing:
            return compared
        await _create(admin, missing)
        return await admin.compare(wanted)


async def _create(admin: Admin, missing: list[TopicPlan]) -> None:
    try:
        await admin.create(missing)
    except CannotCreateError as error:
        raise CommandFailed(
            f"Kafka refuses to create {error} kafka.partitions and kafka.replication_factor have to be what the cluster "
            "can give (replication_factor: at most its number of brokers)."
        ) from error
    for plan in missing:
        typer.echo(f"created {plan.name}", err=True)


def _rows(one: Compared, servers: str) -> list[dict[str, object]]:
    """One flat object for a topic that is as it has to be, or is missing; else one for each difference."""
    differences: tuple[Difference | None, ...] = one.differences or (None,)
    return [
        {
            "topic": one.plan.name,
            "state": one.state,
            "setting": difference.setting if difference else None,
            "has": difference.has if difference else None,
            "needs": difference.needs if difference else None,
            "cost": cost(difference) if difference else None,
            "remedy": remedy(one, difference, servers) if difference else None if one.exists else _CREATE,
        }
        for difference in differences
    ]


def _print_table(compared: list[Compared]) -> None:
    """A row for each topic; where one differs, with columns for what, and a row for each difference."""
    columns = ("setting", "has", "needs") if any(one.differences for one in compared) else ()
    listing = table("topic", "state", *columns)
    styles = {"ok": "green", "missing": "red", "differs": "yellow"}
    for one in compared:
        state = Text(one.state, style=styles[one.state])
        add(listing, one.plan.name, state, *(_cells(one.differences[0]) if one.differences else ("",) * len(columns)))
        for difference in one.differences[1:]:
            add(listing, "", "", *_cells(difference))
    screen().print(listing)


def _cells(difference: Difference) -> tuple[str, str, str]:
    setting = difference.setting
    return setting, shown(setting, difference.has), shown(setting, difference.needs)


def _print_remedies(compared: list[Compared], servers: str) -> None:
    """What each difference costs, and what mends it. What is the same for several topics is said once."""
    missing = sum(one.state == "missing" for one in compared)
    if missing:
        told = "1 topic is missing" if missing == 1 else f"{missing} topics are missing"
        typer.echo(f"{told}: `notifier topics --apply` creates {'it' if missing == 1 else 'them'}.")
    costs: dict[str, None] = {}
    for one in compared:
        for each in one.differences:
            mended = "" if is_altered(each) else f" {remedy(one, each, servers)}"
            costs[f"{each.setting}: {cost(each)}.{mended}"] = None
    for line in costs:
        typer.echo(line)
    for one in compared:
        altered = [each for each in one.differences if is_altered(each)]
        if altered:
            typer.echo(f"Mend {one.plan.name}:\n  {alter(one.plan.name, altered, servers)}")
    if any(is_shortened(each) for one in compared for each in one.differences):
        typer.echo("A shorter retention deletes at once what is older.")


def register(app: typer.Typer) -> None:
    """Mount the command."""
    app.command("topics", epilog="Example: `notifier topics --apply`")(topics)
