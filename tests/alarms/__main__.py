"""Every fault of the runbook, caused for real: a line for each row of the table; exit 1 if one was not seen."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from contextlib import ExitStack
from pathlib import Path

import uvloop

from notifier.local import Services, running
from tests.alarms.play import play
from tests.alarms.scenes import ROWS, SCENES
from tests.alarms.see import Seen
from tests.faults.brokers import BROKER

FOLDER = Path(".local", "alarms")


def main() -> int:
    """Play what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.alarms", description=__doc__)
    lines = sorted({row.line for row in ROWS})
    parser.add_argument(
        "--fault", action="append", choices=lines, metavar="LINE", help="only this line; may be repeated"
    )
    parser.add_argument("--scene", action="append", choices=sorted(SCENES), help="only this installation; likewise")
    options = parser.parse_args()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # our own clients see each fault as well
    folder = FOLDER.resolve()
    with ExitStack() as stack:
        services = {
            is_own: stack.enter_context(
                running(folder / ("own" if is_own else "shared"), tell=lambda _: None, kafka=BROKER, fresh=True)
            )
            for is_own in (False, True)
        }
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            seen = runner.run(_all(services, folder, options.scene or list(SCENES), options.fault))
    return 1 if any(one.problem for one in seen) else 0


async def _all(services: dict[bool, Services], folder: Path, scenes: list[str], lines: list[str] | None) -> list[Seen]:
    found: list[Seen] = []

    def tell(seen: Seen) -> None:
        found.append(seen)
        sys.stdout.write(f"{seen.words}\n")
        sys.stdout.flush()

    async with asyncio.TaskGroup() as tasks:
        for name in scenes:
            scene = SCENES[name]
            tasks.create_task(play(scene, services[scene.has_own_services], folder / name, lines, tell))
    return found


if __name__ == "__main__":
    sys.exit(main())
