"""`notifier demo`: the whole pipeline at work, on this machine, with a simulated world around it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer

from notifier.cli.options import AsJson, NoConfigFile, print_json
from notifier.clock import SystemClock
from notifier.demo.run import Outcome, Wish, play
from notifier.demo.screen import Screen
from notifier.local import running

FOLDER = Path(".local", "demo")


def demo(
    orders: Annotated[
        int, typer.Option(min=1, max=100_000, metavar="N", help="Orders; about three POSTs each.")
    ] = 1000,
    rate: Annotated[float, typer.Option(min=1, max=5000, metavar="N", help="Notifications a second.")] = 250.0,
    seconds: Annotated[
        float | None, typer.Option(min=1, metavar="S", help="Send no longer than this, whatever is left of the orders.")
    ] = None,
    seed: Annotated[
        int, typer.Option(metavar="N", help="The same number gives the same orders, forgeries and order of sending.")
    ] = 1,
    as_json: AsJson = False,
    _config_file: NoConfigFile = None,
) -> None:
    """
    See the whole pipeline at work: a simulated AlipayHK, real Kafka and Redis, three merchants, one of them failing.

    AlipayHK posts each order's life to three channels, with resends, duplicates, reordering, and forgeries in between. At the end
    what must always hold is counted, from the topics and from what the merchants received; the exit status is 1 if it does not.

    Everything it needs it brings along and stops again. Settings and logs stay in `.local/demo/` to be looked at.
    """
    screen = Screen(is_quiet_on_stdout=as_json)
    folder = FOLDER.resolve()
    with running(folder, tell=screen.tell, fresh=True) as services:
        (folder / "logs").mkdir(exist_ok=True)
        wish = Wish(orders, rate, seconds, seed)
        outcome = asyncio.run(_until_terminated(play(folder, services.addresses, wish, screen, SystemClock())))
    if outcome is None:
        raise typer.Exit(128 + signal.SIGTERM)  # what a shell reports for it
    screen.verdicts(outcome.verdicts)
    if not outcome.is_all_told:
        screen.tell("Not everything that was accepted was told in time.")
    is_broken = not outcome.is_all_told or any(verdict.broken for verdict in outcome.verdicts)
    screen.tell(
        f"Logs and settings are in {folder}/."
        if is_broken
        else f"All of it holds; from the first POST until all was told it took {outcome.seconds:.1f} s."
    )
    if as_json:
        print_json(_summary(outcome))
    if is_broken:
        raise typer.Exit(1)


async def _until_terminated(playing: Coroutine[Any, Any, Outcome]) -> Outcome | None:
    """Let SIGTERM end it in order, as Ctrl-C does; None if it did."""
    task = asyncio.current_task()
    assert task is not None, "it is awaited in one"
    terminated = asyncio.Event()

    def end() -> None:
        terminated.set()
        task.cancel()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, end)
    try:
        return await playing
    except asyncio.CancelledError:
        if terminated.is_set():
            return None
        raise
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


def _summary(outcome: Outcome) -> dict[str, object]:
    """The names are the contract's (section 2)."""
    seen = outcome.seen
    return {
        "accepted": seen.accepted,
        "rejected": seen.rejected,
        "orders": sum(seen.by_status.values()),
        "events": seen.events,
        "deliveries": seen.delivered,
        "seconds": round(outcome.seconds, 3),
        "latency_ms": {"p50": _rounded(seen.p50_ms), "p99": _rounded(seen.p99_ms)},
        "invariants": {
            verdict.name: {"checked": verdict.checked, "broken": verdict.broken} for verdict in outcome.verdicts
        },
    }


def _rounded(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else round(milliseconds, 3)


def register(app: typer.Typer) -> None:
    """Mount the command."""
    app.command("demo", epilog="Example: `notifier demo --orders 300 --seed 7`")(demo)
