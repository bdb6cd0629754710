"""The benchmarks run. Their figures are never judged here: a busy machine is no fault of the code."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from argparse import ArgumentTypeError
from pathlib import Path

import pytest

from notifier.local import KAFKA_SETTING, REDIS_SETTING, Services
from tests.benchmarks.__main__ import MEASURES, chosen_measures

WITHIN_S = 300  # 30 s on a machine that has nothing else to do
NAMES = {
    "ingress_ratio",
    "ingress_cpu_us",
    "fold_per_s",
    "delivery_ratio",
    "latency_p50_ms",
    "latency_p99_ms",
    "rebuild_orders_per_s",
    "rebuild_lanes_per_s",
    "redis_bytes_order",
    "redis_bytes_quiet_order",
    "redis_bytes_waiting_lane",
    "fold_flushed_ratio",
    "fast_cpu_us",
    "isolation_ratio",
    "dead_requests_per_minute",
    "recovery_s",
    "start_again_s",
    "cores",
    "version_aiohttp",
}


def test_each_measure_comes_to_a_figure(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, topic_prefix: str
) -> None:
    monkeypatch.setenv(KAFKA_SETTING, services.addresses.bootstrap_servers)
    monkeypatch.setenv(REDIS_SETTING, services.addresses.redis_url)

    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", "--quick", "--folder", str(tmp_path), "--prefix", topic_prefix],
        timeout=WITHIN_S,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "bench.json").read_bytes())
    assert figures.keys() >= NAMES
    assert all(isinstance(figure, int | float) for figure in figures.values())


@pytest.mark.parametrize(
    ("given", "told"), [("q", "'q'"), ("a,x,y", "'x' or 'y'"), ("", "''"), ("f", "f comes with e")]
)
def test_a_measure_that_there_is_not_is_told_with_those_that_there_are(given: str, told: str) -> None:
    """It was a KeyError, once services had been started and whatever stood before it had been measured."""
    with pytest.raises(ArgumentTypeError, match=re.escape(told)) as refused:
        chosen_measures(given)

    assert f"there are {','.join(MEASURES)} " in str(refused.value)


def test_what_is_chosen_is_measured_in_that_order() -> None:
    assert chosen_measures("c,a") == ["c", "a"]
