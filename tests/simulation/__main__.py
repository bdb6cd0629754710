"""`python -m tests.simulation`: as many seeds as one likes; a failing one is printed with the command that runs it again."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import count, islice
from multiprocessing import get_context

from tests.simulation.run import Verdict, run


def main() -> int:
    """Run seeds; 1 if a promise was broken in one of them."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=300, help="how many (300)")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first (0)")
    parser.add_argument("--seed", type=int, help="one seed alone, in this process")
    parser.add_argument("--steps", action="store_true", help="print what happens, with the second of virtual time")
    parser.add_argument("--jobs", type=int, default=2, help="processes to share the seeds (2)")
    parser.add_argument("--first-failure", action="store_true", help="stop at the first seed that fails")
    given = parser.parse_args()
    if given.seed is not None:
        return _told([run(given.seed, is_told=given.steps)], is_each_told=True, is_first_enough=False)
    verdicts = run_all(range(given.first, given.first + given.seeds), jobs=given.jobs)
    return _told(verdicts, is_each_told=False, is_first_enough=given.first_failure)


def run_all(seeds: range, *, jobs: int) -> Iterator[Verdict]:
    """The verdicts of these seeds, in their order."""
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        # a few at a time: who stops at the first failure does not want to wait for all
        for first in islice(count(seeds.start, 2 * jobs), (len(seeds) + 2 * jobs - 1) // (2 * jobs)):
            yield from pool.map(run, range(first, min(first + 2 * jobs, seeds.stop)))


def _told(verdicts: Iterable[Verdict], *, is_each_told: bool, is_first_enough: bool) -> int:
    failed = seeds = 0
    landed: Counter[str] = Counter()
    for verdict in verdicts:
        seeds += 1
        landed.update(verdict.counts)
        if is_each_told:
            _say(f"seed {verdict.seed}: {verdict.steps} steps, {verdict.virtual_s:.0f} s, trace {verdict.digest}")
        if verdict.broken:
            failed += 1
            _say(complaint(verdict))
            if is_first_enough:
                break
    _say(f"{seeds} seeds, {failed} failed; {dict(landed)}")
    return 1 if failed else 0


def complaint(verdict: Verdict) -> str:
    """What was broken, and how to see it again."""
    lines = [f"seed {verdict.seed}: python -m tests.simulation --seed {verdict.seed} --steps"]
    return "\n  ".join([*lines, *verdict.broken[:20]])


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
