"""The whole pipeline under faults, by the hundred (README.md here)."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from tests.simulation.__main__ import complaint
from tests.simulation.run import run
from tests.spread import is_shared

SEEDS, AT_ONCE = 300, 20


@pytest.fixture(scope="module")
def pool(pytestconfig: pytest.Config) -> Iterator[ProcessPoolExecutor]:
    """Processes to run seeds in: two, or one where two share the tests already."""
    jobs = 1 if is_shared(pytestconfig) else 2
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield pool


@pytest.mark.parametrize("first", range(0, SEEDS, AT_ONCE))
def test_no_promise_is_broken_whatever_goes_wrong(first: int, pool: ProcessPoolExecutor) -> None:
    verdicts = pool.map(run, range(first, first + AT_ONCE))

    failed = [complaint(verdict) for verdict in verdicts if verdict.broken]
    assert not failed, "\n".join(failed)


@pytest.mark.parametrize("seed", [4, 7])
def test_a_seed_runs_the_same_way_again(seed: int) -> None:
    """In another process, with other hashes of strings and other addresses."""
    told = subprocess.run(
        [sys.executable, "-m", "tests.simulation", "--seed", str(seed)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert f"trace {run(seed).digest}" in told.stdout
