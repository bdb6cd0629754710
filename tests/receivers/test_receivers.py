"""
The receivers of the README, as they are printed there, against webhooks as fan-out signs them: what holds in one language holds
in each. The Python one always runs; another one where its language and library can be had.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest

from notifier import webhooks
from notifier.clock import SystemClock
from notifier.local.ports import free_ports
from notifier.webhooks import Secret
from tests.golden import make
from tests.receivers.programs import PROGRAMS, Program, printed

UP_S_MAX, STOP_S_MAX, ANSWER_S_MAX = 60.0, 30.0, 30.0
"""A busy machine starts an interpreter in a third of it."""

OURS, NEXT = make.SECRETS
STRANGERS = "whsec_" + "c3RyYW5nZXI" * 4
SHIPPED = "ship shop-hkd/T20260001: 12800 HKD"


class DidNotStart(AssertionError):
    """A receiver that ended before it listened; it says why."""


@dataclass
class Webhook:
    """One webhook, before it is signed."""

    body: bytes = field(default_factory=lambda: make.from_text((make.FOLDER / "webhook.request").read_bytes()).value)

    def signed(self, *secrets: str, age_s: int = 0) -> dict[str, str]:
        """Headers as fan-out would send them so long ago."""
        now_s = round(SystemClock().now().timestamp())
        webhook_id = json.loads(self.body)["id"]
        return webhooks.headers([Secret.parse(one) for one in secrets], webhook_id, now_s - age_s, self.body)

    @classmethod
    def of(cls, version: int, event_type: str, status: str) -> Webhook:
        """Another event of that order."""
        event = json.loads(cls().body)
        event |= {"id": f"evt_{version:032x}", "type": event_type, "version": version}
        event["data"] |= {"version": version, "status": status}
        return cls(json.dumps(event, ensure_ascii=False).encode())


@dataclass
class Receiver:
    """A receiver that runs, and what it did."""

    folder: Path
    port: int
    http: aiohttp.ClientSession
    shipped: list[str] = field(default_factory=list)
    """Known when it has ended."""

    async def post(self, body: bytes, headers: Mapping[str, str]) -> int:
        """POST one webhook; the status that it is answered with."""
        async with self.http.post(f"http://127.0.0.1:{self.port}/", data=body, headers=headers) as answer:
            return answer.status

    async def tell(self, webhook: Webhook) -> int:
        """POST one as it should be."""
        return await self.post(webhook.body, webhook.signed(OURS))


@pytest.fixture(scope="module", params=PROGRAMS)
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Program:
    """Made ready once for all tests of this file."""
    language = cast(str, request.param)
    return PROGRAMS[language](tmp_path_factory.mktemp(language))


@asynccontextmanager
async def receiving(program: Program, database: Path, secret: str = OURS) -> AsyncIterator[Receiver]:
    """The receiver, up, until the block ends."""
    [port] = free_ports(1)
    inherited = dict(os.environ)  # noqa: TID251 - toolchains look for their homes there
    env = inherited | dict(program.env) | {"WEBHOOK_SECRET": secret, "PORT": str(port), "DATABASE": str(database)}
    process = await asyncio.create_subprocess_exec(
        *program.command(port), cwd=program.folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_S_MAX)) as http:
            await _until_it_listens(process, port)
            receiver = Receiver(program.folder, port, http)
            yield receiver
    finally:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(STOP_S_MAX):
            out, err = await process.communicate()
        sys.stdout.write(
            f"----- what the receiver said\n{out.decode()}{err.decode()}"
        )  # pytest shows it where a test failed
    receiver.shipped += [line for line in out.decode().splitlines() if line.startswith("ship ")]
    receiver.shipped += _rows_to_ship(database)


def _rows_to_ship(database: Path) -> list[str]:
    """What a receiver with tables did."""
    if not database.exists():
        return []
    with closing(sqlite3.connect(database)) as db:
        return [f"ship {name}: {paid} {currency}" for name, paid, currency in db.execute("select * from to_ship")]


async def _until_it_listens(process: asyncio.subprocess.Process, port: int) -> None:
    async with asyncio.timeout(UP_S_MAX):
        while process.returncode is None:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.01)  # a port tells nobody that it is listened on
            else:
                writer.close()
                await writer.wait_closed()
                return
    assert process.stderr is not None
    raise DidNotStart((await process.stderr.read()).decode())


async def test_what_is_told_twice_is_done_once(program: Program, tmp_path: Path) -> None:
    """The second time under the same id and body, with a fresh timestamp and signature: as after a 2xx that was lost."""
    paid = Webhook()
    async with receiving(program, tmp_path / "shop.db") as receiver:
        first = await receiver.post(paid.body, paid.signed(OURS, age_s=240))
        second = await receiver.post(paid.body, paid.signed(OURS))

    assert (first, second) == (204, 204)
    assert receiver.shipped == [SHIPPED]


@pytest.mark.parametrize("secrets", [(OURS, NEXT), (NEXT, OURS)], ids=["the old one first", "the new one first"])
async def test_while_a_secret_is_changed_either_one_is_enough(
    program: Program, tmp_path: Path, secrets: tuple[str, str]
) -> None:
    paid = Webhook()
    for own in secrets:
        async with receiving(program, tmp_path / f"{secrets.index(own)}.db", own) as receiver:
            assert await receiver.post(paid.body, paid.signed(*secrets)) == 204

        assert receiver.shipped == [SHIPPED]


async def test_what_is_not_ours_is_answered_401_and_does_nothing(program: Program, tmp_path: Path) -> None:
    paid = Webhook()
    good = paid.signed(OURS)
    forged = {
        "another body": (paid.body.replace(b"12800", b"1"), good),
        "a body written anew": (json.dumps(json.loads(paid.body)).encode(), good),
        "a stranger's secret": (paid.body, paid.signed(STRANGERS)),
        "a replay of last hour": (paid.body, paid.signed(OURS, age_s=3600)),
        "of the next hour": (paid.body, paid.signed(OURS, age_s=-3600)),
        "another id": (paid.body, good | {"webhook-id": "evt_other"}),
        "another time": (paid.body, good | {"webhook-timestamp": str(int(good["webhook-timestamp"]) - 1)}),
        "a time that is none": (paid.body, good | {"webhook-timestamp": "soon"}),
        "a signature without a version": (paid.body, good | {"webhook-signature": good["webhook-signature"][3:]}),
        "of a version that is not known": (paid.body, good | {"webhook-signature": "v9,AAAA"}),
        "not even base64": (paid.body, good | {"webhook-signature": "v1,!"}),
        "a version alone": (paid.body, good | {"webhook-signature": "v1"}),
        "words": (paid.body, good | {"webhook-signature": "let me in"}),
        "no body": (b"", good),
        "no text": (b"\xff\xfe", good),
    } | {f"without {name}": (paid.body, good | {name: ""}) for name in good if name.startswith("webhook-")}

    async with receiving(program, tmp_path / "shop.db") as receiver:
        statuses = {why: await receiver.post(*one) for why, one in forged.items()}

    assert statuses == dict.fromkeys(forged, 401)
    assert receiver.shipped == []


async def test_without_a_secret_nobody_is_believed(program: Program, tmp_path: Path) -> None:
    """Some of the libraries take an empty secret for one: whoever signs with nothing would be believed."""
    paid = Webhook()
    signed = paid.signed(OURS)
    by_nobody = webhooks.sign([Secret(b"")], signed["webhook-id"], int(signed["webhook-timestamp"]), paid.body)
    answered = None
    with suppress(DidNotStart):
        async with receiving(program, tmp_path / "shop.db", secret="") as receiver:
            answered = await receiver.post(paid.body, signed | {"webhook-signature": by_nobody})

    assert answered in (None, 500)
    assert _rows_to_ship(tmp_path / "shop.db") == []


@pytest.mark.parametrize(
    ("told", "shipped"),
    [
        pytest.param([(1, "order.pending", "pending"), (2, "order.paid", "paid")], [SHIPPED], id="as it goes"),
        pytest.param([(3, "order.finalized", "paid"), (2, "order.paid", "paid")], [SHIPPED], id="paid comes late"),
        pytest.param([(3, "order.refunded", "refunded"), (2, "order.paid", "paid")], [], id="refunded meanwhile"),
        pytest.param([(2, "order.paid", "paid"), (1, "order.pending", "pending")], [SHIPPED], id="what is older"),
        pytest.param([(2, "order.paid", "paid"), (3, "order.finalized", "paid")], [SHIPPED], id="news of a paid order"),
    ],
)
async def test_the_version_says_what_is_newer_and_order_paid_what_to_do(
    program: Program, tmp_path: Path, told: list[tuple[int, str, str]], shipped: list[str]
) -> None:
    """A dead letter that is sent again comes after newer versions: it is still acted on once, unless they say otherwise."""
    async with receiving(program, tmp_path / "shop.db") as receiver:
        statuses = [await receiver.tell(Webhook.of(*one)) for one in told]

    assert statuses == [204] * len(told)
    assert receiver.shipped == shipped


async def test_a_request_that_breaks_off_leaves_the_receiver_standing(program: Program, tmp_path: Path) -> None:
    """What fan-out does at its deadline."""
    async with receiving(program, tmp_path / "shop.db") as receiver:
        reader, writer = await asyncio.open_connection("127.0.0.1", receiver.port)
        writer.write(b"POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 1000\r\n\r\n{")
        writer.write_eof()
        async with asyncio.timeout(ANSWER_S_MAX):
            await reader.read()  # until it has noticed, and hung up
        writer.close()
        await writer.wait_closed()

        assert await receiver.tell(Webhook()) == 204

    assert receiver.shipped == [SHIPPED]


def test_this_packages_own_reader_knows_ours_from_others(tmp_path: Path) -> None:
    path = tmp_path / "of_the_readme.py"
    path.write_text(printed("python")[1], encoding="utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    read = cast(Callable[[Mapping[str, str], bytes, list[str]], dict[str, Any] | None], module.read_webhook)
    paid = Webhook()
    signed = paid.signed(OURS, NEXT)

    assert read(signed, paid.body, [OURS]) == json.loads(paid.body)
    assert read(signed, paid.body, [STRANGERS, NEXT]) == json.loads(paid.body)
    assert read(signed, paid.body + b" ", [OURS, NEXT]) is None
