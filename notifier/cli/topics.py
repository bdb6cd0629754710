"""`notifier topics`: the Kafka topics against what is needed."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from notifier.cli.options import AsJson, CommandFailed, ConfigFile, print_json, reaching_kafka, read_settings
from notifier.config import Settings
from notifier.kafka.access import Access
from notifier.kafka.admin import PARTITIONS, REPLICATION, Admin, CannotCreateError, Compared, Difference
from notifier.topics import TopicPlan, Topics, plans

COSTS = {
    PARTITIONS: "what follows from one notification must have one partition number in all topics; consumers work wrongly",
    REPLICATION: "how many brokers may be lost before records are",
    "cleanup.policy": "what is still needed may be deleted, or what is not kept for ever",
    "retention.ms": "records go too early, or stay too long",
    "min.compaction.lag.ms": "a consumer that was away does not find the steps it has to read again",
    "message.timestamp.type": "times are those of the senders' clocks, and retention counts from them",
    "max.message.bytes": "a large notification is refused, and AlipayHK sends it again in vain",
    "flush.messages": "with one copy: what was acknowledged may be lost when the machine goes down",
    "min.insync.replicas": "what was acknowledged may lie on one broker alone",
}
"""What a difference costs, by setting."""

_OTHERWISE_MENDED = {
    PARTITIONS: (
        " A topic keeps its number: set kafka.partitions to what the topics have, or kafka.topic_prefix to a name for new ones."
    ),
    REPLICATION: " kafka-reassign-partitions.sh changes it, or set kafka.replication_factor to what the topics have.",
}
"""What no `kafka-configs.sh` mends."""


def topics(
    context: typer.Context,
    apply: Annotated[bool, typer.Option("--apply", help="Create the topics that are missing.")] = False,
    as_json: AsJson = False,
    config_file: ConfigFile = None,
) -> None:
    """
    Compare the Kafka topics with what is needed; with `--apply`, create those that are missing.

    A topic that is there is never changed and never deleted: where it differs, the command that mends it is shown. The exit
    status is 0 if all topics are as they have to be, else 1.
    """
    settings = read_settings(context, config_file)
    with reaching_kafka(settings):
        compared = asyncio.run(_compare(settings, apply))
    if as_json:
        print_json([row for one in compared for row in _rows(one)])
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


def _rows(one: Compared) -> list[dict[str, object]]:
    """One flat object for a topic that is as it has to be, or is missing; else one for each difference."""
    differences: tuple[Difference | None, ...] = one.differences or (None,)
    return [
        {
            "topic": one.plan.name,
            "state": one.state,
            "setting": difference.setting if difference else None,
            "has": difference.has if difference else None,
            "needs": difference.needs if difference else None,
            "cost": COSTS[difference.setting] if difference else None,
        }
        for difference in differences
    ]


def _print_table(compared: list[Compared]) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("topic", "state", "setting", "has", "needs"):
        table.add_column(name, overflow="fold")
    styles = {"ok": "green", "missing": "red", "differs": "yellow"}
    for one in compared:
        for row in _rows(one):
            topic, state, *rest = [str(value) if value is not None else "" for value in row.values()][:5]
            table.add_row(topic, f"[{styles[state]}]{state}[/]", *rest)
    Console().print(table)


def _print_remedies(compared: list[Compared], servers: str) -> None:
    """What each difference costs, and what mends it. What is the same for all topics is said once."""
    if any(one.state == "missing" for one in compared):
        typer.echo("Missing: `notifier topics --apply` creates it.")
    for setting in dict.fromkeys([each.setting for one in compared for each in one.differences]):
        typer.echo(f"{setting}: {COSTS[setting]}.{_OTHERWISE_MENDED.get(setting, '')}")
    for one in compared:
        own = [
            f"{each.setting}={_quoted(each.needs)}" for each in one.differences if each.setting not in _OTHERWISE_MENDED
        ]
        if own:
            typer.echo(
                f"Mend {one.plan.name}:\n  kafka-configs.sh --bootstrap-server {servers} --alter --entity-type topics "
                f"--entity-name {one.plan.name} --add-config '{','.join(own)}'"
            )


def _quoted(value: str) -> str:
    return f"[{value}]" if "," in value else value  # how kafka-configs takes a list


def register(app: typer.Typer) -> None:
    """Mount the command."""
    app.command("topics", epilog="Example: `notifier topics --apply`")(topics)
