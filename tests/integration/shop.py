"""A shop on real Kafka and Redis: its settings in a folder, evidence in its inbox, and the real jobs to work it off."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from consumers.app import Job, partition_loop
from notifier import evidence, logs
from notifier.app import Stop
from notifier.config import Settings, load
from notifier.evidence import Evidence
from notifier.kafka.access import Access
from notifier.kafka.producer import Producer
from notifier.local import Services
from notifier.local.ports import free_ports
from notifier.outage import Outages
from notifier.record import Record
from notifier.topics import Topics, partition_of
from tests.log_lines import as_they_were
from tests.owners import notification
from tests.topics import create_topics

PARTITIONS = 3
WITHIN_S = 30.0
SECRET = "whsec_" + "c2VjcmV0LW9mLXRoZS1tZXJjaGFudC1zeXN0ZW0x"

SETTINGS = """
[kafka]
bootstrap_servers = "{bootstrap_servers}"
topic_prefix = "{topic_prefix}"
partitions = 3
[redis]
url = "{redis_url}"
key_prefix = "{key_prefix}"
[delivery]
first_retry_s = 3600.0
allow_networks = ["127.0.0.0/8"]
[[channels]]
name = "shop-hkd"
token = "tok_Vb7mQ2xLw9Rk4TzY8nHc"
protocol = "mapi"
partner_id = "2088000000000001"
currency = "HKD"
sign_types = ["RSA2"]
keys = ["alipayhk.pem"]
[[endpoints]]
name = "shop-oms"
url = "http://127.0.0.1:{port}/"
channels = ["shop-hkd"]
secrets = ["{secret}"]
allow_http = true
"""

Answers = int | Callable[[Mapping[str, str], bytes], int]
"""A status, or what gives one for a webhook's headers and body."""


def announced_only(record: Record) -> Record:
    """The same evidence, on a channel that takes only orders that were announced."""
    read = evidence.from_record(record)
    return evidence.to_record(
        msgspec.structs.replace(read, policy=msgspec.structs.replace(read.policy, orders="registered"))
    )


def of(record: Record, **changed: Any) -> Record:
    """The same evidence, but for this."""
    read: Evidence = msgspec.structs.replace(evidence.from_record(record), **changed)
    return evidence.to_record(read)


@dataclass
class Shop:
    """The shop of one test."""

    settings: Settings
    folder: Path
    port: int

    @property
    def topics(self) -> Topics:
        """Its topics."""
        return Topics(self.settings.kafka.topic_prefix)

    def receive(self, *records: Record) -> list[str]:
        """Put evidence into the inbox as the door does; where each lies, as `{partition}-{offset}`."""
        return asyncio.run(self._receive(records))

    async def _receive(self, records: tuple[Record, ...]) -> list[str]:
        found = []
        for record in records:
            partition = partition_of(record.key, PARTITIONS)
            found.append(f"{partition}-{await self._append(self.topics.inbox, partition, record)}")
        return found

    def append(self, topic: str, partition: int, record: Record) -> None:
        """Put a record into a topic by hand."""
        asyncio.run(self._append(topic, partition, record))

    async def _append(self, topic: str, partition: int, record: Record) -> int:
        async with Producer(Access.to(self.settings.kafka, "test"), service="test", timeout_s=10.0) as producer:
            (offset,) = await producer.append(topic, partition, [record])
        return offset

    def work(
        self,
        job: Job,
        until: Callable[[list[dict[str, Any]]], bool],
        *,
        answers: Answers | None = None,
        within_s: float = WITHIN_S,
    ) -> None:
        """
        Let a job work until its log says something.

        Args:
            within_s: a bound on it.
            answers: with what status the merchant answers, or what says so for each; without one nobody is there.
        """
        asyncio.run(self._work(job, until, answers, within_s))

    async def _work(
        self, job: Job, until: Callable[[list[dict[str, Any]]], bool], answers: Answers | None, within_s: float
    ) -> None:
        with as_they_were():  # a shop may outlive a test
            await self._work_by_itself(job, until, answers, within_s)

    async def _work_by_itself(
        self, job: Job, until: Callable[[list[dict[str, Any]]], bool], answers: Answers | None, within_s: float
    ) -> None:
        written = io.BytesIO()
        logs.configure(service=job, instance="test", level="info", out=written)
        runner = None
        if answers is not None:
            runner = await _merchant(self.port, answers)
        stop = Stop()
        try:
            async with (
                asyncio.timeout(within_s),
                partition_loop(job, self.settings, Outages()) as loop,
                asyncio.TaskGroup() as tasks,
            ):
                tasks.create_task(loop.run(stop))
                # a stream of bytes tells nobody that it has grown
                while not until([json.loads(line) for line in written.getvalue().splitlines()]):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                stop.say("test")
        except BaseException:
            sys.stdout.write(f"----- what {job} said\n{written.getvalue().decode()}")
            raise
        finally:
            if runner is not None:
                await runner.cleanup()

    def fold(self, *records: Record) -> list[str]:
        """Receive evidence and let the orders job work it off."""
        places = self.receive(*records)
        wanted = {evidence.from_record(record).evidence_id for record in records}
        self.work("orders", lambda lines: {one.get("evidence_id") for one in lines} >= wanted)
        return places


def open_shop(services: Services, folder: Path, topic_prefix: str, key_prefix: str) -> Shop:
    """A shop in a folder, with its topics and keys under names of its own."""
    (port,) = free_ports(1)  # nobody listens there for a while: no client may get it as its own
    public = rsa.generate_private_key(65537, 2048).public_key()
    (folder / "alipayhk.pem").write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    addresses = services.addresses
    (folder / "notifier.toml").write_text(
        SETTINGS.format(
            bootstrap_servers=addresses.bootstrap_servers,
            topic_prefix=topic_prefix,
            redis_url=addresses.redis_url,
            key_prefix=key_prefix,
            port=port,
            secret=SECRET,
        )
    )
    asyncio.run(create_topics(addresses.bootstrap_servers, topic_prefix, partitions=PARTITIONS))
    return Shop(load(folder / "notifier.toml", {}), folder, port)


async def _merchant(port: int, answers: Answers) -> web.AppRunner:
    async def answer(request: web.Request) -> web.Response:
        body = await request.read()
        return web.Response(status=answers if isinstance(answers, int) else answers(request.headers, body))

    application = web.Application()
    application.router.add_post("/", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    return runner


def paid(order: str, **more: str) -> Record:
    """A genuine notification of a payment, with what AlipayHK says of the buyer."""
    buyer = {"buyer_email": "buyer%40example.com", "buyer_id": "2088canary0000001", "subject": "canary-subject"}
    return notification(order, **(buyer | more))
