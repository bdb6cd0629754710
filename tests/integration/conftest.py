"""Here the event loop is the one of production: its transports have ways of their own. And a shop to look at and to mend."""

import io
from asyncio import AbstractEventLoop
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import uvloop

import consumers.app
import consumers.partition
import notifier.kafka.group
import notifier.outage
from notifier import logs
from notifier.config import load
from notifier.local import KAFKA_SETTING, REDIS_SETTING, Services, running
from notifier.views import RedisViews
from tests.integration.shop import Shop, open_shop
from tests.topics import create_topics
from tests.troubled import PARTITIONS, Merchant, Troubled


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


@pytest.fixture(scope="session")
def own_services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """
    Kafka and Redis that nobody else uses: they may be killed, held up and filled.

    A broker that hangs for a while answers when it goes on, and is not put out by its own controller once more: its session is
    Kafka's default, longer than a test lets it hang.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in (KAFKA_SETTING, REDIS_SETTING):
            patch.delenv(name, raising=False)
        folder = tmp_path_factory.mktemp("own_services")
        with running(folder, tell=lambda _: None, kafka={"broker.session.timeout.ms": "9000"}) as started:
            yield started


@pytest.fixture
async def troubled(
    own_services: Services, topic_prefix: str, key_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Troubled]:
    """An installation on services of its own, with times made small."""
    # what a machine that is busy, and no fault, may take for an answer, has to be less than these
    monkeypatch.setattr(consumers.app, "APPEND_TIMEOUT_S", 4.0)
    monkeypatch.setattr(consumers.app, "RedisViews", partial(RedisViews, timeout_s=2.0))
    monkeypatch.setattr(consumers.partition, "PING_EVERY_S", 0.2)
    monkeypatch.setattr(consumers.partition, "STUCK_LOOKS", 150)
    monkeypatch.setattr(notifier.kafka.group, "COMMIT_TIMEOUT_S", 3.0)
    monkeypatch.setattr(notifier.outage, "RETRY_MAX_S", 0.2)
    addresses, merchant, written = own_services.addresses, Merchant(), io.BytesIO()
    await create_topics(addresses.bootstrap_servers, topic_prefix, partitions=PARTITIONS)
    async with merchant.listening() as port:
        (tmp_path / "notifier.toml").write_text(
            f"""
[kafka]
bootstrap_servers = "{addresses.bootstrap_servers}"
topic_prefix = "{topic_prefix}"
partitions = {PARTITIONS}
[redis]
url = "{addresses.redis_url}"
key_prefix = "{key_prefix}"
[consumers]
session_timeout_s = 2.0
[delivery]
first_retry_s = 0.2
retry_s_max = 0.5
allow_networks = ["127.0.0.0/8"]
[[endpoints]]
name = "shop-oms"
url = "http://127.0.0.1:{port}/"
channels = ["*"]
secrets = ["whsec_c2VjcmV0LW9mLXRoZS1tZXJjaGFudC1zeXN0ZW0x"]
allow_http = true
"""
        )
        logs.configure(service="test", instance="test", out=written)
        troubled = Troubled(load(tmp_path / "notifier.toml", {}), written, merchant)
        yield troubled
        troubled.show()
