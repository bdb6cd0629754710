"""(d) From a notification's POST to the merchant's webhook, at a steady rate, all three processes running."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import quantiles

import msgspec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from tests.waiting import listens, until

from . import load
from .bodies import signed
from .installation import TOKEN, Installation
from .process import measured
from .sink import Sink, listening

READY_WITHIN_S = 20.0
TOLD_WITHIN_S = 30.0


class _Order(msgspec.Struct):
    order: str


class _Webhook(msgspec.Struct):
    data: _Order


_decode = msgspec.json.Decoder(_Webhook).decode


async def measure_latency(
    place: Installation, key: RSAPrivateKey, *, rate: float, seconds: float, warm_up_s: float
) -> dict[str, float]:
    """
    Open loop: the clock of each order runs from when its POST was due to the last byte of its webhook.

    One paid order each. The first `warm_up_s` are not counted.
    """
    arrived_at: dict[str, float] = {}

    def take(body: bytes) -> None:
        arrived_at.setdefault(_decode(body).data.order, time.monotonic())

    warm_up = round(rate * warm_up_s)
    orders = [f"T{number:08d}" for number in range(warm_up + round(rate * seconds))]
    posts = [load.request(f"/n/{TOKEN}", signed(order, key)) for order in orders]
    sink = Sink(take)
    config = str(place.settings_file)
    async with listening(sink, place.sink_port):
        with (
            measured(place.folder, "orders", config) as folding,
            measured(place.folder, "fanout", config) as telling,
            measured(place.folder, "serve", config) as serving,
        ):
            await until(lambda: listens(place.public_port), READY_WITHIN_S)
            await _first_told(place, key, sink)
            processes = {"ingress": serving, "orders": folding, "fanout": telling}
            cpu_before = {name: process.cpu_s() for name, process in processes.items()}
            due = await load.post_at_rate(place.public_port, posts, rate=rate)
            await sink.reach(1 + len(orders), TOLD_WITHIN_S)
            cpu_s = {name: process.cpu_s() - cpu_before[name] for name, process in processes.items()}
    took_ms = [(arrived_at[order] - at) * 1000 for order, at in zip(orders, due, strict=True)][warm_up:]
    return {
        "latency_p50_ms": _percentile(took_ms, 50),
        "latency_p99_ms": _percentile(took_ms, 99),
        **{f"latency_{name}_cpu_us": seconds / len(orders) * 1e6 for name, seconds in cpu_s.items()},
    }


async def _first_told(place: Installation, key: RSAPrivateKey, sink: Sink) -> None:
    """Until the processes have found each other; a 503 at first is the ingress that does not know its partitions yet."""
    post = load.request(f"/n/{TOKEN}", signed("first", key))
    async with load.clients(place.public_port, 1) as (client,):

        async def is_accepted() -> bool:
            return await client.post(post) == 200

        await until(is_accepted, READY_WITHIN_S)
        await sink.reach(1, TOLD_WITHIN_S)


def _percentile(values: Sequence[float], percent: int) -> float:
    return quantiles(values, n=100, method="inclusive")[percent - 1]
