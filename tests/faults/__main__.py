"""`make soak`: each fault in the middle of a run of its own, on its own Kafka and Redis; a line each, exit 1 if one failed."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import time
from itertools import count
from pathlib import Path

import uvloop

from notifier.local import LocalFailed
from tests.faults.brokers import services
from tests.faults.faults import FAULTS, Fault
from tests.faults.run import Outcome, Wish, run

FOLDER = Path(".local", "soak")


def main() -> int:
    """Play what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--fault", action="append", choices=sorted(FAULTS), help="only this one; may be repeated")
    parser.add_argument(
        "--seed", type=int, default=1, help="the same number gives the same orders, forgeries and order of sending"
    )
    parser.add_argument(
        "--seconds", type=float, help="begin no run after this long; until then go on, with the next seeds"
    )
    parser.add_argument("--orders", type=int, default=8000, help="about three POSTs each")
    parser.add_argument(
        "--rate", type=float, default=600.0, help="notifications a second, as far as the machine keeps up"
    )
    parser.add_argument("--session-timeout", type=float, default=5.0, help="of the consumers, in seconds")
    options = parser.parse_args()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # our own clients see each fault as well
    chosen = [FAULTS[name] for name in options.fault or FAULTS]
    began, failed = time.monotonic(), 0
    for seed in count(options.seed) if options.seconds else (options.seed,):
        for fault in chosen:
            if options.seconds and time.monotonic() - began > options.seconds:
                break
            failed += bool(_one(fault, Wish(options.orders, options.rate, seed, options.session_timeout)).problems)
        else:
            continue
        break
    return 1 if failed else 0


def _one(fault: Fault, wish: Wish) -> Outcome:
    folder = (FOLDER / fault.name).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    for log in folder.glob("*.log"):
        log.unlink()
    try:
        with (
            services(folder, fault.brokers, fresh=True) as started,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            outcome = runner.run(run(fault, started, folder, wish))
    except LocalFailed as error:
        raise SystemExit(str(error)) from error
    verdict = "FAILED" if outcome.problems else "holds"
    figures = "  ".join(
        f"{name} {value:,.0f}" if value >= 100 else f"{name} {value:.3g}" for name, value in outcome.figures.items()
    )
    _tell(f"{fault.name:20} {verdict}  {figures}")
    for problem in outcome.problems:
        _tell(f"    {problem[:1000]}")
    if outcome.problems:
        _tell(f"    again: make soak FAULT={fault.name} SEED={wish.seed}; logs and settings are in {folder}/")
    return outcome


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
