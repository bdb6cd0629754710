"""The fold against the oracle: two readings of contract section 6 that share no code."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

from hypothesis import given, settings

from notifier import events
from tests import oracle
from tests.histories import HISTORIES, POLICIES, fold
from tests.oracle import Message, Policy


def _as_told(value: bytes) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(value)["order"]
    for entry in (*told["payments"], *told["refunds"]):
        del entry["at"]
    return {name: told[name] for name in oracle.Expected.__annotations__}


@settings(max_examples=3 * settings().max_examples)  # the widest net of all
@given(POLICIES, HISTORIES)
def test_every_record_of_a_history_is_what_the_contract_says(policy: Policy, messages: list[Message]) -> None:
    folded = fold(messages, policy)

    for record in folded.records:
        arrived = messages[: events.from_record(record).event.inbox_offset + 1]
        assert _as_told(record.value) == oracle.expected(policy, arrived)
    assert bool(folded.records) == (oracle.expected(policy, messages) is not None)


def test_the_oracle_shares_no_code_with_what_it_judges() -> None:
    tree = ast.parse(Path(oracle.__file__).read_text("utf-8"))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)} | {
        alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }

    assert imported == {"__future__", "collections.abc", "decimal", "re", "typing"}
