"""
Everything looked at, side by side, each part within a deadline of its own: a check never hangs.

What is found is judged in the files beside this one; here, and in `services`, it is asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from notifier.channel import Channel
from notifier.checks.channels import Keyed, judge_channels
from notifier.checks.endpoints import judge_endpoint
from notifier.checks.files import files_of, judge_files
from notifier.checks.finding import Finding, fault, ok, warning
from notifier.checks.listeners import look_at_listeners
from notifier.checks.services import KafkaLook, look_at_redis
from notifier.checks.vectors import judge_file, vectors_beside
from notifier.clock import Clock
from notifier.config import ChannelSettings, Settings
from notifier.settings.types import read_file

PART_S_MAX = 15.0
"""How long one part may take, however many answers it needs."""

REACHED_S_MAX = 5.0
"""How long a connection to an endpoint may take; less where fan-out itself has less time."""

CONNECTIONS_MAX = 64
"""How many are tried at one moment."""

GROUPS = (
    "settings", "files", "clock", "listeners", "channels", "kafka", "topics", "groups", "redis", "endpoints",
)  # fmt: skip
"""What is looked at, in the order in which a record travels."""

Reach = Callable[[str, float, str | None], Awaitable[str | None]]
"""Connects to a URL within a time, trusting these authorities (PEM); why that could not be done, as a word, or None."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """
    One look at an installation.

    Args:
        test_keys: the files among the channels' keys that have their private half beside them.
        reach: connects as fan-out does, its address policy included.
        reach_gateway: the same without that policy: AlipayHK's gateway is the operator's own choice.
    """

    settings: Settings
    settings_file: Path
    clock: Clock
    test_keys: Collection[Path]
    reach: Reach
    reach_gateway: Reach

    async def findings(self) -> list[Finding]:
        """All that was found, in the order of `GROUPS`."""
        here = [*self._settings(), *self._files(), *self._keys()]
        proven = list(self._vectors())
        with_file = {channel.name for channel, _ in proven}
        genuine = [channel for channel, written in self._channels() if not self._is_for_tests(written)]
        kafka = KafkaLook(
            self.settings,
            self.clock,
            unproven=[channel for channel in genuine if channel.name not in with_file],
            proven=[channel for channel in genuine if channel.name in with_file],
        )
        parts: dict[str, AsyncIterator[Finding]] = {
            "listeners": look_at_listeners(self.settings),
            "kafka": kafka.findings(),
            "redis": look_at_redis(self.settings, self.clock),
            "channels": self._gateways(),
            "endpoints": self._endpoints(),
        }
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(collected(name, part)) for name, part in parts.items()]
        found = [*here, *(finding for _, finding in proven), *(one for task in running for one in task.result())]
        return sorted(found, key=lambda one: GROUPS.index(one.group))

    def _settings(self) -> Iterator[Finding]:
        channels, endpoints = len(self.settings.channels), len(self.settings.endpoints)
        counted = f"{_counted(channels, 'channel')}, {_counted(endpoints, 'endpoint')}"
        if self.settings_file.exists():
            yield ok("settings", f"{self.settings_file}: {counted}")
        else:
            found = f"there is no {self.settings_file} here, so the environment and defaults: {counted}"
            yield (
                ok("settings", found)
                if channels
                else warning(
                    "settings", found, "`notifier init` writes one that works at once; --config names another."
                )
            )
        if not endpoints:
            yield warning(
                "endpoints", "there is none: events go to the orders topic alone", "Meant so? Else add [[endpoints]]."
            )

    def _files(self) -> list[Finding]:
        return judge_files(list(files_of(self.settings, self.settings_file)))

    def _keys(self) -> list[Finding]:
        keyed = [
            Keyed(
                channel,
                written.own_fingerprint(),
                {index for index, key in enumerate(written.keys) if key.file in self.test_keys},
            )
            for channel, written in self._channels()
        ]
        return judge_channels(keyed, self.clock.now())

    def _vectors(self) -> Iterator[tuple[Channel, Finding]]:
        """The genuine messages that lie beside keys."""
        for channel, written in self._channels():
            for path in vectors_beside(written):
                try:
                    body = read_file(path)
                except ValueError as error:
                    name = f"channels.{channel.name}.vector"
                    yield channel, fault(name, f"{path.name} {error}", "Mend it, or take it away.")
                else:
                    yield channel, judge_file(channel, path.name, body, self.clock.now())

    def _is_for_tests(self, written: ChannelSettings) -> bool:
        """With a test key every message is ours to sign: none would prove anything."""
        return any(key.file in self.test_keys for key in written.keys)

    def _channels(self) -> Iterator[tuple[Channel, ChannelSettings]]:
        """Each channel with how it is written; the settings keep both in the order of the file."""
        return zip(self.settings.channels, self.settings.channel_settings, strict=True)

    async def _gateways(self) -> AsyncIterator[Finding]:
        asked = [one for one in self.settings.channels if one.verify_notify_id and one.gateway_url is not None]
        for channel in asked:
            url = channel.gateway_url or ""
            word = await self.reach_gateway(url, REACHED_S_MAX, None)
            yield judge_endpoint(f"channels.{channel.name}.gateway", _host(url), word, has_tls=url.startswith("https:"))

    async def _endpoints(self) -> AsyncIterator[Finding]:
        at_once = asyncio.Semaphore(CONNECTIONS_MAX)

        async def reached(url: str, timeout_s: float, authorities: str | None) -> str | None:
            async with at_once:
                return await self.reach(url, min(timeout_s, REACHED_S_MAX), authorities)

        async with asyncio.TaskGroup() as tasks:
            trials = [
                (one, tasks.create_task(reached(one.url, one.timeout_s, one.authorities)))
                for one in self.settings.endpoints
            ]
        for one, trial in trials:
            has_tls = one.url.startswith("https:")
            yield judge_endpoint(f"endpoints.{one.name}", _host(one.url), trial.result(), has_tls=has_tls)


async def collected(name: str, part: AsyncIterator[Finding], *, within_s: float = PART_S_MAX) -> list[Finding]:
    """What a part finds within its time; where that ends, what it has found until then, and a line that says so."""
    found: list[Finding] = []
    try:
        async with asyncio.timeout(within_s):
            async for finding in part:
                found.append(finding)  # noqa: PERF401 - a comprehension would lose what came before the end
    except TimeoutError:
        found.append(
            fault(
                name,
                f"not finished within {within_s:g} s; what is missing here was not looked at",
                "Try again, or look at it.",
            )
        )
    return found


def _host(url: str) -> str:
    """Of a URL no more than its host: a path may be as good as a password."""
    return urlsplit(url).hostname or "it"


def _counted(count: int, word: str) -> str:
    return f"1 {word}" if count == 1 else f"{count} {word}s"
