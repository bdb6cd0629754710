"""
Redis behind TLS, with an authority of one's own: trusted by `redis.ca_file` alone, and told clearly where it is not.

The server that tests use on a laptop is built without TLS, so the TLS is that of a socket before it.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from notifier.checks.services import look_at_redis
from notifier.clock import SystemClock
from notifier.config import load
from notifier.errors import Unavailable
from notifier.local.ports import HOST
from notifier.views import UNTRUSTED, RedisViews
from tests.integration.secured import certificates_of


@pytest.fixture
async def place(redis_url: str, tmp_path: Path) -> AsyncIterator[tuple[str, Path]]:
    """The URL at which Redis speaks TLS, and the certificate of who signed its own."""
    ca_file = certificates_of(tmp_path, ["redis"])
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(tmp_path / "redis.pem")
    behind = urlsplit(redis_url)

    async def hand_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(behind.hostname, behind.port)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_copy(reader, far_writer))
            tasks.create_task(_copy(far_reader, writer))

    server = await asyncio.start_server(hand_on, HOST, 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    async with server:
        yield f"rediss://{HOST}:{port}{behind.path}", ca_file


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError, ssl.SSLError):
        while said := await reader.read(65_536):
            writer.write(said)
            await writer.drain()
    writer.close()


async def test_who_is_vouched_for_is_talked_to(place: tuple[str, Path], key_prefix: str) -> None:
    url, ca_file = place
    views = RedisViews(url, key_prefix=key_prefix, ca_file=ca_file)

    await views.check()

    await views.close()


async def test_who_is_not_is_told_nothing(place: tuple[str, Path], key_prefix: str) -> None:
    """The password would be the first word."""
    views = RedisViews(place[0], key_prefix=key_prefix)

    with pytest.raises(Unavailable, match=UNTRUSTED):
        await views.check()

    await views.close()


async def test_check_says_what_to_set(place: tuple[str, Path], key_prefix: str) -> None:
    url, ca_file = place
    env = {"NOTIFIER__REDIS__URL": url, "NOTIFIER__REDIS__KEY_PREFIX": key_prefix}

    unknown = [one async for one in look_at_redis(load(None, env, needs_file=False), SystemClock())]
    env["NOTIFIER__REDIS__CA_FILE"] = str(ca_file)
    known = [one async for one in look_at_redis(load(None, env, needs_file=False), SystemClock())]

    assert [(one.state, one.name) for one in unknown] == [("fault", "redis.tls")]
    assert "Set redis.ca_file" in unknown[0].remedy
    assert "redis.policy" in [one.name for one in known if one.state == "ok"]
