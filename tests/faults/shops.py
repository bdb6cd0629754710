"""
The merchants' systems, in a process of their own: however busy AlipayHK is, they answer.

`shops` starts it; run as a program it is that process. What it was sent it writes to its standard output before it answers: an
object in MessagePack for each webhook, behind a length of four bytes. Before each merchant stands a `Front`, whose mood it is
told by a line of JSON on its standard input.
"""

from __future__ import annotations

import asyncio
import struct
import sys
from asyncio import StreamReader, StreamReaderProtocol, StreamWriter
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import msgspec
import uvloop

from notifier.clock import SystemClock
from notifier.demo.history import Webhook
from notifier.demo.world.merchants import FAILING, MERCHANTS, BadDay, open_shops
from notifier.webhooks import Secret
from tests.faults.moods import Front, Mood

_LENGTH = struct.Struct(">I")


class _Told(msgspec.Struct):
    """What the process begins with."""

    secrets: dict[str, str]
    fails_at: float
    ends_at: float


@dataclass(frozen=True, slots=True)
class Shops:
    """The merchants: the URL of each by its name."""

    urls: dict[str, str]
    _tell: StreamWriter

    async def be(self, moods: Mapping[str, Mood]) -> None:
        """Let these merchants be in these moods, and all others well."""
        self._tell.write(msgspec.json.encode(moods) + b"\n")
        await self._tell.drain()


@asynccontextmanager
async def shops(
    secrets: Mapping[str, str], webhooks: list[Webhook], *, fails_at: float, ends_at: float
) -> AsyncIterator[Shops]:
    """
    The merchants for a block. What they are sent comes into `webhooks`, in the order of answers.

    One of them answers 500 from `fails_at` to `ends_at`, in seconds from its first webhook.
    """
    begin = msgspec.json.encode(_Told(dict(secrets), fails_at, ends_at)).decode()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faults.shops", begin, stdin=PIPE, stdout=PIPE, start_new_session=True
    )
    out, its_input = process.stdout, process.stdin
    assert out is not None
    assert its_input is not None
    try:
        urls = msgspec.msgpack.decode(await _frame(out), type=dict[str, str])
        async with asyncio.TaskGroup() as tasks:
            taking = tasks.create_task(_take(out, webhooks))
            yield Shops(urls, its_input)
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
        fronts = {name: Front(url) for name, url in urls.items()}
        for front in fronts.values():
            await front.open()
        _write({name: front.url for name, front in fronts.items()})
        told = StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: StreamReaderProtocol(told), sys.stdin)
        # until the process that started it is gone
        while line := await told.readline():
            moods = msgspec.json.decode(line, type=dict[str, Mood])
            for name, front in fronts.items():
                await front.be(moods.get(name, Mood.WELL))


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(msgspec.json.decode(sys.argv[1], type=_Told)))
