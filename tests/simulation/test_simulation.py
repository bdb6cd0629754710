"""The whole pipeline under faults, by the hundred (README.md here)."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.__main__ import complaint, run_all
from tests.simulation.run import run

SEEDS = 300


def test_no_promise_is_broken_whatever_goes_wrong() -> None:
    failed = [complaint(verdict) for verdict in run_all(range(SEEDS), jobs=2) if verdict.broken]

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
