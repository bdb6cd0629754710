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


@pytest.mark.parametrize("append_timeout_s", [0.05, 2.5, 60.0])
@pytest.mark.parametrize("asks", [False, True])
def test_nobody_is_killed_who_may_still_be_answering(tmp_path: Path, append_timeout_s: float, asks: bool) -> None:
    """An answer's longest time is the least that its worker is given, and that worker's the least that its parent is given."""
    settings = settings_in(tmp_path, append_timeout_s=append_timeout_s, asks=asks)
    longest_answer_s = append_timeout_s + ANSWER_EXTRA_S + (notify_verify.TIMEOUT_S if asks else 0.0)

    (ingress,) = children(Reloading(settings, lambda: settings), None)[0]

    assert finish_s_max(settings) == longest_answer_s
    assert ingress.stop_s_max() > finish_s_max(settings) + STOP_EXTRA_S
