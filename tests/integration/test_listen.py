"""The merchant's sink: what is signed is believed and shown, what is not is shown and refused."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from types import MappingProxyType

import pytest

from consumers.client import Answer, Client
from notifier.cli.listen import BODY_BYTES_MAX, Sink, Webhook, serve
from notifier.local.ports import free_ports
from notifier.webhooks import Secret, headers

WITHIN_S = 60.0
"""What a command is waited for: interpreters start slowly on a busy machine."""
NOW = datetime(2026, 11, 22, 9, 30, 5, tzinfo=UTC)
SECRET = Secret(b"a merchant's secret of 32 bytes.")
FORGERS = Secret(b"a forger's secret of 32 bytes...")
EVENT_ID = "evt_0123456789abcdef0123456789abcdef"

ORDER = {"channel": "shop-hkd", "order": "T1", "status": "paid", "amount": 12800, "currency": "HKD", "refunds": []}
EVENT = {
    "type": "order.paid",
    "timestamp": "2026-11-22T09:30:05.000000Z",
    "data": ORDER,
    "id": EVENT_ID,
    "version": 2,
    "flags_added": [],
}
BODY = json.dumps(EVENT).encode()


class StoppedClock:
    """It is always the same moment."""

    def now(self) -> datetime:
        return NOW

    def now_ms(self) -> int:
        return int(NOW.timestamp() * 1000)


class Screen:
    """A running sink: what it shows, and a client that posts to it."""

    def __init__(self, port: int, client: Client) -> None:
        self.shown: list[Webhook] = []
        self._url = f"http://127.0.0.1:{port}/hooks/alipayhk"
        self._client = client

    async def post(
        self, body: bytes = BODY, secret: Secret = SECRET, changed: Mapping[str, str] = MappingProxyType({})
    ) -> Answer:
        signed = headers([secret], EVENT_ID, int(NOW.timestamp()), body)
        return await self._client.post(self._url, signed | dict(changed), body, timeout_s=WITHIN_S)


@asynccontextmanager
async def listening(*secrets: Secret, status: int = 204, delay_s: float = 0.0) -> AsyncIterator[Screen]:
    stop, up = asyncio.Event(), asyncio.Event()
    (port,) = free_ports(1)
    async with Client(allow_networks=[ip_network("127.0.0.0/8")]) as client, asyncio.timeout(WITHIN_S):
        screen = Screen(port, client)
        sink = Sink(secrets, StoppedClock(), screen.shown.append, status=status, delay_s=delay_s)
        async with asyncio.TaskGroup() as group:
            group.create_task(serve(port, sink, up.set, stop))
            await up.wait()
            yield screen
            stop.set()


async def test_a_webhook_of_ours_is_verified_and_shown_on_one_line() -> None:
    async with listening(FORGERS, SECRET) as screen:
        answer = await screen.post()

    assert answer.status_code == 204
    [webhook] = screen.shown
    assert webhook.line.split()[1:6] == ["order.paid", "T1", "v2", "HK$128.00", "paid"]
    assert "verified" in webhook.line
    assert "NOT" not in webhook.line
    assert "\n" not in webhook.line


async def test_it_can_be_a_system_that_fails_or_is_slow_and_still_verifies() -> None:
    async with listening(SECRET, status=410, delay_s=0.2) as screen:
        answer = await screen.post()
        forged = await screen.post(secret=FORGERS)

    assert (answer.status_code, forged.status_code) == (410, 401)
    assert answer.duration_ms >= 200.0


async def test_for_programs_it_is_one_object_with_the_contracts_names() -> None:
    async with listening(SECRET) as screen:
        await screen.post()

    assert json.loads(screen.shown[0].json) == {
        "received_at": "2026-11-22T09:30:05.000000Z",
        "event_id": EVENT_ID,
        "type": "order.paid",
        "channel": "shop-hkd",
        "order": "T1",
        "version": 2,
        "status": "paid",
        "amount": 12800,
        "currency": "HKD",
        "flags_added": [],
        "verified": True,
        "reason": None,
    }


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        pytest.param({"webhook-id": "evt_other"}, "no signature matches", id="another id"),
        pytest.param(
            {"webhook-timestamp": "1"},
            f"webhook-timestamp is too old: {NOW.timestamp() - 1:.0f} s from this clock",
            id="a replay",
        ),
        pytest.param({"webhook-signature": "v1,AAAA"}, "no signature matches", id="no signature of ours"),
        pytest.param({"webhook-signature": ""}, "webhook-signature is missing", id="none at all"),
    ],
)
async def test_what_is_not_ours_is_answered_401_and_says_why(changed: dict[str, str], why: str) -> None:
    async with listening(SECRET) as screen:
        answer = await screen.post(changed=changed)

    assert answer.status_code == 401
    assert screen.shown[0].line.endswith(f"NOT verified: {why}\x1b[0m")
    assert json.loads(screen.shown[0].json)["reason"] == why


async def test_another_secret_is_not_believed() -> None:
    async with listening(SECRET) as screen:
        answer = await screen.post(secret=FORGERS)

    assert answer.status_code == 401


async def test_without_an_endpoint_of_this_port_nothing_is_believed_and_the_reason_is_that() -> None:
    async with listening() as screen:
        answer = await screen.post()

    assert answer.status_code == 401
    assert screen.shown[0].fault == "no endpoint of the settings has this port"


async def test_a_body_over_the_bound_is_not_read() -> None:
    async with listening(SECRET) as screen:
        answer = await screen.post(b"x" * (BODY_BYTES_MAX + 1))

    assert not answer.is_accepted
    assert screen.shown == []


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xff\xfe", id="no text"),
        pytest.param(b'{"type": 1}', id="another shape"),
        pytest.param(b'{"type": "endpoint.ping"}', id="about no order"),
        pytest.param(b"[" * 100_000, id="deep"),
        pytest.param(b'{"version": ' + b"9" * 5000 + b"}", id="more digits than int() likes"),
        pytest.param(b'{"data": {"amount": 1, "currency": "HK\\n"}}', id="a currency that is none"),
    ],
)
async def test_what_is_signed_and_no_order_event_is_shown_with_what_it_has(body: bytes) -> None:
    async with listening(SECRET) as screen:
        answer = await screen.post(body)

    assert answer.status_code == 204
    assert "verified" in screen.shown[0].line
    assert json.loads(screen.shown[0].json)["order"] is None


async def test_nothing_in_a_webhook_moves_the_cursor() -> None:
    nasty = json.dumps(EVENT | {"type": "\x1b[2Jorder\r\nforged", "flags_added": ["\x07"]}).encode()
    async with listening(SECRET) as screen:
        await screen.post(nasty, secret=FORGERS)

    line = screen.shown[0].line
    assert "?[2Jorder??forged" in line
    assert "+?" in line
    assert not {"\r", "\n", "\x07"} & set(line)


@pytest.mark.parametrize(
    ("amount", "currency", "shown"),
    [
        (12800, "HKD", "HK$128.00"),
        (5, "HKD", "HK$0.05"),
        (100_000_000, "CNY", "CN¥1,000,000.00"),
        (128, "JPY", "JP¥128"),
        (1500, "KWD", "KWD 1.500"),
        (None, "HKD", "-"),
    ],
)
def test_money_is_shown_as_people_write_it(amount: int | None, currency: str, shown: str) -> None:
    event = EVENT | {"data": ORDER | {"amount": amount, "currency": currency}}

    assert f"  {shown}  paid" in Webhook.of(NOW, EVENT_ID, json.dumps(event).encode(), fault=None).line


# --- the command -----------------------------------------------------------------------------------------------------------


def write_settings(folder: Path, port: int) -> Path:
    path = folder / "notifier.toml"
    path.write_text(f"""
[delivery]
allow_networks = ["127.0.0.0/8"]

[[endpoints]]
name = "shop-oms"
url = "http://127.0.0.1:{port}/"
allow_http = true
channels = ["*"]
secrets = ["whsec_YSBtZXJjaGFudCdzIHNlY3JldCBvZiAzMiBieXRlcy4="]
""")
    return path


async def run_listen(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "notifier", "listen", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_command_shows_a_webhook_and_ends_by_itself(number: signal.Signals, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    async with asyncio.timeout(WITHIN_S), Client(allow_networks=[ip_network("127.0.0.0/8")]) as client:
        process = await run_listen("--port", str(port), "--json", "--config", str(write_settings(tmp_path, port)))
        assert process.stdout is not None
        assert process.stderr is not None
        greeting = (await process.stderr.readline()).decode()
        now = int(datetime.now(UTC).timestamp())  # noqa: TID251 - the command reads the machine's clock
        answer = await client.post(
            f"http://127.0.0.1:{port}/", headers([SECRET], EVENT_ID, now, BODY), BODY, timeout_s=WITHIN_S
        )
        shown = json.loads(await process.stdout.readline())
        process.send_signal(number)
        rest, complaints = await process.communicate()

    assert "verifying as shop-oms" in greeting
    assert answer.status_code == 204
    assert (shown["order"], shown["verified"]) == ("T1", True)
    assert (process.returncode, rest, complaints) == (0, b"", b"")


async def test_a_port_in_use_is_one_clear_message(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        async with asyncio.timeout(WITHIN_S):
            process = await run_listen("--port", str(port), "--config", str(write_settings(tmp_path, port)))
            shown, complaint = await process.communicate()

    assert process.returncode == 1
    assert shown == b""
    assert complaint.decode().startswith(f"notifier: port {port} is in use.")
    assert complaint.count(b"\n") == 1


async def test_settings_that_are_wrong_are_told_with_status_2(tmp_path: Path) -> None:
    path = tmp_path / "notifier.toml"
    path.write_text("[delivery]\ntimeout = 1\n")

    async with asyncio.timeout(WITHIN_S):
        process = await run_listen("--config", str(path))
        _, complaint = await process.communicate()

    assert process.returncode == 2
    assert complaint.startswith(b"notifier: 1 fault in the settings:\n")
    assert b"[delivery] timeout: is not a setting" in complaint
