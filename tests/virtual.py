"""Virtual time for one test: it stands still while anything can go on, and then jumps to the next timer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec

from tests.simulation.loop import SeededLoop

_P = ParamSpec("_P")


def in_virtual_time(test: Callable[_P, Coroutine[Any, Any, None]]) -> Callable[_P, None]:
    """Run a test on the loop of the simulation. Nothing in it waits in earnest, however long it sleeps."""

    @wraps(test)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> None:
        with asyncio.Runner(loop_factory=lambda: SeededLoop(0, is_shuffled=False)) as runner:
            runner.run(test(*args, **kwargs))

    return run
