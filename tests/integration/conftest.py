"""Here the event loop is the one of production: its transports have ways of their own. And a shop to look at and to mend."""

import asyncio
import socket
from asyncio import AbstractEventLoop
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from notifier import config
from notifier.local import Services
from tests.integration.shop import PARTITIONS, SECRET, SETTINGS, Shop
from tests.topics import create_topics


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], AbstractEventLoop]]:
    """As pytest-asyncio asks."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
def shop(
    services: Services,
    topic_prefix: str,
    key_prefix: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Shop:
    """A shop with its topics, in the current folder; nothing has happened in it yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    public = rsa.generate_private_key(65537, 2048).public_key()
    (tmp_path / "alipayhk.pem").write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    (tmp_path / "notifier.toml").write_text(
        SETTINGS.format(
            bootstrap_servers=services.addresses.bootstrap_servers,
            topic_prefix=topic_prefix,
            redis_url=services.addresses.redis_url,
            key_prefix=key_prefix,
            port=port,
            secret=SECRET,
        )
    )
    asyncio.run(create_topics(services.addresses.bootstrap_servers, topic_prefix, partitions=PARTITIONS))
    return Shop(config.load(tmp_path / "notifier.toml", {}), tmp_path, port)
