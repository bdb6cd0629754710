"""Here the event loop is the one of production: its transports have ways of their own."""

from asyncio import AbstractEventLoop
from collections.abc import Callable

import uvloop


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], AbstractEventLoop]]:
    """As pytest-asyncio asks."""
    return {"uvloop": uvloop.new_event_loop}
