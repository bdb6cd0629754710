"""What is kept together in one process, and what is not, when several share the tests."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import pytest

from tests.spread import APART, HEAVY, TOGETHER, unit_of

ROOT = Path(__file__).parents[2]
FILES = {str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("test_*.py")}


@pytest.mark.parametrize("prefix", [*chain.from_iterable(TOGETHER), APART])
def test_what_is_named_is_there(prefix: str) -> None:
    """A file that was renamed would be spread like any other, and nobody would see it."""
    assert [file for file in FILES if file.startswith(prefix)]


def test_what_loads_a_machine_is_never_run_beside_its_like() -> None:
    assert len({unit_of(f"{file}::test_it") for file in FILES if file.startswith(HEAVY)}) == 1


def test_a_file_stays_whole_but_for_what_shares_nothing() -> None:
    """Its fixtures are made once."""
    assert unit_of("tests/unit/test_money.py::test_a[b::c]") == unit_of("tests/unit/test_money.py::test_d")
    assert unit_of("tests/unit/test_money.py::test_a") != unit_of("tests/unit/test_order.py::test_a")
    assert unit_of(f"{APART}test_x.py::test_a[0]") != unit_of(f"{APART}test_x.py::test_a[20]")
