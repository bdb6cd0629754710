"""`serve` as a process: how it begins, what it says of itself, how it ends; alone and with workers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from notifier.alipayhk.compose import compose
from notifier.config import Address, Kafka
from notifier.evidence import from_record
from notifier.kafka.access import Access
from notifier.kafka.reader import Reader
from notifier.processes.listening import CannotListenError, address_of, listening
from notifier.topics import Topics
from tests.program import Program, is_line

ROOT = Path(__file__).parents[2]
TOKEN = "token-of-the-shop-1234567"
KEY = rsa.generate_private_key(65537, 2048)
FORM = {"Content-Type": "application/x-www-form-urlencoded; charset=UTF-8"}
APPEND_TIMEOUT_S = 1.0
ANSWER_S_MAX = APPEND_TIMEOUT_S + 0.5
PARTITIONS = 3
PATIENCE_S = 30.0
"""What a test waits for something that has to come; interpreters start slowly on a busy machine."""

SERVE = """
import sys
from pathlib import Path
from notifier import config
from notifier.processes import keeping
from notifier.app import run_serve
file = Path(sys.argv[1])
keeping.LOOK_EVERY_S = float(sys.argv[2])
keeping.FIRST_RETRY_S = 3.0  # so that a test sees what is not there
run_serve(config.load(file, config.environment()), config_file=file)
"""


def notification(order: str) -> bytes:
    """A genuine one."""
    fields = {
        "notify_type": "trade_status_sync",
        "notify_id": "0123456789abcdef",
        "notify_time": "2026-11-22 17:30:05",
        "out_trade_no": order,
        "trade_no": "2026112222001400000000000001",
        "trade_status": "TRADE_SUCCESS",
        "total_fee": "128.00",
        "currency": "HKD",
    }
    return compose(fields, "RSA2", KEY)


async def started(served: Program) -> tuple[str, str]:
    """The base addresses of its public and internal listeners."""
    line = await served.until(is_line(event="service.started"))
    return f"http://{line['public']}", f"http://{line['internal']}"


@asynccontextmanager
async def serving(
    folder: Path,
    *,
    bootstrap_servers: str,
    prefix: str = "none",
    workers: int = 1,
    look_every_s: float = 5.0,
    append_timeout_s: float = PATIENCE_S,
) -> AsyncIterator[Program]:
    """`serve` on free ports; killed at the end if it is still there."""
    (folder / "alipayhk.pem").write_bytes(
        KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    (folder / "notifier.toml").write_text(f"""
[kafka]
bootstrap_servers = "{bootstrap_servers}"
topic_prefix = "{prefix}"
[redis]
url = "redis://127.0.0.1:1/0"
[ingress]
public = "127.0.0.1:0"
internal = "127.0.0.1:0"
workers = {workers}
append_timeout_s = {append_timeout_s}
[[channels]]
name = "shop-hkd"
token = "{TOKEN}"
protocol = "mapi"
partner_id = "2088000000000001"
currency = "HKD"
sign_types = ["RSA2"]
keys = ["alipayhk.pem"]
""")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        SERVE,
        str(folder / "notifier.toml"),
        str(look_every_s),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.defpath, "PYTHONPATH": str(ROOT)},
    )
    async with Program.of(process) as served:
        yield served


async def post(session: aiohttp.ClientSession, public: str, body: bytes) -> tuple[int, bytes]:
    """What the public listener answers."""
    async with session.post(f"{public}/n/{TOKEN}", data=body, headers=FORM) as answer:
        return answer.status, await answer.read()


async def get(session: aiohttp.ClientSession, url: str) -> tuple[int, Any]:
    """What the internal listener answers."""
    async with session.get(url) as answer:
        body = await answer.read()
        return answer.status, json.loads(body) if answer.content_type.endswith("json") else body.decode()


async def until_ready(session: aiohttp.ClientSession, internal: str) -> None:
    """Return once it says that it is ready."""
    async with asyncio.timeout(PATIENCE_S):
        while (await get(session, f"{internal}/health/ready"))[0] != 200:
            pass


def counted(metrics: str, outcome: str) -> float:
    """The sum of the notifications with this outcome."""
    return sum(
        float(line.rpartition(" ")[2])
        for line in metrics.splitlines()
        if line.startswith("notifier_notifications_total{") and f'outcome="{outcome}"' in line
    )


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """A client."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE_S)) as one:
        yield one


@dataclass(frozen=True)
class RealInbox:
    """The inbox of one test, on real Kafka."""

    bootstrap_servers: str
    prefix: str

    async def bodies(self) -> list[bytes]:
        """The bodies of all its records, each of which has to be readable as evidence; sorted."""
        topic = Topics(self.prefix).inbox
        reader = Reader(Access.to(Kafka(bootstrap_servers=self.bootstrap_servers), "test"))
        found: list[bytes] = []
        try:
            for partition in range(PARTITIONS):
                start, end = await reader.bounds(topic, partition)
                if start == end:
                    continue
                async for chunk in reader.read(topic, partition, start, end):
                    found += [from_record(stored.record).body for stored in chunk.records]
        finally:
            await reader.close()
        return sorted(found)


@pytest.fixture
async def inbox(bootstrap_servers: str, topic_prefix: str) -> RealInbox:
    """An inbox of three partitions, made for this test."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        await admin.create_topics(
            [NewTopic(Topics(topic_prefix).inbox, num_partitions=PARTITIONS, replication_factor=1)]
        )
    finally:
        await admin.close()
    return RealInbox(bootstrap_servers, topic_prefix)


@pytest.mark.parametrize("workers", [1, 2])
async def test_it_starts_without_kafka_and_says_that_it_is_not_ready(
    tmp_path: Path, session: aiohttp.ClientSession, workers: int
) -> None:
    """Live, not ready, 503 in time; said once; and it still ends in order."""
    async with serving(
        tmp_path, bootstrap_servers="127.0.0.1:1", workers=workers, append_timeout_s=APPEND_TIMEOUT_S
    ) as served:
        public, internal = await started(served)
        unavailable = await served.until(is_line(event="kafka.unavailable"))

        assert (await get(session, f"{internal}/health/live"))[0] == 200
        status, body = await get(session, f"{internal}/health/ready")
        assert (status, body["status"], body["dependencies"]["kafka"]) == (503, "not ready", "not ready")
        took_s: list[float] = []
        while len(took_s) < 3 and all(one >= ANSWER_S_MAX for one in took_s):  # a busy machine may hold an answer up
            began = asyncio.get_running_loop().time()
            assert await post(session, public, notification("T1")) == (503, b"fail")
            took_s.append(asyncio.get_running_loop().time() - began)
        assert min(took_s) < ANSWER_S_MAX
        asked, problem = await get(session, f"{internal}/v1/orders/shop-hkd/T1")
        assert (asked, problem["status"], problem["title"]) == (503, 503, "Service Unavailable")

        served.process.send_signal(signal.SIGTERM)
        assert await served.ended() == 0
    assert served.said[-1]["event"] == "service.stopped"
    assert served.said[-1]["reason"] == "SIGTERM"
    assert [
        line
        for line in served.said
        if line["event"] == "kafka.unavailable" and line["instance"] == unavailable["instance"]
    ] == [unavailable]


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
async def test_what_is_answered_success_lies_in_the_inbox(
    tmp_path: Path, session: aiohttp.ClientSession, inbox: RealInbox, end: signal.Signals
) -> None:
    """S1, S2: byte for byte, and nothing else does."""
    async with serving(tmp_path, bootstrap_servers=inbox.bootstrap_servers, prefix=inbox.prefix) as served:
        public, internal = await started(served)
        await until_ready(session, internal)
        bodies = [notification(f"T{number}") for number in range(20)]

        answers = await asyncio.gather(*(post(session, public, body) for body in bodies))
        forged = await post(session, public, bodies[0].replace(b"128.00", b"1.00"))

        assert set(answers) == {(200, b"success")}
        assert forged == (401, b"fail")
        assert counted((await get(session, f"{internal}/metrics"))[1], "accepted") == 20
        served.process.send_signal(end)
        assert await served.ended() == 0

    assert await inbox.bodies() == sorted(bodies)


async def test_workers_share_one_port_and_answer_as_one(
    tmp_path: Path, session: aiohttp.ClientSession, inbox: RealInbox
) -> None:
    """Ready when each is; metrics their sum, and the sum does not fall when one dies; it is started again."""
    async with serving(tmp_path, bootstrap_servers=inbox.bootstrap_servers, prefix=inbox.prefix, workers=2) as served:
        public, internal = await started(served)
        pids = [(await served.until(is_line(event="child.started")))["pid"] for _ in range(2)]
        await until_ready(session, internal)
        bodies = [notification(f"T{number}") for number in range(40)]

        answers = await asyncio.gather(*(post(session, public, body) for body in bodies))
        assert set(answers) == {(200, b"success")}
        assert counted((await get(session, f"{internal}/metrics"))[1], "accepted") == 40

        os.kill(pids[0], signal.SIGKILL)
        exited = await served.until(is_line(event="child.exited"))
        assert (exited["pid"], exited["status"]) == (pids[0], -signal.SIGKILL)
        assert (await get(session, f"{internal}/health/ready"))[0] == 503
        again = await served.until(is_line(event="child.started"))
        await until_ready(session, internal)
        assert counted((await get(session, f"{internal}/metrics"))[1], "accepted") == 40
        assert await post(session, public, notification("T41")) == (200, b"success")

        served.process.send_signal(signal.SIGTERM)
        assert await served.ended() == 0
    assert [pid for pid in (*pids, again["pid"]) if is_there(pid)] == []
    assert len(await inbox.bodies()) == 41


def is_there(pid: int) -> bool:
    """Does this process run?"""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_worker_that_hangs_is_killed_and_started_again(tmp_path: Path) -> None:
    """It still has its share of the public socket's connections: whoever it took would wait."""
    async with serving(tmp_path, bootstrap_servers="127.0.0.1:1", workers=2, look_every_s=0.05) as served:
        await started(served)
        said = [await served.until(is_line(event="kafka.unavailable")) for _ in range(2)]  # by then they are at work
        pid = int(said[0]["instance"].rpartition("-")[2])

        os.kill(pid, signal.SIGSTOP)

        hung = await served.until(is_line(event="child.hung"))
        exited = await served.until(is_line(event="child.exited"))
        await served.until(is_line(event="child.started"))
        assert (hung["pid"], exited["pid"], exited["reason"]) == (pid, pid, "it was killed by SIGKILL")
        # while it ends nobody answers for the other one either, and its second without an answer is short here
        assert [line["pid"] for line in served.said if line["event"] == "child.hung"] == [pid]
        served.process.send_signal(signal.SIGTERM)
        assert await served.ended() == 0


@pytest.mark.parametrize("workers", [1, 2])
async def test_at_the_end_nobody_new_is_let_in_while_what_has_begun_is_finished(tmp_path: Path, workers: int) -> None:
    """A refused connection goes to another host at once; one that is taken and not answered costs minutes."""
    body = notification("T1")
    async with (
        serving(
            tmp_path, bootstrap_servers="127.0.0.1:1", workers=workers, append_timeout_s=APPEND_TIMEOUT_S
        ) as served,
        asyncio.timeout(PATIENCE_S),
    ):
        where = (await started(served))[0].removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(*where)
        writer.write(
            b"POST /n/%b HTTP/1.1\r\nHost: pay.example\r\nContent-Type: application/x-www-form-urlencoded\r\n"
            b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % (TOKEN.encode(), len(body))
        )
        await reader.readuntil(b" 100 Continue\r\n\r\n")

        served.process.send_signal(signal.SIGTERM)
        await refused(*where)

        assert served.process.returncode is None
        writer.write(body)
        answer = await reader.read()
        writer.close()
        assert await served.ended() == 0

    assert answer.startswith(b"HTTP/1.1 503 ")
    assert answer.endswith(b"\r\n\r\nfail")


async def refused(host: str, port: str) -> None:
    """Return once a connection to there is refused."""
    while True:
        try:
            _, writer = await asyncio.open_connection(host, port)
        except ConnectionError:
            return
        writer.close()
        await asyncio.sleep(0)


async def test_workers_leave_when_their_parent_is_killed(tmp_path: Path) -> None:
    """Nobody would answer for them, or tell them to end."""
    async with serving(tmp_path, bootstrap_servers="127.0.0.1:1", workers=2) as served:
        await started(served)
        for _ in range(2):
            await served.until(is_line(event="kafka.unavailable"))  # by then they are at work

        served.process.kill()

        await served.ended()  # the end of their output too: they share its pipe


async def test_a_port_in_use_is_one_clear_message() -> None:
    """Which address, which setting, what to do; and no second listener beside the first."""
    with listening(Address("127.0.0.1", 0), "ingress.public") as first:
        taken = address_of(first)

        with (
            pytest.raises(CannotListenError, match=rf"cannot listen on {taken} \(ingress.public\): another program"),
            listening(taken, "ingress.public"),
        ):
            raise AssertionError


async def test_an_address_of_another_machine_is_one_clear_message() -> None:
    """As after a move to another host."""
    with (
        pytest.raises(
            CannotListenError, match=r"192\.0\.2\.1:0 \(ingress.internal\): this machine has no such address"
        ),
        listening(Address("192.0.2.1", 0), "ingress.internal"),
    ):
        raise AssertionError


async def test_the_internal_listener_answers_errors_as_problem_documents(
    tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    """RFC 9457."""
    async with serving(tmp_path, bootstrap_servers="127.0.0.1:1") as served:
        _, internal = await started(served)

        async with session.get(f"{internal}/nothing") as answer:
            assert (answer.status, answer.content_type) == (404, "application/problem+json")
            assert await answer.json() == {"type": "about:blank", "title": "Not Found", "status": 404}
        async with session.post(f"{internal}/metrics") as answer:
            assert (answer.status, answer.content_type) == (405, "application/problem+json")
            assert "GET" in answer.headers["Allow"]
