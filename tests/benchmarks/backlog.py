"""(j) A dead merchant for whom much waits, (k) one that comes back, and (l) a start with thousands of them."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict

import msgspec
from redis.asyncio import Redis

from notifier.kafka.producer import Producer
from tests.waiting import until

from .crowd import Crowd, Manner, gathered
from .installation import Installation
from .merchants import append, events_of, settings_of
from .process import measured

WRITTEN_WITHIN_S = 300.0
STARTED_WITHIN_S = 120.0


async def measure_dead(place: Installation, *, waiting: int, seconds: float) -> dict[str, float]:
    """Requests that a dead merchant gets in a minute while so much waits for it, and what that takes in Redis."""
    crowd = Crowd()
    crowd.manners = {"dead": Manner.FAIL}
    config = str(settings_of(place, ["dead"]))
    before = await _redis_bytes(place)
    async with gathered(crowd, place.sink_port):
        with measured(place.folder, "fanout", config) as fanout:
            cpu_before = fanout.cpu_s()
            async with Producer(place.access, service="benchmark", timeout_s=60.0) as producer:
                for first in range(0, waiting, 5_000):
                    backlog = [
                        event
                        for number in range(first, min(first + 5_000, waiting))
                        for event in events_of(place, "dead", f"T{number:08d}")
                    ]
                    await append(place, producer, backlog)

            async def is_written() -> bool:
                return await _done(place) >= waiting

            await until(is_written, WRITTEN_WITHIN_S)
            bytes_each = (await _redis_bytes(place) - before) / waiting
            asked, cpu_s = crowd.asked["dead"], fanout.cpu_s()
            await asyncio.sleep(seconds)
            return {
                "dead_requests_per_minute": (crowd.asked["dead"] - asked) * 60 / seconds,
                "dead_requests_before": float(asked),
                "dead_cpu_share": (fanout.cpu_s() - cpu_s) / seconds,
                "dead_written_cpu_us": (cpu_s - cpu_before) / waiting * 1e6,
                "dead_redis_bytes_each": bytes_each,
            }


async def measure_recovery(place: Installation, *, waiting: int) -> dict[str, float]:
    """How long a merchant that comes back takes to hear of all that waited, two events an order, and in which order."""
    told: defaultdict[str, list[int]] = defaultdict(list)

    def take(_: str, body: bytes) -> None:
        webhook = _decode(body)
        told[webhook.data.order].append(webhook.version)

    crowd = Crowd(take)
    crowd.manners = {"back": Manner.FAIL}
    crowd.takes_s = 0.002
    config = str(settings_of(place, ["back"], delivery="first_retry_s = 1.0\nretry_s_max = 5.0"))
    orders = [f"T{number:08d}" for number in range(waiting // 2)]
    async with gathered(crowd, place.sink_port):
        with measured(place.folder, "fanout", config) as fanout:
            async with Producer(place.access, service="benchmark", timeout_s=60.0) as producer:
                backlog = [
                    event
                    for order in orders
                    for event in events_of(place, "back", order, ("WAIT_BUYER_PAY", "TRADE_SUCCESS"))
                ]
                await append(place, producer, backlog)

            async def is_written() -> bool:
                return await _done(place) >= waiting

            await until(is_written, WRITTEN_WITHIN_S)
            crowd.manners, crowd.most_at_once = {}, 0
            began, cpu_s = time.monotonic(), fanout.cpu_s()
            await crowd.until(lambda: sum(map(len, told.values())) >= waiting, WRITTEN_WITHIN_S)
            took_s, cpu_s = time.monotonic() - began, fanout.cpu_s() - cpu_s
    out_of_order = sum(versions != sorted(versions) for versions in told.values())
    return {
        "recovery_s": took_s,
        "recovery_per_s": waiting / took_s,
        "recovery_cpu_us": cpu_s / waiting * 1e6,
        "recovery_most_at_once": float(crowd.most_at_once),
        "recovery_out_of_order": float(out_of_order),
        "recovery_repeats": float(sum(len(versions) - len(set(versions)) for versions in told.values())),
    }


async def measure_start(place: Installation, *, endpoints: int) -> dict[str, float]:
    """From the start of the process to the first webhook, with so many merchants in the settings, twice: new, and known."""
    names = [f"shop-{number:04d}" for number in range(endpoints)]
    config = str(settings_of(place, names))
    figures: dict[str, float] = {}
    for kind in ("first", "again"):
        crowd = Crowd()
        async with gathered(crowd, place.sink_port):
            async with Producer(place.access, service="benchmark", timeout_s=60.0) as producer:
                await append(place, producer, events_of(place, names[-1], f"T-{kind}"))
            began = time.monotonic()
            with measured(place.folder, "fanout", config) as fanout:
                imported_at = time.monotonic()
                await crowd.until(lambda: crowd.accepted >= 1, STARTED_WITHIN_S)  # noqa: B023 - waited for at once
                figures[f"start_{kind}_s"] = time.monotonic() - began
                figures[f"start_{kind}_after_import_s"] = time.monotonic() - imported_at
                figures[f"start_{kind}_cpu_s"] = fanout.cpu_s()
    return figures


async def _done(place: Installation) -> int:
    """How many events fan-out has told or written down, and committed."""
    return await place.broker.committed(place.topics.group("fanout"), place.topics.orders, place.partitions)


async def _redis_bytes(place: Installation) -> int:
    redis = Redis.from_url(place.settings.redis.url)
    try:
        return int((await redis.info("memory"))["used_memory"])
    finally:
        await redis.aclose()


class _Order(msgspec.Struct):
    order: str


class _Webhook(msgspec.Struct):
    version: int
    data: _Order


_decode = msgspec.json.Decoder(_Webhook).decode
