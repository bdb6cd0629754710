"""Which tests go to the same process when several share them (`pytest -n 2`, as `make test` does it)."""

from __future__ import annotations

import pytest

from notifier.local import ports

HEAVY = ("tests/faults/", "tests/end_to_end/", "tests/integration/test_benchmarks_smoke.py")
"""Each keeps a machine busy with a whole installation: one at a time, and first, so that none is left for the end."""

TOGETHER = (HEAVY, ("tests/integration/test_trouble_with_", "tests/integration/test_local.py"))
"""The others use `own_services`, which they may kill; one of these is enough."""

APART = "tests/simulation/"
"""Each test by itself: they share nothing, and all in one process they would go on long after the other had ended."""


def unit_of(nodeid: str) -> str:
    """The name of what is run in one process, one after the other: a file, if nothing else is said of it here."""
    if nodeid.startswith(APART):
        return nodeid
    file = nodeid.partition("::")[0]
    return next((prefixes[0] for prefixes in TOGETHER if file.startswith(prefixes)), file)


def heavy_first(items: list[pytest.Item]) -> None:
    """Put the heavy ones in front; else the order stays, which has the quick ones at the end."""
    items.sort(key=lambda item: not item.nodeid.startswith(HEAVY))


def is_shared(config: pytest.Config) -> bool:
    """Whether this is one of several processes that share the tests."""
    return hasattr(config, "workerinput")


def own_share_of_ports(config: pytest.Config) -> None:
    """Draw free ports where no other process of this run draws them: between the draw and the server a port is nobody's."""
    if is_shared(config):
        worker = config.workerinput  # type: ignore[attr-defined]  # xdist puts it there
        number, count = int(worker["workerid"].removeprefix("gw")), worker["workercount"]
        ports.CHOICE = ports.CHOICE[number % count :: count]


def scheduling(config: pytest.Config, log: object) -> object:
    """xdist's way to give a file at a time to whoever is free, with units in the place of files, in the order of their tests."""
    from xdist.scheduler import LoadFileScheduling  # only who shares the tests needs it

    config.option.loadscopereorder = False  # it would begin with the files that have the most tests
    ours = LoadFileScheduling(config, log)
    ours._split_scope = unit_of  # tests with the same answer go to the same process
    return ours
