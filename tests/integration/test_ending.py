"""The end of the ingress: what is in flight gets its answer, and whoever waits for that end knows how long it takes."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from notifier import config
from notifier.alipayhk.compose import compose
from notifier.app import ANSWER_EXTRA_S, Ingress, finish_s_max
from notifier.cli.run import children
from notifier.config import Settings
from notifier.door import notify_verify
from notifier.processes.reloading import Reloading
from notifier.processes.workers import STOP_EXTRA_S
from notifier.record import Record
from tests.owners import spin

TOKEN = "token-of-the-shop-1234567"
KEY = rsa.generate_private_key(65537, 2048)
PATIENCE_S = 5.0
NOTIFICATION = compose(
    {
        "notify_type": "trade_status_sync",
        "notify_id": "0123456789abcdef",
        "notify_time": "2026-11-22 17:30:05",
        "out_trade_no": "T1",
        "trade_no": "2026112222001400000000000001",
        "trade_status": "TRADE_SUCCESS",
        "total_fee": "128.00",
        "currency": "HKD",
    },
    "RSA2",
    KEY,
)
REQUEST = (
    b"POST /n/%b HTTP/1.1\r\nHost: pay.example\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (TOKEN.encode(), len(NOTIFICATION), NOTIFICATION)
)


@dataclass
class Hanging:
    """An inbox that never acknowledges, and knows no deadline of its own."""

    asked: asyncio.Event = field(default_factory=asyncio.Event)
    is_ready: bool = True
    is_answering: bool = True

    async def append(self, record: Record) -> None:
        """As `InboxAppender`."""
        self.asked.set()
        await asyncio.Event().wait()

    def give_up_after(self, timeout_s: float) -> None:
        """Never."""


def settings_in(folder: Path, *, append_timeout_s: float, asks: bool = False) -> Settings:
    """Settings of one channel."""
    pem = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / "alipayhk.pem").write_bytes(pem)
    file = folder / "notifier.toml"
    file.write_text(f"""
[ingress]
append_timeout_s = {append_timeout_s}
[[channels]]
name = "shop-hkd"
token = "{TOKEN}"
protocol = "mapi"
partner_id = "2088000000000001"
currency = "HKD"
sign_types = ["RSA2"]
keys = ["alipayhk.pem"]
{"verify_notify_id = true" if asks else ""}
{'gateway_url = "https://gateway.example/gateway.do"' if asks else ""}
""")
    return config.load(file, {})


async def test_what_cannot_be_made_durable_in_time_is_answered_before_its_connection_closes(tmp_path: Path) -> None:
    """Contract, section 4: 503 and Retry-After, not a reset."""
    inbox = Hanging()
    ingress = Ingress(settings_in(tmp_path, append_timeout_s=0.05), inbox)
    public = socket.create_server(("127.0.0.1", 0))
    async with asyncio.timeout(PATIENCE_S):
        async with ingress.open(public):
            reader, writer = await asyncio.open_connection(*public.getsockname())
            writer.write(REQUEST)
            await inbox.asked.wait()
        answer = await reader.read()
        writer.close()

    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nRetry-After: 1\r\n" in answer
    assert answer.endswith(b"\r\n\r\nfail")


@dataclass
class Quick:
    """An inbox that acknowledges at once."""

    records: list[Record] = field(default_factory=list)
    is_ready: bool = True
    is_answering: bool = True

    async def append(self, record: Record) -> None:
        """As `InboxAppender`."""
        self.records.append(record)

    def give_up_after(self, timeout_s: float) -> None:
        """Needs no time."""


@pytest.mark.parametrize("sent", ["before it was accepted", "before the end", "after the end had begun"])
async def test_what_was_on_its_way_when_the_end_began_is_answered(tmp_path: Path, sent: str) -> None:
    """A reset would be an attempt lost: AlipayHK sends again after minutes, and a proxy does not repeat a POST by itself."""
    inbox = Quick()
    ingress = Ingress(settings_in(tmp_path, append_timeout_s=2.5), inbox)
    public = socket.create_server(("127.0.0.1", 0))
    with socket.socket() as client:
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
            async with ingress.open(public):
                where = public.getsockname()
                if sent == "before it was accepted":
                    client.setblocking(True)
                    client.connect(where)
                    client.sendall(REQUEST)
                    client.setblocking(False)
                else:
                    await loop.sock_connect(client, where)
                    listener = ingress._listener
                    assert listener is not None
                    await spin(lambda: bool(listener.connections))
                if sent == "before the end":
                    client.send(REQUEST)
                if sent == "after the end had begun":
                    tasks.create_task(send_once_ending(client, public))
            answer = await loop.sock_recv(client, 1000)

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nConnection: close\r\n" in answer
    assert answer.endswith(b"success")
    assert [record.value for record in inbox.records] == [NOTIFICATION]


async def send_once_ending(client: socket.socket, public: socket.socket) -> None:
    """Send the request once the public socket is closed."""
    await spin(lambda: public.fileno() < 0)
    await spin()
    client.send(REQUEST)


@pytest.mark.parametrize("append_timeout_s", [0.05, 2.5, 60.0])
@pytest.mark.parametrize("asks", [False, True])
def test_nobody_is_killed_who_may_still_be_answering(tmp_path: Path, append_timeout_s: float, asks: bool) -> None:
    """An answer's longest time is the least that its worker is given, and that worker's the least that its parent is given."""
    settings = settings_in(tmp_path, append_timeout_s=append_timeout_s, asks=asks)
    longest_answer_s = append_timeout_s + ANSWER_EXTRA_S + (notify_verify.TIMEOUT_S if asks else 0.0)

    (ingress,) = children(Reloading(settings, lambda: settings), None)[0]

    assert finish_s_max(settings) == longest_answer_s
    assert ingress.stop_s_max() > finish_s_max(settings) + STOP_EXTRA_S
