"""
The processes that are measured, one role each. Started by `tests.benchmarks.process`, not by hand.

Standard input is a socket to the parent: for each byte that comes, the process answers with the CPU seconds that it has used.
When the parent is gone, so is the process.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import aiohttp
import msgspec
import uvloop
from aiohttp import web

from consumers.app import run_consume
from consumers.fanout import LANES
from consumers.orders import ORDERS
from consumers.view import View
from notifier.app import run, run_serve
from notifier.config import load
from notifier.kafka.access import Access
from notifier.kafka.producer import Producer
from notifier.kafka.reader import Reader
from notifier.topics import Topics
from notifier.views import RedisViews

CPU = struct.Struct("<d")


def main(arguments: list[str]) -> None:
    """Play the role that the first argument names."""
    role, *rest = arguments
    threading.Thread(target=_answer, daemon=True).start()
    _ROLES[role](*rest)


def _answer() -> None:
    with socket.socket(fileno=0) as line:
        while line.recv(1):
            line.sendall(CPU.pack(time.process_time()))
    os.kill(os.getpid(), signal.SIGTERM)


def _serve(settings: str) -> None:
    run_serve(load(Path(settings), {}))


def _orders(settings: str) -> None:
    run_consume("orders", load(Path(settings), {}))


def _fanout(settings: str) -> None:
    run_consume("fanout", load(Path(settings), {}))


def _bare_server(port: str) -> None:
    """An aiohttp handler that only reads the body: what the ingress' HTTP costs where nothing is done with it."""

    async def handle(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(text="success")

    app = web.Application()
    app.router.add_post("/n/{token}", handle)
    web.run_app(
        app,
        host="127.0.0.1",
        port=int(port),
        access_log=None,
        print=lambda _: None,
        loop=uvloop.new_event_loop(),
    )


class Rebuilt(msgspec.Struct):
    """What it took to build a view from nothing."""

    seconds: float
    cpu_s: float


def _view(settings_file: str, job: str, partition: str) -> None:
    """Build a view from its log, with the real adapters and in a process set up as a job's is, and print what it took."""
    settings = load(Path(settings_file), {})
    topics = Topics(settings.kafka.topic_prefix)
    topic, merging = (topics.orders, ORDERS) if job == "orders" else (topics.deliveries, LANES)
    access = Access.to(settings.kafka, "benchmark-view")

    async def rebuild() -> None:
        reader = Reader(access)
        store = RedisViews(settings.redis.url, key_prefix=settings.redis.key_prefix)
        try:
            async with Producer(access, service="benchmark", timeout_s=60.0) as producer:
                view = View(topic, int(partition), merging, store=store, reader=reader, appender=producer)
                began, cpu_before = time.perf_counter(), time.process_time()
                await view.open(0)
                rebuilt = Rebuilt(time.perf_counter() - began, time.process_time() - cpu_before)
                sys.stdout.write(msgspec.json.encode(rebuilt).decode())
        finally:
            await reader.close()
            await store.close()

    run(rebuild())


class Posts(msgspec.Struct):
    """What the bare client has to do: `count` POSTs of one body, `at_once` of them in flight, after `warm_up` others."""

    url: str
    headers: dict[str, str]
    body: str
    count: int
    warm_up: int
    at_once: int


def _bare_client(posts: str) -> None:
    """POST one body again and again with an aiohttp session, and print the CPU seconds that each took."""
    todo = msgspec.json.decode(posts, type=Posts)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sys.stdout.write(f"{runner.run(_post(todo))!r}\n")


async def _post(todo: Posts) -> float:
    body = todo.body.encode()

    async def post(count: int) -> None:
        for _ in range(count):
            async with session.post(todo.url, data=body, headers=todo.headers) as response:
                await response.read()

    async def all_of(count: int) -> float:
        began = time.process_time()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(todo.at_once):
                tasks.create_task(post(count // todo.at_once))
        return (time.process_time() - began) / (count // todo.at_once * todo.at_once)

    async with aiohttp.ClientSession() as session:
        await all_of(todo.warm_up)
        return await all_of(todo.count)


_ROLES: dict[str, Callable[..., None]] = {
    "serve": _serve,
    "orders": _orders,
    "fanout": _fanout,
    "view": _view,
    "bare-server": _bare_server,
    "bare-client": _bare_client,
}


if __name__ == "__main__":
    main(sys.argv[1:])
