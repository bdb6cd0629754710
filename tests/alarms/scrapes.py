"""
What Prometheus would have: the real `/metrics` of every process, asked for again and again, each answer at its time.

A process that does not answer ends its series, as Prometheus' stale markers do; so does a series that an answer lacks.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import aiohttp
import promql_parser
from prometheus_client.parser import text_string_to_metric_families

from notifier.local.ports import HOST
from tests.promql import Evaluator, Series, Vector

EVERY_S = 1.0
ANSWER_WITHIN_S = 1.0
"""A process that is stopped takes the connection and never answers."""

_Name = tuple[str, frozenset[tuple[str, str]]]


@dataclass(slots=True)
class Scrapes:
    """
    The scrapes of some processes.

    Args:
        ports: of each target's internal listener, by its name; it is the label `instance`.
        now: Unix seconds, as the processes that are asked have them.
    """

    ports: Mapping[str, int]
    now: Callable[[], float]
    rounds: int = 0
    """How often all were asked."""
    _series: dict[str, dict[_Name, Series]] = field(default_factory=dict)

    async def go_on(self) -> None:
        """Ask all, until cancelled."""
        timeout = aiohttp.ClientTimeout(total=ANSWER_WITHIN_S)
        async with aiohttp.ClientSession(trust_env=False, timeout=timeout) as session:
            while True:
                await asyncio.gather(*(self._scrape(session, target) for target in self.ports))
                self.rounds += 1
                await asyncio.sleep(EVERY_S)

    async def _scrape(self, session: aiohttp.ClientSession, target: str) -> None:
        at = self.now()
        try:
            async with session.get(f"http://{HOST}:{self.ports[target]}/metrics") as answer:
                text = await answer.text()
        except (aiohttp.ClientError, TimeoutError):
            text = ""
        known = self._series.setdefault(target, {})
        seen: set[_Name] = set()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                name = (sample.name, frozenset({**sample.labels, "instance": target}.items()))
                seen.add(name)
                series = known.setdefault(name, Series(*name, [], []))
                series.times.append(at)
                series.values.append(sample.value)
        for name in known.keys() - seen:
            gone = known[name]
            if not math.isnan(gone.values[-1]):
                gone.times.append(at)
                gone.values.append(math.nan)

    def value(self, expression: str) -> Vector:
        """What an expression of ours or of a rule comes to now."""
        series = [one for by_name in self._series.values() for one in by_name.values()]
        return Evaluator(series).vector(promql_parser.parse(expression), self.now())

    def names(self) -> frozenset[str]:
        """Each metric that was ever there."""
        return frozenset(name for by_name in self._series.values() for name, _ in by_name)
