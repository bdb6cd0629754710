"""The whole line on real Kafka and Redis: what must hold between AlipayHK's POST and the merchant's acceptance."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from redis.asyncio import Redis

from consumers.app import Job, partition_loop
from notifier import logs, metrics
from notifier.alipayhk.compose import compose
from notifier.app import Ingress, Stop, inbox_of
from notifier.config import Settings, load
from notifier.kafka.access import Access
from notifier.kafka.reader import Reader
from notifier.outage import Outages
from notifier.processes.listening import address_of, listening
from notifier.record import Stored
from notifier.topics import Topics
from notifier.views import WrongPolicyError
from tests.topics import create_topics

PARTITIONS = 2
WITHIN_S = 20.0
TOKEN = "tok_Vb7mQ2xLw9Rk4TzY8nHc"
SECRET = "whsec_" + "c2VjcmV0LW9mLXRoZS1tZXJjaGFudC1zeXN0ZW0x"


@dataclass
class Merchant:
    """A merchant's system: it keeps what it is told and answers as it is asked to."""

    told: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    heard: asyncio.Event = field(default_factory=asyncio.Event)

    async def take(self, request: web.Request) -> web.Response:
        """Answer a webhook."""
        status = self.statuses.pop(0) if self.statuses else 204
        self.told.append(json.loads(await request.read()) | {"answered": status})
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        self.heard.set()
        return web.Response(status=status)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Return when something holds of what was told."""
        async with asyncio.timeout(WITHIN_S):
            while not holds():
                self.heard.clear()
                await self.heard.wait()


@dataclass
class Line:
    """The pipeline under test, and those at its two ends."""

    settings: Settings
    key: rsa.RSAPrivateKey
    merchant: Merchant
    written: io.BytesIO
    url: str = ""
    http: aiohttp.ClientSession | None = None

    @property
    def topics(self) -> Topics:
        """Its topics."""
        return Topics(self.settings.kafka.topic_prefix)

    def body(self, order: str, status: str = "TRADE_SUCCESS", **more: str) -> bytes:
        """A notification, signed as AlipayHK would."""
        fields = {
            "notify_id": f"id-of-{order}",
            "notify_type": "trade_status_sync",
            "notify_time": "2026-11-24 17:00:00",
            "out_trade_no": order,
            "trade_no": f"2026112422001{order}",
            "trade_status": status,
            "total_fee": "128.00",
            "currency": "HKD",
        }
        return compose(fields | more, "RSA2", self.key)

    async def post(self, body: bytes, headers: Mapping[str, str] | None = None) -> tuple[int, str]:
        """POST as AlipayHK does; status and body of the answer."""
        assert self.http is not None
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        async with self.http.post(f"{self.url}/n/{TOKEN}", data=body, headers=form | dict(headers or {})) as answer:
            return answer.status, await answer.text()

    async def everything(self) -> dict[str, list[Stored]]:
        """All records of all topics."""
        reader = Reader(Access({"bootstrap_servers": self.settings.kafka.bootstrap_servers}))
        topics = self.topics
        found: dict[str, list[Stored]] = {}
        for topic in (topics.inbox, topics.orders, topics.deliveries, topics.commands, topics.quarantine):
            found[topic] = []
            for partition in range(PARTITIONS):
                _, end = await reader.bounds(topic, partition)
                async for chunk in reader.read(topic, partition, 0, end):
                    found[topic] += chunk.records
        await reader.close()
        return found

    def lines(self) -> list[dict[str, Any]]:
        """What the log says."""
        return [json.loads(line) for line in self.written.getvalue().splitlines()]

    async def until_logged(self, holds: Callable[[list[dict[str, Any]]], bool]) -> None:
        """Return when something holds of the log's lines."""
        async with asyncio.timeout(WITHIN_S):
            while not holds(self.lines()):  # noqa: ASYNC110 - a stream of bytes tells nobody that it has grown
                await asyncio.sleep(0.01)

    @asynccontextmanager
    async def ingress(self) -> AsyncIterator[None]:
        """The door is open while the block runs."""
        async with AsyncExitStack() as stack:
            public = stack.enter_context(listening(self.settings.ingress.public, "ingress.public"))
            inbox = await stack.enter_async_context(inbox_of(self.settings))
            await stack.enter_async_context(Ingress(self.settings, inbox).open(public))
            self.http = await stack.enter_async_context(aiohttp.ClientSession())
            self.url = f"http://{address_of(public)}"
            async with asyncio.timeout(WITHIN_S):
                while not inbox.is_ready:  # noqa: ASYNC110 - a property that nobody announces
                    await asyncio.sleep(0.01)
            yield

    @asynccontextmanager
    async def job(self, name: Job) -> AsyncIterator[None]:
        """One consumer job works while the block runs."""
        stop = Stop()
        async with partition_loop(name, self.settings, Outages()) as loop, asyncio.TaskGroup() as tasks:
            tasks.create_task(loop.run(stop))
            try:
                yield
            finally:
                stop.say("test")


@asynccontextmanager
async def serving(merchant: Merchant) -> AsyncIterator[tuple[Merchant, int]]:
    """The merchant listens, on the port that is yielded with it."""
    application = web.Application()
    application.router.add_post("/hooks", merchant.take)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield merchant, runner.addresses[0][1]
    finally:
        await runner.cleanup()


@pytest.fixture
async def line(
    bootstrap_servers: str, redis_url: str, topic_prefix: str, key_prefix: str, tmp_path: Path
) -> AsyncIterator[Line]:
    await create_topics(bootstrap_servers, topic_prefix, partitions=PARTITIONS)
    key = rsa.generate_private_key(65537, 2048)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "alipayhk.pem").write_bytes(public)
    stack = AsyncExitStack()
    merchant, port = await stack.enter_async_context(serving(Merchant()))
    (tmp_path / "notifier.toml").write_text(
        f"""
[kafka]
bootstrap_servers = "{bootstrap_servers}"
topic_prefix = "{topic_prefix}"
partitions = {PARTITIONS}
[redis]
url = "{redis_url}"
key_prefix = "{key_prefix}"
[ingress]
public = "127.0.0.1:0"
internal = "127.0.0.1:0"
append_timeout_s = 15.0
[delivery]
first_retry_s = 0.2
retry_s_max = 0.5
allow_networks = ["127.0.0.0/8"]
[[channels]]
name = "shop-hkd"
token = "{TOKEN}"
protocol = "mapi"
partner_id = "2088000000000001"
currency = "HKD"
sign_types = ["RSA2"]
keys = ["alipayhk.pem"]
[[endpoints]]
name = "shop-oms"
url = "http://127.0.0.1:{port}/hooks"
channels = ["shop-hkd"]
events = ["order.*"]
secrets = ["{SECRET}"]
allow_http = true
"""
    )
    settings = load(tmp_path / "notifier.toml", {})
    written = io.BytesIO()
    logs.configure(service="ingress", instance="test", level="debug", out=written)
    async with stack:
        yield Line(settings, key, merchant, written)
    sys.stdout.write(f"----- what was said\n{written.getvalue().decode()}")  # pytest shows it where the test failed


async def test_fifty_at_once_are_fifty_answers_and_one_effect(line: Line) -> None:
    """C20, and HTTP-47 in small."""
    async with line.ingress(), line.job("orders"), line.job("fanout"):
        answers = await asyncio.gather(*(line.post(line.body("T1")) for _ in range(50)))
        await line.merchant.until(lambda: bool(line.merchant.told))
        await line.until_logged(lambda lines: sum(one["event"] == "evidence.repeated" for one in lines) == 49)

    assert set(answers) == {(200, "success")}
    found = await line.everything()
    assert len(found[line.topics.inbox]) == 50
    assert len(found[line.topics.orders]) == 1
    assert [one["type"] for one in line.merchant.told] == ["order.paid"]


async def test_a_flush_of_redis_between_two_copies_changes_nothing(line: Line) -> None:
    """C21."""
    redis = Redis.from_url(line.settings.redis.url)
    async with line.ingress(), line.job("orders"), line.job("fanout"):
        await line.post(line.body("T1"))
        await line.merchant.until(lambda: len(line.merchant.told) == 1)
        names = [name async for name in redis.scan_iter(match=f"{line.settings.redis.key_prefix}:*")]
        assert names
        await redis.delete(*names)

        await line.post(line.body("T1"))
        await line.post(line.body("T1", "TRADE_FINISHED"))
        await line.merchant.until(lambda: len(line.merchant.told) == 2)
        await line.until_logged(lambda lines: any(one["event"] == "view.repaired" for one in lines))

    assert [(one["type"], one["version"]) for one in line.merchant.told] == [("order.paid", 1), ("order.finalized", 2)]
    await redis.aclose()


async def test_a_retry_survives_a_restart_of_fanout(line: Line) -> None:
    line.merchant.statuses = [500] * 1_000
    async with line.ingress(), line.job("orders"):
        async with line.job("fanout"):
            await line.post(line.body("T1"))
            await line.until_logged(lambda lines: any(one["event"] == "delivery.attempted" for one in lines))
        assert {one["answered"] for one in line.merchant.told} == {500}
        line.merchant.statuses.clear()

        async with line.job("fanout"):
            await line.merchant.until(lambda: line.merchant.told[-1]["answered"] == 204)

    assert len({one["id"] for one in line.merchant.told}) == 1
    assert len({headers["webhook-id"] for headers in line.merchant.headers}) == 1


async def test_out_36_what_waits_for_an_endpoint_goes_to_the_url_that_it_has_now(line: Line) -> None:
    """What waits knows its endpoint by name: after a restart with another URL nothing goes to the old one, not even a retry."""
    old = line.merchant
    old.statuses = [500] * 1_000
    async with line.ingress(), line.job("orders"):
        async with line.job("fanout"):
            await line.post(line.body("T1"))
            await line.until_logged(lambda lines: any(one["event"] == "delivery.attempted" for one in lines))
        told_before = len(old.told)

        async with serving(Merchant()) as (new, port):
            [endpoint] = line.settings.endpoints
            moved = replace(endpoint, url=f"http://127.0.0.1:{port}/hooks")
            line.settings = replace(line.settings, endpoints=(moved,))
            async with line.job("fanout"):
                await line.post(line.body("T1", "TRADE_FINISHED"))
                await new.until(lambda: len(new.told) == 2)

    assert [(one["type"], one["version"]) for one in new.told] == [("order.paid", 1), ("order.finalized", 2)]
    assert new.told[0]["id"] == old.told[0]["id"]
    assert len(old.told) == told_before


async def test_what_arrives_while_nobody_works_is_worked_off_later(line: Line) -> None:
    async with line.ingress():
        for status in ("WAIT_BUYER_PAY", "TRADE_SUCCESS", "TRADE_FINISHED"):
            assert await line.post(line.body("T1", status)) == (200, "success")

    async with line.job("orders"), line.job("fanout"):
        await line.merchant.until(lambda: len(line.merchant.told) == 3)

    assert [one["version"] for one in line.merchant.told] == [1, 2, 3]


async def test_two_processes_of_a_job_share_its_partitions(line: Line) -> None:
    """Any number of them; the second takes its share, and what it is given is worked on."""
    async with line.ingress(), line.job("orders"), line.job("orders"), line.job("fanout"), line.job("fanout"):
        for number in range(12):
            await line.post(line.body(f"T{number}"))
        await line.merchant.until(lambda: len({one["id"] for one in line.merchant.told}) == 12)

    found = await line.everything()
    assert len({stored.record for stored in found[line.topics.orders]}) == 12


CANARIES = {
    "buyer_email": "canary-buyer@example.com",
    "buyer_id": "2088canary0000001",
    "seller_email": "canary-seller@example.com",
    "subject": "canary-subject\r\nERROR paid",
    "body": "canary-body",
}


async def test_no_line_metric_or_header_tells_what_is_nobodys_business(line: Line) -> None:
    """S12, C38 and C39: buyer data, key, token, secret and signature, on the good way and on the bad ones."""
    async with line.ingress(), line.job("orders"), line.job("fanout"):
        line.merchant.statuses = [500]
        body = line.body("T1", **CANARIES)
        assert await line.post(body) == (200, "success")
        assert (await line.post(body.replace(b"128.00", b"1.00")))[0] == 401
        assert (await line.post(body + b"&total_fee=1.00"))[0] == 400
        assert await line.post(line.body("T2", total_fee="canary-amount", **CANARIES)) == (200, "success")
        await line.merchant.until(lambda: len(line.merchant.told) == 2)
        await line.until_logged(lambda lines: any(one["event"] == "evidence.quarantined" for one in lines))
        found = await line.everything()

    signature = dict(pair.split(b"=", 1) for pair in body.split(b"&"))[b"sign"].decode()
    never = ["canary", TOKEN, SECRET, SECRET.removeprefix("whsec_"), signature[:40], "BEGIN", "sign="]
    told = line.written.getvalue().decode() + metrics.text()
    headers = "".join(
        f"{name}={value.decode()} "
        for records in found.values()
        for one in records
        for name, value in one.record.headers
    )
    outside = "".join(
        one.record.value.decode()
        for topic in (line.topics.orders, line.topics.deliveries)
        for one in found[topic]
    )  # fmt: skip
    for word in never:
        assert word not in told
        assert word not in headers
        assert word not in outside
        assert word not in json.dumps(line.merchant.told)
    assert len(told.splitlines()) > 10, "something was told at all"
    events = {one["event"] for one in line.lines()}
    assert {"notification.accepted", "notification.rejected", "order.changed", "evidence.quarantined"} <= events
    assert {"delivery.attempted"} <= events


@pytest.mark.parametrize("job", ["orders", "fanout"])
async def test_a_job_does_not_begin_on_a_redis_that_may_drop_keys(line: Line, job: Job) -> None:
    """Rule 10: what is absent from a view counts as never seen, so nothing may be absent by itself."""
    redis = Redis.from_url(line.settings.redis.url)
    await redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        async with asyncio.timeout(WITHIN_S), partition_loop(job, line.settings, Outages()) as loop:
            with pytest.raises(ExceptionGroup) as refused:
                await loop.run(Stop())
    finally:
        await redis.config_set("maxmemory-policy", "noeviction")
        await redis.aclose()

    assert refused.value.subgroup(WrongPolicyError) is not None


async def test_an_error_in_its_midst_leaves_no_client_open(line: Line) -> None:
    """A task group that is left with an error raises it again: what came after it in the inbox's end was not done."""
    with pytest.raises(BaseExceptionGroup) as raised:
        async with line.ingress(), line.job("orders"), line.job("fanout"):
            raise ZeroDivisionError

    assert raised.group_contains(ZeroDivisionError)
    own = asyncio.current_task()
    assert [task.get_name() for task in asyncio.all_tasks() if task is not own] == []
