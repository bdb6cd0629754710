"""The table of faults is whole, and a few telling rows of it are played; all of it is `python -m tests.alarms`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import uvloop

from notifier.local import Services
from notifier.watching.catalogue import CATALOGUE, Entry
from tests.alarms.play import play
from tests.alarms.scenes import ROWS, SCENES, Scene
from tests.alarms.see import Seen
from tests.alarms.table import ENTRIES, RULES, Row
from tests.program import show_logs

TELLING = ("position.assumed", "channel.failing", "evidence.failed", "key.expiring", "endpoint.suspended")
"""One that comes before the first scrape, one that is counted, a bug, one that is mended by a reload, one of a merchant."""


NOT_SAID = {
    # whoever stops at a partition has waited before it says so, or knows that waiting mends nothing
    "partition.stuck": {"warning"},
}
"""Levels that the contract keeps free, and that no line of ours has."""

SEEN_ELSEWHERE = {
    # one alert for four lines that lead to it; the row of child.exited makes it rise
    "child.hung": ("NotifierRestarting",),
    "child.killed": ("NotifierRestarting",),
}
"""Alerts that a row does not make rise, because another row of the same alert does."""


@pytest.mark.parametrize("entry", CATALOGUE, ids=lambda entry: entry.name)
def test_each_line_is_caused_with_each_level_and_each_alert(entry: Entry) -> None:
    """A line that is new and that nobody has seen may never come; an alert that nobody saw rise may never do."""
    rows = [row for row in ROWS if row.line == entry.name]

    assert {row.level for row in rows} | NOT_SAID.get(entry.name, set()) == set(entry.levels)
    assert {row.alert for row in rows} - {None} == {
        alert for alert in entry.alerts if alert not in SEEN_ELSEWHERE.get(entry.name, ())
    }


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.line}-{row.level}")
def test_a_row_asks_for_what_the_catalogue_knows(row: Row) -> None:
    """Fields that a line does not have would be waited for in vain."""
    known = {*ENTRIES[row.line].fields, "service"}
    assert set(row.fields) | set(row.said) <= known
    assert {row.alert, row.falls} - {None} <= RULES.keys()


@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
def test_a_fault_can_be_played_alone(scene: Scene) -> None:
    """One asked for alone began without the process that another starts, and failed: what it needs comes with it, and before."""
    for row in scene.rows:
        played = scene.rows_of([row.line])

        at = played.index(row)
        assert set(row.needs) <= {one.line for one in played[:at]}
        assert [one for one in scene.rows if one in played] == played


@pytest.mark.services
def test_a_fault_is_seen_in_the_log_in_the_metrics_and_by_its_alert(services: Services, tmp_path: Path) -> None:
    """Real processes, real faults, real scrapes."""
    seen: list[Seen] = []

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(play(SCENES["shop"], services, tmp_path, TELLING, seen.append))
    finally:
        show_logs(tmp_path)

    assert [one.row.line for one in seen] == [row.line for row in SCENES["shop"].rows if row.line in TELLING]
    assert [one.words for one in seen if one.problem] == [], f"logs are in {tmp_path}"
