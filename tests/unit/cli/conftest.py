"""A folder as `notifier init` leaves it, and the command line called from within."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from notifier import config
from notifier.cli import main
from notifier.config import Settings

Notifier = Callable[..., int]
"""Called with the words of a command line, it gives the exit status."""


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the machine's own environment sets is no part of a test; and a terminal is 80 wide, without colours."""
    for name in list(config.environment()):
        if name.startswith("NOTIFIER_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.fixture
def notifier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Notifier:
    """`notifier …`, called in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> int:
        return main(words)

    return call


@pytest.fixture
def shop(notifier: Notifier, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The folder after `notifier init`, which is the current one."""
    assert notifier("init") == 0
    capsys.readouterr()
    return tmp_path


@pytest.fixture
def settings(shop: Path) -> Settings:
    """What `notifier init` wrote, as the services read it."""
    return config.load(shop / "notifier.toml", {})
