"""
How long a law is tried: enough in each run, a run in seconds; `pytest tests/unit --hypothesis-profile=long` for an evening.

And no time passes in these tests while a log's end that cannot be right is asked for again.
"""

from __future__ import annotations

import pytest
from hypothesis import settings

import consumers.view

# No deadline: a machine that is busy with other things breaks no law.
settings.register_profile("bounded", max_examples=60, deadline=None)
settings.register_profile("long", max_examples=5_000, deadline=None)


def pytest_configure(config: pytest.Config) -> None:
    """As pytest asks, before the tests are read."""
    if not config.getoption("--hypothesis-profile"):
        settings.load_profile("bounded")


@pytest.fixture(autouse=True)
def _asking_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumers.view, "ASK_AGAIN_EVERY_S", 0.0)
