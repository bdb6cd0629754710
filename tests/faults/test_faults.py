"""The most telling faults, in short: what they are and what is looked at stands in this folder's README."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvloop

from notifier.local import KAFKA_SETTING, REDIS_SETTING
from tests.faults.brokers import Services, services
from tests.faults.faults import FAULTS
from tests.faults.run import Wish, run
from tests.program import show_logs

SHORT = Wish(orders=600, rate=600.0, seed=1, session_timeout_s=4.0)
"""Some two thousand notifications."""


@pytest.fixture(scope="module")
def own_services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """A Kafka and a Redis that no other test uses: here they are killed, flushed and filled."""
    with pytest.MonkeyPatch.context() as patch:
        for setting in (KAFKA_SETTING, REDIS_SETTING):
            patch.delenv(setting, raising=False)
        with services(tmp_path_factory.mktemp("faults")) as started:
            yield started


@pytest.mark.services
@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("redis_old_copy", "a view that is behind is caught up before it is believed"),
        ("kafka_down", "what was not acknowledged is told again, and nothing twice"),
        ("kill9", "the other process has the work within the session timeout and 5 s"),
        ("sigstop_zombie", "two owners of one partition harm nothing"),
        ("compacted", "with Redis empty, what is left of a log is enough"),
    ],
)
def test_nothing_is_lost_doubled_or_forged(fault: str, why: str, own_services: Services, tmp_path: Path) -> None:
    """What stands in the way of a payment's notification ends, and the order's history is as if it had never been."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        outcome = runner.run(run(FAULTS[fault], own_services, tmp_path, SHORT))

    if outcome.problems:
        show_logs(tmp_path)
    assert outcome.problems == [], f"{why}; logs are in {tmp_path}"
