"""
The merchants' systems, in a process of their own: however busy AlipayHK is, they answer.

`shops` starts it; run as a program it is that process. What it was sent it writes to its standard output before it answers: an
object in MessagePack for each webhook, behind a length of four bytes.
"""

from __future__ import annotations

import asyncio
import struct
import sys
from asyncio import StreamReader
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import msgspec
import uvloop

from notifier.clock import SystemClock
from notifier.demo.history import Webhook
from notifier.demo.world.merchants import FAILING, MERCHANTS, BadDay, open_shops
from notifier.webhooks import Secret

_LENGTH = struct.Struct(">I")


class _Told(msgspec.Struct):
    """What the process begins with."""

    secrets: dict[str, str]
    fails_at: float
    ends_at: float


@asynccontextmanager
async def shops(
    secrets: Mapping[str, str], webhooks: list[Webhook], *, fails_at: float, ends_at: float
) -> AsyncIterator[dict[str, str]]:
    """
    The merchants for a block; the URL of each by its name. What they are sent comes into `webhooks`, in the order of answers.

    One of them answers 500 from `fails_at` to `ends_at`, in seconds from its first webhook.
    """
    begin = msgspec.json.encode(_Told(dict(secrets), fails_at, ends_at)).decode()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faults.shops", begin, stdin=PIPE, stdout=PIPE, start_new_session=True
    )
    out = process.stdout
    assert out is not None
    try:
        urls = msgspec.msgpack.decode(await _frame(out), type=dict[str, str])
        async with asyncio.TaskGroup() as tasks:
            taking = tasks.create_task(_take(out, webhooks))
            yield urls
            taking.cancel()
    finally:
        process.kill()
        await process.wait()


async def _frame(out: StreamReader) -> bytes:
    (length,) = _LENGTH.unpack(await out.readexactly(_LENGTH.size))
    return await out.readexactly(length)


async def _take(out: StreamReader, webhooks: list[Webhook]) -> None:
    decode = msgspec.msgpack.Decoder(Webhook).decode
    while True:
        webhooks.append(decode(await _frame(out)))


class _Written(list[Webhook]):
    """Writes down what is appended to it."""

    def append(self, webhook: Webhook) -> None:
        _write(webhook)


def _write(written: object) -> None:
    packed = msgspec.msgpack.encode(written)
    sys.stdout.buffer.write(_LENGTH.pack(len(packed)) + packed)
    sys.stdout.buffer.flush()


async def _serve(begin: _Told) -> None:
    def bad_day(merchant: str) -> BadDay | None:
        if merchant != FAILING:
            return None
        return BadDay(fails_at=begin.fails_at, hangs_at=begin.ends_at, ends_at=begin.ends_at)

    secrets = [Secret.parse(begin.secrets[merchant.name]) for merchant in MERCHANTS]
    async with open_shops(secrets, _Written(), bad_day, SystemClock()) as urls:
        _write(urls)
        # until the process that started it is gone
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(msgspec.json.decode(sys.argv[1], type=_Told)))
