"""Says which keys end soon: at start and daily, while there is time to ask AlipayHK for the next one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import NamedTuple

from notifier.channel import EXPIRES_SOON, Channel, KeyInRing
from notifier.clock import Clock
from notifier.evidence import rfc3339
from notifier.logs import get_logger
from notifier.metrics import CHANNEL_KEYS_END

log = get_logger()

_DAY = timedelta(days=1)
_TELL_EVERY_S = 86_400.0


class KeyEnds:
    """Tells of keys that end soon, and remembers which it has told of: a reload that changes no key is no news of any."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._told: frozenset[_End] = frozenset()

    @asynccontextmanager
    async def told_daily(self, channels: Callable[[], Iterable[Channel]]) -> AsyncIterator[None]:
        """Tell of all while the block runs: now, and every day. `channels`: those that there are then."""
        async with asyncio.TaskGroup() as tasks:
            telling = tasks.create_task(self._tell_daily(channels))
            try:
                yield
            finally:
                telling.cancel()

    async def _tell_daily(self, channels: Callable[[], Iterable[Channel]]) -> None:
        while True:
            self._told = frozenset()
            self.tell_new(channels())
            await asyncio.sleep(_TELL_EVERY_S)

    def tell_new(self, channels: Iterable[Channel]) -> None:
        """Write a line for each key that ends within two weeks and was not told of yet, or had another end."""
        now = self._clock.now()
        soon = {end: (channel, key) for channel in channels for end, key in _ends_soon(channel, now)}
        for end, (channel, key) in soon.items():
            if end not in self._told:
                _tell(channel, key, end, now)
        self._told = frozenset(soon)


class _End(NamedTuple):
    channel: str
    key: str
    """Its fingerprint."""
    not_after: datetime


def _ends_soon(channel: Channel, now: datetime) -> Iterator[tuple[_End, KeyInRing]]:
    """What has ended is told with each notification that it costs."""
    for one in channel.ring:
        if one.not_after is not None and now < one.not_after <= now + EXPIRES_SOON:
            yield _End(channel.name, one.key.fingerprint, one.not_after), one


def _tell(channel: Channel, key: KeyInRing, end: _End, now: datetime) -> None:
    log.warning(
        "key.expiring",
        channel=end.channel,
        setting=key.setting,
        file=key.file,
        key=end.key,
        not_after=rfc3339(end.not_after),
        days=round((end.not_after - now) / _DAY, 1),
        keys_left=len(channel.active_keys(end.not_after)),
    )


def measure(channels: Iterable[Channel], before: Iterable[Channel] = ()) -> None:
    """
    Let the metrics say until when each channel has a key; where one never ends there is nothing to say.

    Args:
        before: the channels that there were until now.
    """
    for channel in before:
        CHANNEL_KEYS_END.forget(channel.name)
    for channel in channels:
        ends = [one.not_after for one in channel.ring]
        bounded = [end for end in ends if end is not None]
        if bounded and len(bounded) == len(ends):
            CHANNEL_KEYS_END.of(channel.name).set(max(bounded).timestamp())
