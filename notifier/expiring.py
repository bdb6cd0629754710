"""Says which keys end soon: at start and daily, while there is time to ask AlipayHK for the next one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

from notifier.channel import EXPIRES_SOON, Channel
from notifier.clock import Clock
from notifier.evidence import rfc3339
from notifier.logs import get_logger
from notifier.metrics import CHANNEL_KEYS_END

log = get_logger()

_DAY = timedelta(days=1)
_TELL_EVERY_S = 86_400.0


@asynccontextmanager
async def telling_of_keys(channels: Callable[[], Iterable[Channel]], clock: Clock) -> AsyncIterator[None]:
    """Tell of keys that end soon while the block runs: now, and every day. `channels`: those that there are then."""
    async with asyncio.TaskGroup() as tasks:
        telling = tasks.create_task(_tell_daily(channels, clock))
        try:
            yield
        finally:
            telling.cancel()


async def _tell_daily(channels: Callable[[], Iterable[Channel]], clock: Clock) -> None:
    while True:
        tell(channels(), clock.now())
        await asyncio.sleep(_TELL_EVERY_S)


def tell(channels: Iterable[Channel], now: datetime) -> None:
    """Write a line for each key that ends within two weeks. What has ended is told with each notification that it costs."""
    for channel in channels:
        for one in channel.ring:
            if one.not_after is None or not now < one.not_after <= now + EXPIRES_SOON:
                continue
            log.warning(
                "key.expiring",
                channel=channel.name,
                key=one.key.fingerprint,
                not_after=rfc3339(one.not_after),
                days=round((one.not_after - now) / _DAY, 1),
                keys_left=len(channel.active_keys(one.not_after)),
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
