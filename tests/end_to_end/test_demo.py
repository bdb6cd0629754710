"""`notifier demo` as a stranger starts it, short: real Kafka and Redis, real processes, and nothing left of them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

WHOLE_S_MAX = 150.0
"""A busy machine of two cores needs a quarter of it."""
_LOOK_EVERY_S = 0.05

INVARIANTS = {"S1", "S2", "S3", "S4", "S6", "S7", "S8", "S11"}


def demo(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    # What a shell starts in the background ignores Ctrl-C, and so do its children; a handler of ours is not inherited.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return subprocess.Popen(
        [sys.executable, "-m", "notifier", "demo", *arguments],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder of its own; whatever still runs out of it at the end is a failure."""
    yield tmp_path
    assert processes_of(tmp_path) == []


def processes_of(folder: Path) -> list[str]:
    """The command lines of the processes that work in a folder, or on a file in it (Linux; elsewhere nothing is looked at)."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            works_in = os.readlink(process / "cwd")
        except OSError:
            continue  # it is gone, or not ours to see
        if str(folder) in line or works_in.startswith(str(folder)):
            found.append(line)
    return found


def process_of(folder: Path, arguments: bytes) -> int:
    """The id of the one process that has these arguments and this folder on its command line."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes()
        except OSError:
            continue  # it is gone
        if str(folder).encode() in line and arguments in line:
            found.append(int(process.name))
    (one,) = found
    return one


def until_gone(folder: Path, within_s: float) -> None:
    """Wait for processes that nobody of ours is the parent of; the system says only when it is asked."""
    deadline = time.monotonic() + within_s
    while processes_of(folder):
        assert time.monotonic() < deadline, processes_of(folder)
        time.sleep(_LOOK_EVERY_S)


def test_all_that_must_hold_holds_and_one_document_says_so(folder: Path) -> None:
    """A merchant fails meanwhile, and one in twenty messages is forged."""
    running = demo(folder, "--orders", "200", "--rate", "100", "--json")

    out, told = running.communicate(timeout=WHOLE_S_MAX)

    assert running.returncode == 0, told
    summary = json.loads(out)
    assert summary.keys() == {
        "accepted",
        "rejected",
        "orders",
        "events",
        "deliveries",
        "seconds",
        "latency_ms",
        "invariants",
    }
    assert summary["invariants"].keys() == INVARIANTS
    assert all(one["checked"] > 0 and one["broken"] == 0 for one in summary["invariants"].values())
    assert summary["orders"] >= 200
    assert summary["rejected"] == summary["invariants"]["S2"]["checked"], (
        "each forgery was refused, and nothing else was"
    )
    assert 0 < summary["latency_ms"]["p50"] <= summary["latency_ms"]["p99"]
    assert "accepted" in told, "where no terminal is, lines tell how it goes"


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_nothing_is_left_however_it_ends(folder: Path, number: signal.Signals, status: int) -> None:
    """A signal while everything works: the servers and the pipeline's processes go with it."""
    running = demo(folder, "--orders", "1000", "--rate", "100")
    assert running.stdout is not None
    for line in running.stdout:
        if line.startswith("accepted"):
            break
    assert len(processes_of(folder)) >= 5, "the pipeline, Kafka and Redis"

    running.send_signal(number)
    _, told = running.communicate(timeout=WHOLE_S_MAX)

    assert running.returncode == status, told
    assert "Traceback" not in told
    until_gone(folder, within_s=45.0)


def test_a_process_that_dies_ends_it_with_its_last_words(folder: Path) -> None:
    running = demo(folder, "--orders", "1000", "--rate", "100")
    assert running.stdout is not None
    for line in running.stdout:
        if line.startswith("accepted"):
            break
    victim = process_of(folder, b"\0consume\0orders\0")

    os.kill(victim, signal.SIGKILL)
    _, told = running.communicate(timeout=WHOLE_S_MAX)

    assert running.returncode == 1, told
    assert "consume orders" in told
    assert str(folder / ".local" / "demo" / "logs" / "orders.log") in told
    assert "Traceback" not in told
