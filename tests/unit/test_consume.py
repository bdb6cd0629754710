"""The root of a consumer: what it opens it closes, whatever comes between."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Self

import pytest

from consumers import app
from consumers.app import Job, partition_loop
from notifier.config import load
from notifier.outage import Outages


class Opened:
    """Everything that the root opens, by what it is; each stands for the real thing."""

    def __init__(self) -> None:
        self.open: list[str] = []

    def of(self, what: str) -> Any:
        """A constructor."""

        def make(*_: object, **__: object) -> _One:
            return _One(self, what)

        return make


class _One:
    def __init__(self, opened: Opened, what: str) -> None:
        self._opened = opened
        self._what = what
        opened.open.append(what)

    def __getattr__(self, _: str) -> None:
        """What others are given of it to ask; nobody asks here."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        self._opened.open.remove(self._what)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Opened:
    opened = Opened()
    for name in ("RedisViews", "Reader", "Producer", "Client"):
        monkeypatch.setattr(app, name, opened.of(name))
    return opened


@pytest.mark.parametrize(
    ("job", "clients"),
    [("orders", ["RedisViews", "Reader", "Producer"]), ("fanout", ["RedisViews", "Reader", "Producer", "Client"])],
)
@pytest.mark.parametrize("fault", [None, RuntimeError()])
async def test_no_client_outlives_the_job(
    opened: Opened, job: Job, clients: list[str], fault: Exception | None
) -> None:
    """One of each, and none of a second kind: a job that is started again in one process would gather connections."""
    settings = load(None, {}, needs_file=False)

    with suppress(RuntimeError):
        async with partition_loop(job, settings, Outages()):
            assert opened.open == clients
            if fault is not None:
                raise fault

    assert opened.open == []
