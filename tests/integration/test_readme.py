"""The README, held to the code: its programs run as they are printed, and its tables name what there is."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import fields
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from pydantic.fields import FieldInfo

from notifier.cli import COMMANDS, load
from notifier.config import Settings
from notifier.record import Record
from notifier.settings.channels import ChannelSettings
from notifier.settings.endpoints import EVENT_TYPES, EndpointSettings
from notifier.settings.tables import Consumers, Delivery, Ingress, Kafka, Log, Orders, Redis, Telemetry
from notifier.settings.types import Address, Table
from notifier.topics import Topics
from notifier.watching.catalogue import CATALOGUE
from tests.golden import make
from tests.topics import create_topics

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
NOW_BUILT, LATER = README.split("## What comes later")

TABLES: dict[str, type[Table]] = {
    "kafka": Kafka,
    "redis": Redis,
    "ingress": Ingress,
    "consumers": Consumers,
    "orders": Orders,
    "delivery": Delivery,
    "log": Log,
    "telemetry": Telemetry,
    "channels": ChannelSettings,
    "endpoints": EndpointSettings,
}

[SUBSCRIBER] = re.findall(r"<!-- tests/integration/test_readme.py .*?```python\n(.*?)```", README, re.DOTALL)

START_S, LINE_S, STOP_S = 30.0, 20.0, 10.0


# Programs


async def test_the_subscriber_acts_once_though_a_record_lies_in_the_topic_twice(
    bootstrap_servers: str, topic_prefix: str
) -> None:
    topics = await create_topics(bootstrap_servers, topic_prefix, partitions=1)
    paid = make.orders()
    other = Record(b"shop-hkd/T2", paid.value.replace(b"T20260001", b"T2"), paid.headers)
    await append(bootstrap_servers, topics.orders, paid, paid, other)
    source = SUBSCRIBER.replace("alipayhk.orders.v1", topics.orders)

    async with running(source, {"NOTIFIER__KAFKA__BOOTSTRAP_SERVERS": bootstrap_servers}) as program:
        lines = [await next_line(program, START_S), await next_line(program, LINE_S)]

    assert lines == ["ship shop-hkd/T20260001: 12800 HKD", "ship shop-hkd/T2: 12800 HKD"]


async def append(bootstrap_servers: str, topic: str, *records: Record) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all", enable_idempotence=True)
    await producer.start()
    try:
        for record in records:
            await producer.send_and_wait(topic, record.value, record.key, headers=list(record.headers))
    finally:
        await producer.stop()


@asynccontextmanager
async def running(source: str, env: Mapping[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    """A program of the README, until the block ends."""
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-c", source, env=dict(env), stdout=asyncio.subprocess.PIPE
    )
    try:
        yield program
    finally:
        program.kill()
        async with asyncio.timeout(STOP_S):
            await program.communicate()


async def next_line(program: asyncio.subprocess.Process, within_s: float) -> str:
    assert program.stdout is not None
    async with asyncio.timeout(within_s):
        return (await program.stdout.readline()).decode().rstrip("\n")


# Tables


def test_each_table_of_the_settings_is_in_the_readme() -> None:
    known = {field.name for field in fields(Settings)} - {"channel_settings", "endpoint_settings", "text"}

    assert set(TABLES) == known
    assert re.findall(r"\| `\[+(\w+)\]+` \|", README) == list(TABLES)


@pytest.mark.parametrize("name", TABLES)
def test_the_settings_and_their_defaults_are_those_of_the_models(name: str) -> None:
    written = {row[0].strip("`"): row[1] for row in rows(name)}

    assert written == {setting: default_of(setting, field) for setting, field in TABLES[name].model_fields.items()}


def rows(table: str) -> Iterator[list[str]]:
    """The rows of a table of settings, by their cells."""
    for line in re.split(rf"\| `\[+{table}\]+` \|.*\n\|---.*\n", README)[1].splitlines():
        if not line.startswith("|"):
            return
        yield [cell.strip() for cell in line.strip("|").split(" | ")]


def default_of(setting: str, field: FieldInfo) -> str:
    """A default as the README writes it."""
    if setting == "events":
        return "all but `order.noted`"
    match field.get_default():
        case _ if field.is_required():
            return "required"
        case None:
            return "–"
        case Address() as address:
            return f'`"{address}"`'
        case value:
            return f"`{json.dumps(value)}`"


def test_the_readme_names_commands_that_there_are_and_those_of_later_are_not_there_yet() -> None:
    there = commands()

    assert {name for name in named(NOW_BUILT) if not is_there(name, there)} == set()
    assert {name for name in named(LATER) if is_there(name, there)} == set()


def test_each_command_has_its_line_in_the_readme() -> None:
    table = README.split("## Commands")[1].split("##")[0]

    assert {" ".join(name) for name in commands()} <= {" ".join(name) for name in named(table)}


def commands() -> set[tuple[str, ...]]:
    """All commands by their words: `("run",)`, `("local", "up")`."""
    found: set[tuple[str, ...]] = set()
    for entry in COMMANDS:
        command = load(entry)
        below = list(getattr(command, "commands", ()))
        found |= {(entry.name, name) for name in below} if below else {(entry.name,)}
    return found


def named(text: str) -> set[tuple[str, ...]]:
    """What stands behind the word `notifier`, alone and with the word that follows it."""
    pairs = re.findall(r"(?<![\w./-])notifier ([a-z]+)(?: ([a-z]+)\b)?", text)
    return {(first,) for first, _ in pairs} | {(first, second) for first, second in pairs if second}


def is_there(name: tuple[str, ...], there: set[tuple[str, ...]]) -> bool:
    """`local` is, for it has commands; `consume orders` is, for its second word is an argument."""
    return name in there or (name[0],) in there or (len(name) == 1 and any(one[0] == name[0] for one in there))


def test_the_targets_of_make_are_there() -> None:
    there = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))

    assert set(re.findall(r"(?:`|^)make ([a-z]+)", NOW_BUILT, re.MULTILINE)) <= there


def test_the_log_lines_are_of_the_catalogue_and_the_events_of_the_contract() -> None:
    lines = README.split("## Reading the logs")[1].split("##")[0]
    events = README.split("| event type |")[1].split("\n\n")[0]

    assert set(re.findall(r"`([a-z]+\.[a-z_]+)`", lines)) <= {entry.name for entry in CATALOGUE}
    assert set(re.findall(r"`(order\.[a-z_]+)`", events)) <= set(EVENT_TYPES)


def test_the_topics_are_all_of_them() -> None:
    topics = Topics("alipayhk")

    assert re.findall(r"^\| `(alipayhk\.[a-z]+\.v1)` \|", README, re.MULTILINE) == [
        topics.inbox,
        topics.orders,
        topics.deliveries,
        topics.commands,
        topics.quarantine,
    ]
