"""What deploy/README.md speaks of is there, and its figures are the measured ones."""

from __future__ import annotations

import re

from aiokafka.record.default_records import DefaultRecordBatchBuilder

from notifier import config, metrics
from notifier.cli import COMMANDS
from notifier.watching.catalogue import CATALOGUE
from tests.golden import make
from tests.integration.secured import rules
from tests.unit.deploy.manifests import DEPLOY

TEXT = (DEPLOY / "README.md").read_text("utf-8")
CODE = set(re.findall(r"`([^`\n]+)`", TEXT))


def test_events_and_settings_are_called_as_they_are() -> None:
    """Whatever is written `like.this` is one of them, or a file; of keys and variables, one that an installation brings."""
    settings = config.load(None, {}, needs_file=False)
    tables = ("kafka", "redis", "ingress", "consumers", "orders", "delivery", "log", "telemetry")
    known = {f"{table}.{name}" for table in tables for name in type(getattr(settings, table)).model_fields}
    dotted = {one for one in CODE if re.fullmatch(r"[a-z_]+\.[a-z_]+", one)}

    others = {one for one in dotted - known if not one.endswith((".pem", ".env"))} - {entry.name for entry in CATALOGUE}
    assert {one for one in others if not list(DEPLOY.rglob(one))} == set()


def test_files_are_where_it_says() -> None:
    (table,) = re.findall(r"(?s)\| file \| \|\n\|---\|---\|\n(.*?)\n\n", TEXT)

    assert all(
        (DEPLOY / path).exists() for line in table.splitlines() for path in re.findall(r"`([^`]+)`", line.split("|")[1])
    )


def test_commands_and_metrics_are_there() -> None:
    called = set(
        re.findall(r"\bnotifier ([a-z]+)\b(?! job)", " ".join(one for one in CODE if one.startswith("notifier ")))
    )
    metrics.JOB_LAG.of("orders").set(0)
    text = metrics.text()

    assert called <= {entry.name for entry in COMMANDS}
    assert {name for one in CODE for name in re.findall(r"notifier_[a-z_]+", one)} <= set(
        re.findall(r"notifier_[a-z_]+", text)
    )


def test_the_table_of_rights_is_what_the_script_adds() -> None:
    """User by user, topic by topic."""
    rows = {
        row[0]: row[1] for row in re.findall(r"(?m)^\| `(notifier-\w+)` \| ([^|]*(?:Write|Read|Create)[^|]*) \|", TEXT)
    }
    told = {
        (user, operation, topic)
        for user, rights in rows.items()
        for part in rights.split(";")
        for operation in re.findall(r"[A-Z]\w+", part.split(" on all")[0])
        for topic in re.findall(r"`(\w+)`", part) or ["inbox", "orders", "deliveries", "commands", "quarantine"]
    }
    added = {
        (rule.user, operation, rule.name.split(".")[1])
        for rule in rules()
        if rule.kind == "topic"
        for operation in rule.operations
    }

    assert told == added


def test_record_sizes_are_those_of_the_golden_records() -> None:
    (row,) = re.findall(r"(?m)^\| golden, [^|]+\|(.*)\|$", TEXT)
    told = [int(re.sub(r"\D", "", cell)) for cell in row.split("|")]

    assert told == [_bytes(name) for name in ("inbox", "orders", "deliveries", "quarantine", "commands")]


def _bytes(name: str) -> int:
    """A record alone in its batch, uncompressed, as it lies on a disk."""
    record = make.from_text((make.FOLDER / f"{name}.record").read_bytes())
    batch = DefaultRecordBatchBuilder(2, 0, 0, 0, 0, 0, 1 << 20)
    batch.append(0, timestamp=0, key=record.key, value=record.value, headers=list(record.headers))
    return int(batch.size())


def test_the_reckoned_sizes_follow_from_their_formulas() -> None:
    n, e = 2, 1
    inbox, orders, deliveries = n * 1.44 * 30, n * 1.79 * 14 + 1.79 * 386, e * (n * 0.80 + 0.80 * 29)
    redis = 7 * (0.40 + 0.22 * e) + 393 * 0.048 + 23 * 0.056 * e

    for reckoned in (
        f"≈ {n * (1.44 + 1.79 + 0.80 * e):.1f} · R",
        *(f"≈ {one:.0f} · R" for one in (inbox, orders, deliveries)),
        f"≈ {redis:.1f}",
    ):
        assert reckoned in TEXT, reckoned
