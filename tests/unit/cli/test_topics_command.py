"""`notifier topics`: its table is as wide as what it has to say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from notifier.cli.topics import _print_table
from notifier.kafka.admin import Found, compare
from tests.unit.cli.test_topics import AS_PLANNED, ORDERS


@pytest.mark.parametrize(
    ("found", "heading"),
    [
        pytest.param(AS_PLANNED, ["topic", "state"], id="all is well"),
        pytest.param(None, ["topic", "state"], id="it is missing"),
        pytest.param(
            replace(AS_PLANNED, partitions=12), ["topic", "state", "setting", "has", "needs"], id="one differs"
        ),
    ],
)
def test_what_differs_has_columns_where_something_does(
    found: Found | None, heading: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Three empty columns stood beside topics that were all as they have to be."""
    _print_table([compare(ORDERS, found)])

    assert capsys.readouterr().out.split("\n")[1].split() == heading
