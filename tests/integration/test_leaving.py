"""A process that is told to end is gone in time, whatever holds it up."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from textwrap import indent

import pytest

GONE_WITHIN_S = 20.0

_KEPT = """while True:
    with suppress(asyncio.CancelledError):
        await asyncio.Event().wait()
"""

_PROCESS = """
import asyncio, logging, sys, threading, time
from contextlib import suppress
from consumers.leaving import LastResort
from notifier import logs
from notifier.app import Stop, run

async def holds_up(begun):
    begun.set()
{how}

async def main(last_resort):
    stop, begun = Stop(then=last_resort.begin), asyncio.Event()
    stop.say("the test")
    async with asyncio.TaskGroup() as tasks:
        held = tasks.create_task(holds_up(begun))
        await begun.wait()
        held.cancel()

logs.configure(service="fanout", instance="test", format="json", level="info")
with LastResort(0.3) as last_resort:
    run(main(last_resort))
"""

_LOOKUP = """
import asyncio, socket, time
from consumers.client import Client

def hangs(*_, **__):
    time.sleep(600)

socket.getaddrinfo = hangs

async def main():
    async with Client() as client:
        print((await client.post("https://hooks.example.com/", {}, b"", timeout_s=0.2)).error)

asyncio.run(main())
"""


def left(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=GONE_WITHIN_S, check=False
    )


@pytest.mark.parametrize(
    "how",
    [
        pytest.param(_KEPT, id="a task that keeps its cancellation for itself"),
        pytest.param("await asyncio.to_thread(time.sleep, 600)", id="a thread that Python waits for"),
        pytest.param("time.sleep(600)", id="the loop itself"),
    ],
)
def test_it_leaves_and_says_what_held_it_up(how: str) -> None:
    """A fan-out that had handed its partitions back was still there after twenty seconds, and nothing said why."""
    gone = left(_PROCESS.format(how=indent(how, "    ")))

    assert gone.returncode == 1, gone.stderr
    (line,) = [json.loads(line) for line in gone.stdout.splitlines()]
    assert line["event"] == "service.cut_off"
    assert set(line["waiting_for"]) & {"holds_up", "main", "Loop.shutdown_default_executor"}


def test_a_name_that_hangs_keeps_no_process() -> None:
    """Python waits for the threads of a pool before it ends; a resolver whose servers do not answer takes half a minute."""
    began = time.monotonic()
    gone = left(_LOOKUP)

    assert gone.stdout.strip() == "timeout"
    assert gone.returncode == 0, gone.stderr
    assert time.monotonic() - began < GONE_WITHIN_S
