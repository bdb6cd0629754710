"""SIGHUP to real processes under load: what is new counts, what was right goes on, and nothing is refused or lost on the way."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from notifier.alipayhk.compose import compose
from notifier.local.ports import free_ports
from tests.program import Program, is_line
from tests.topics import create_topics
from tests.waiting import until

ROOT = Path(__file__).parents[2]
TOKEN = "token-of-the-shop-1234567"
FORM = {"Content-Type": "application/x-www-form-urlencoded; charset=UTF-8"}
FIRST, SECOND = (rsa.generate_private_key(65537, 2048) for _ in range(2))
BOTH = '["first.pem", "second.pem"]'
EVERY_S = 0.05
"""Twenty notifications a second."""
WITHIN_S = 30.0


@dataclass
class Place:
    """A folder with settings, and what is called there."""

    folder: Path
    head: str
    public: str
    internal: str
    session: aiohttp.ClientSession
    answers: list[int] = field(default_factory=list)
    """Of the notifications that come all the while."""

    def write(self, *endpoints: str, keys: str = '["first.pem"]', more: str = "") -> None:
        """The settings, as an editor leaves them."""
        text = f"""{self.head}
{more}
[[channels]]
name = "shop-hkd"
token = "{TOKEN}"
protocol = "mapi"
partner_id = "2088000000000001"
currency = "HKD"
sign_types = ["RSA2"]
keys = {keys}
"""
        (self.folder / "notifier.toml").write_text(text + "".join(endpoints))

    @asynccontextmanager
    async def running(self, *words: str) -> AsyncIterator[Program]:
        """`notifier …` while the block runs."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "notifier", *words),
            cwd=self.folder,
            env={"PATH": os.defpath, "PYTHONPATH": str(ROOT)},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
        )
        async with Program.of(process) as program:
            yield program

    async def post(self, order: str, key: rsa.RSAPrivateKey = FIRST) -> int:
        """One notification; the status of its answer."""
        fields = {
            "notify_type": "trade_status_sync",
            "notify_id": "0123456789abcdef",
            "notify_time": "2026-11-22 17:30:05",
            "out_trade_no": order,
            "trade_no": f"2026112222001{order}",
            "trade_status": "TRADE_SUCCESS",
            "total_fee": "128.00",
            "currency": "HKD",
        }
        body = compose(fields, "RSA2", key)
        async with self.session.post(f"{self.public}/n/{TOKEN}", data=body, headers=FORM) as answer:
            return answer.status

    async def until_ready(self) -> None:
        """Return once each worker takes notifications: one that is still starting reads the settings that lie there then."""
        async with asyncio.timeout(WITHIN_S):
            while not await self._is_ready():  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.05)

    async def _is_ready(self) -> bool:
        try:
            async with self.session.get(f"{self.internal}/health/ready") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    @asynccontextmanager
    async def all_the_while(self) -> AsyncIterator[None]:
        """Notifications come as long as the block runs."""

        async def come() -> None:
            async with asyncio.TaskGroup() as posts:
                while True:
                    posts.create_task(self._one_more())
                    await asyncio.sleep(EVERY_S)

        async with asyncio.TaskGroup() as tasks:
            coming = tasks.create_task(come())
            yield
            coming.cancel()

    async def _one_more(self) -> None:
        self.answers.append(0)
        at = len(self.answers) - 1
        self.answers[at] = await self.post(f"T{at}")

    async def until_more(self, count: int) -> None:
        """Return when so many more were answered."""
        upto = len(self.answers) + count
        async with asyncio.timeout(WITHIN_S):
            while len(self.answers) < upto or not all(self.answers[:upto]):  # noqa: ASYNC110 - nobody tells of each
                await asyncio.sleep(EVERY_S)

    def assert_all_taken(self) -> None:
        """Each notification that came was taken; those that were cut off by the end were not answered."""
        assert [status for status in self.answers if status not in (0, 200)] == []


@pytest.fixture
async def place(
    bootstrap_servers: str, redis_url: str, topic_prefix: str, key_prefix: str, tmp_path: Path
) -> AsyncIterator[Place]:
    await create_topics(bootstrap_servers, topic_prefix, partitions=2)
    for name, key in (("first", FIRST), ("second", SECOND)):
        pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (tmp_path / f"{name}.pem").write_bytes(pem)
    public, internal, orders, fanout = free_ports(4)
    head = f"""
[kafka]
bootstrap_servers = "{bootstrap_servers}"
topic_prefix = "{topic_prefix}"
partitions = 2
[redis]
url = "{redis_url}"
key_prefix = "{key_prefix}"
[consumers]
listen_orders = "127.0.0.1:{orders}"
listen_fanout = "127.0.0.1:{fanout}"
[ingress]
public = "127.0.0.1:{public}"
internal = "127.0.0.1:{internal}"
append_timeout_s = 20.0
"""
    # a connection for each, so that every worker takes some
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=WITHIN_S)) as session:
        yield Place(tmp_path, head, f"http://127.0.0.1:{public}", f"http://127.0.0.1:{internal}", session)


async def answered(program: Program, event: str, count: int) -> list[dict[str, Any]]:
    """The next lines about an event, one from each of so many processes."""
    found: dict[str, dict[str, Any]] = {}
    while len(found) < count:
        line = await program.until(is_line(event=event))
        found[line["instance"]] = line
    return list(found.values())


@pytest.mark.parametrize("workers", [1, 2])
async def test_keys_come_and_go_while_notifications_are_taken(place: Place, workers: int) -> None:
    """With two workers: in each of them, and their parent says so too."""
    place.write()
    processes = 1 if workers == 1 else 1 + workers
    async with place.running("serve", "--workers", str(workers)) as serve:
        await place.until_ready()
        async with place.all_the_while():
            await place.until_more(10)
            assert await place.post("S1", SECOND) == 401

            place.write(keys=BOTH)
            serve.process.send_signal(signal.SIGHUP)
            told = await answered(serve, "settings.reloaded", processes)

            assert [line["changed"] for line in told] == [["channels.shop-hkd.keys"]] * processes
            assert {await place.post(f"S{number}", SECOND) for number in range(2, 12)} == {200}

            place.write()
            serve.process.send_signal(signal.SIGHUP)
            await answered(serve, "settings.reloaded", processes)

            assert {await place.post(f"S{number}", SECOND) for number in range(12, 22)} == {401}
            await place.until_more(10)
        assert await serve.ends(signal.SIGTERM) == 0
    place.assert_all_taken()
    assert_nothing_secret_is_told(serve)


REFUSED = [
    ("not TOML", {"more": "[ingress"}, "faults"),
    ("a key that is not there", {"keys": '["third.pem"]'}, "faults"),
    ("where it listens", {"more": 'workers = 3\n[log]\nlevel = "debug"'}, "needs_restart"),
]


@pytest.mark.parametrize("workers", [1, 2])
async def test_what_is_refused_changes_nothing(place: Place, workers: int) -> None:
    """The old settings stay in force, whole; what is refused by the parent of workers never reaches them."""
    place.write(keys=BOTH)
    async with place.running("serve", "--workers", str(workers)) as serve:
        await place.until_ready()
        async with place.all_the_while():
            for _, changes, reason in REFUSED:
                place.write(**changes)
                serve.process.send_signal(signal.SIGHUP)
                line = await serve.until(is_line(event="settings.refused"))

                assert (line["reason"], line["level"]) == (reason, "error")
                assert {await place.post(f"{reason}{number}", SECOND) for number in range(6)} == {200}
            await place.until_more(5)
        assert await serve.ends(signal.SIGTERM) == 0
    place.assert_all_taken()
    assert len([line for line in serve.said if line["event"].startswith("settings.")]) == len(REFUSED)
    assert_nothing_secret_is_told(serve)


@dataclass
class Merchant:
    """A merchant's system on loopback."""

    port: int = 0
    told: list[str] = field(default_factory=list)
    heard: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """While the block runs."""

        async def take(request: web.Request) -> web.Response:
            self.told.append(json.loads(await request.read())["data"]["order"])
            self.heard.set()
            return web.Response(status=204)

        application = web.Application()
        application.router.add_post("/", take)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.port = runner.addresses[0][1]
            yield
        finally:
            await runner.cleanup()

    async def until(self, orders: Collection[str]) -> None:
        """Return when it was told of all these."""
        async with asyncio.timeout(WITHIN_S):
            while not set(orders) <= set(self.told):
                self.heard.clear()
                await self.heard.wait()

    def endpoint(self, name: str, more: str = "") -> str:
        """A table of the settings that leads here."""
        return f"""
[[endpoints]]
name = "{name}"
url = "http://127.0.0.1:{self.port}/"
channels = ["shop-hkd"]
allow_http = true
secrets = ["whsec_c2VjcmV0LW9mLXRoZS1tZXJjaGFudC1zeXN0ZW0x"]
{more}
"""


def told_to(one: Merchant, other: Merchant, upto: int) -> Callable[[], Awaitable[bool]]:
    """Tells whether each of the first orders was told to one of these two."""

    async def is_so() -> bool:
        return {f"T{number}" for number in range(upto)} <= {*one.told, *other.told}

    return is_so


LOOPBACK = '[delivery]\nallow_networks = ["127.0.0.0/8"]'


async def test_endpoints_move_come_and_go_while_merchants_are_told(place: Place) -> None:
    """`run` passes it on; the old URL is never called again, nothing is told to nobody, and who left is not told."""
    old, new, another = Merchant(), Merchant(), Merchant()
    async with AsyncExitStack() as stack:
        for merchant in (old, new, another):
            await stack.enter_async_context(merchant.listening())
        place.write(old.endpoint("shop-oms"), more=LOOPBACK)
        run = await stack.enter_async_context(place.running("run"))
        await run.all_at_work()
        async with place.all_the_while():
            await place.until_more(10)
            await old.until([f"T{number}" for number in range(10)])

            moved = (new.endpoint("shop-oms"), another.endpoint("another", "start = 'earliest'"))
            place.write(*moved, more=LOOPBACK)
            run.process.send_signal(signal.SIGHUP)
            told = await answered(run, "settings.reloaded", 4)
            last_of_old = len(old.told) + 8  # in flight then: as many as the endpoint may have
            await place.until_more(20)
            upto = len(place.answers) - 5
            await another.until([f"T{number}" for number in range(upto)])
            # whoever leaves is told nothing more, of what waits for it neither
            await until(told_to(old, new, upto), WITHIN_S, "what was the old one's is told to the new one")

            assert sorted(line["service"] for line in told) == ["fanout", "ingress", "orders", "run"]
            assert {(*line["changed"], *line["added"]) for line in told} == {
                ("endpoints.shop-oms.url", "endpoints.another")
            }

            place.write(moved[1], more=LOOPBACK)
            run.process.send_signal(signal.SIGHUP)
            await answered(run, "settings.reloaded", 4)
            last_of_new = len(new.told) + 8
            await place.until_more(20)
            await another.until([f"T{number}" for number in range(len(place.answers) - 5)])

            place.write(moved[1], more="[redis]\nurl = 1")
            run.process.send_signal(signal.SIGHUP)
            await run.until(is_line(event="settings.refused"))
        assert await run.ends(signal.SIGTERM) == 0
    place.assert_all_taken()
    assert len(old.told) <= last_of_old
    assert len(new.told) <= last_of_new
    assert [line["service"] for line in run.said if line["event"] == "settings.refused"] == ["run"]
    assert [line for line in run.said if line["event"] == "child.exited"] == []
    assert_nothing_secret_is_told(run)


async def test_who_is_told_while_it_starts_is_not_ended_by_it(place: Place) -> None:
    """The signal would kill an interpreter that is just starting; it waits for each of them instead."""
    place.write(more=LOOPBACK)
    async with place.running("run") as run:
        await run.until(is_line(event="child.started", child="fanout"))
        run.process.send_signal(signal.SIGHUP)
        told = await answered(run, "settings.reloaded", 4)

        assert [line["count"] for line in told] == [0, 0, 0, 0]
        assert await run.ends(signal.SIGTERM) == 0
    assert [line for line in run.said if line["event"] == "child.exited"] == []


@pytest.mark.parametrize(
    ("words", "child", "count"),
    [(("run",), "orders", 4), (("serve", "--workers", "2"), "worker-1", 3)],
    ids=["run", "workers"],
)
async def test_a_child_that_dies_is_back_with_the_settings_in_use(
    place: Place, words: tuple[str, ...], child: str, count: int
) -> None:
    """It read what lay there: a file that was refused a moment ago, and went from crash to crash, or to another Redis."""
    place.write(keys=BOTH)
    async with place.running(*words) as program:
        first = await program.until(is_line(event="child.started", child=child))
        await place.until_ready()
        place.write(keys=BOTH, more="[telemetry]\nnonsense = true")
        program.process.send_signal(signal.SIGHUP)
        await program.until(is_line(event="settings.refused"))

        os.kill(first["pid"], signal.SIGKILL)
        await program.until(is_line(event="child.started", child=child))
        await place.until_ready()
        assert {await place.post(f"T{number}", SECOND) for number in range(6)} == {200}

        place.write(keys=BOTH, more="[delivery]\ntimeout_s = 1")
        program.process.send_signal(signal.SIGHUP)
        told = await answered(program, "settings.reloaded", count)
        assert await program.ends(signal.SIGTERM) == 0
    assert {(*line["changed"],) for line in told} == {("delivery.timeout_s",)}
    assert [line["status"] for line in program.said if line["event"] == "child.exited"] == [-signal.SIGKILL]


def assert_nothing_secret_is_told(program: Program) -> None:
    """S12."""
    said = json.dumps(program.said)
    assert [secret for secret in (TOKEN, "whsec_", "BEGIN PUBLIC KEY") if secret in said] == []
