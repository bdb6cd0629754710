"""Services kept alive, ended in order, and never left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence

import pytest

from notifier.app import Stop
from notifier.processes import keeping
from notifier.processes.supervisor import Child, supervise

WITHIN_S = 60.0
"""What an end that has to come is waited for: interpreters start slowly on a busy machine."""


def child(name: str, code: str, stop_s_max: float = 10.0) -> Child:
    """A child that runs this, with a way to say a line at once and to wait for its end."""
    start = "import signal, sys\ndef say(word): print(word, flush=True)\n"
    return Child(name, lambda _: (sys.executable, "-c", start + code), lambda: stop_s_max)


ENDS_IN_ORDER = """
def end(*_):
    say("ends")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
say("works")
while True: signal.pause()
"""
HANGS = """
signal.signal(signal.SIGTERM, lambda *_: say("does not care"))
say("works")
while True: signal.pause()
"""
DIES = 'say("works"); sys.exit(3)'
BEATS = """
import asyncio, os, time
from notifier.processes import heart
heart.BEAT_EVERY_S = 0.01
heart.beat_to(0)
async def main(then_s, then):
    say("works")
    await asyncio.sleep(then_s)
    then()
    await asyncio.Event().wait()
with asyncio.Runner() as runner:
    heart.begin(runner.get_loop())
    runner.run(main({then}))
"""


class Console:
    """What the children said; stops the supervisor once each of these has said a word at least so often."""

    def __init__(self, stop: Stop, word: str, times: Mapping[str, int]) -> None:
        self.lines: list[tuple[str, str]] = []
        self._stop = stop
        self._wanted = Counter({(name, word): count for name, count in times.items()})

    def show(self, name: str, line: bytes) -> None:
        """Take a line."""
        self.lines.append((name, line.decode().strip()))
        if Counter(self.lines) >= self._wanted:
            self._stop.say("test")


async def run_until(word: str, times: Mapping[str, int], stages: Sequence[Sequence[Child]]) -> list[tuple[str, str]]:
    """Supervise until each of these children has said a word so often; all that was said."""
    stop = Stop()
    console = Console(stop, word, times)
    try:
        async with asyncio.timeout(WITHIN_S):
            await supervise(stages, console.show, stop)
    except TimeoutError:
        raise AssertionError(f"in vain; they said {console.lines}") from None
    return console.lines


async def test_a_child_that_dies_is_started_again(capfd: pytest.CaptureFixture[str]) -> None:
    """And a log line says so, with its exit status."""
    said = await run_until("works", {"orders": 2}, [[child("orders", DIES)]])

    assert said == [("orders", "works")] * 2
    logged = capfd.readouterr().err
    assert "child.exited" in logged
    assert "child=orders" in logged
    assert "status=3" in logged
    assert "reason='it ended with status 3'" in logged


async def test_a_child_that_dies_costs_the_others_nothing() -> None:
    stages = [[child("ingress", ENDS_IN_ORDER)], [child("orders", DIES)]]

    said = await run_until("works", {"ingress": 1, "orders": 2}, stages)

    assert said.count(("ingress", "works")) == 1
    assert said.count(("ingress", "ends")) == 1


async def test_each_stage_is_gone_before_the_next_is_told() -> None:
    stages = [[child("ingress", ENDS_IN_ORDER)], [child("orders", ENDS_IN_ORDER), child("fanout", ENDS_IN_ORDER)]]

    said = await run_until("works", {"ingress": 1, "orders": 1, "fanout": 1}, stages)

    ended = [name for name, word in said if word == "ends"]
    assert ended[0] == "ingress"
    assert sorted(ended[1:]) == ["fanout", "orders"]


async def test_a_child_that_does_not_end_is_killed(capfd: pytest.CaptureFixture[str]) -> None:
    """Its time is bounded, so the end of the whole is."""
    said = await run_until("works", {"fanout": 1}, [[child("fanout", HANGS, stop_s_max=2.0)]])

    assert ("fanout", "does not care") in said
    assert "child.killed" in capfd.readouterr().err


@pytest.mark.parametrize(
    "then",
    [
        pytest.param("lambda: os.kill(os.getpid(), signal.SIGSTOP)", id="it is stopped"),
        pytest.param("lambda: time.sleep(3600)", id="its event loop is blocked"),
    ],
)
async def test_a_child_that_hangs_is_killed_and_started_again(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    """And a line says why."""
    monkeypatch.setattr(keeping, "LOOK_EVERY_S", 0.25)  # so it has six seconds to start

    said = await run_until(
        "works", {"orders": 2}, [[child("orders", BEATS.format(then=f"0.0, {then}"), stop_s_max=0.1)]]
    )

    assert said == [("orders", "works")] * 2
    logged = capfd.readouterr().err
    assert "child.hung               child=orders" in logged
    assert "reason='it was killed by SIGKILL'" in logged


async def test_a_child_whose_heart_beats_is_left_alone(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """For twice as long as one that hangs is."""
    monkeypatch.setattr(keeping, "LOOK_EVERY_S", 0.5)

    said = await run_until("still", {"orders": 1}, [[child("orders", BEATS.format(then='6.0, lambda: say("still")'))]])

    assert said == [("orders", "works"), ("orders", "still")]
    assert "child.hung" not in capfd.readouterr().err


async def test_a_child_that_died_while_we_stop_is_not_started_again() -> None:
    """The stop comes during the wait for the next start."""
    said = await run_until("works", {"orders": 1}, [[child("orders", DIES)]])

    assert said == [("orders", "works")]


async def test_nothing_is_left_running_where_the_supervisor_itself_fails(capfd: pytest.CaptureFixture[str]) -> None:
    """Here its console does."""

    def fail(_name: str, _line: bytes) -> None:
        raise RuntimeError

    with pytest.raises(ExceptionGroup):
        async with asyncio.timeout(WITHIN_S):
            await supervise([[child("orders", HANGS)]], fail, Stop())

    pid = int(capfd.readouterr().err.partition("pid=")[2].split()[0])
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


LEFT_ALONE = """
import os, signal
from notifier.cli.orphan import end_with_stdin
end_with_stdin()
if {beats}: os.write(0, b".")
print("works", flush=True)
signal.pause()
"""


@pytest.mark.parametrize("beats", [False, True], ids=["silent", "its last beats were not heard"])
def test_a_child_does_not_outlive_its_supervisor(beats: bool) -> None:
    """It ends in order when the line from its supervisor closes, however that came."""
    ours, its = socket.socketpair()
    with (
        ours,
        subprocess.Popen(
            [sys.executable, "-c", LEFT_ALONE.format(beats=beats)],
            stdin=its.fileno(),
            stdout=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        its.close()
        assert process.stdout is not None
        assert process.stdout.readline() == "works\n"
        ours.close()

        try:
            assert process.wait(WITHIN_S) == -signal.SIGTERM
        finally:
            process.kill()
