"""Here the event loop is the one of production: its transports have ways of their own. And a shop to look at and to mend."""

from asyncio import AbstractEventLoop
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from notifier.local import Services
from tests.integration.shop import Shop, open_shop


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], AbstractEventLoop]]:
    """As pytest-asyncio asks."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
def shop(
    services: Services, topic_prefix: str, key_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Shop:
    """A shop with its topics, in the current folder; nothing has happened in it yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    return open_shop(services, tmp_path, topic_prefix, key_prefix)
