"""(a) What an accepted notification costs the ingress, against a bare aiohttp handler that only reads the same body."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle, islice
from statistics import median

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from notifier.local.ports import free_ports
from tests.waiting import listens, until

from . import load
from .bodies import signed
from .installation import TOKEN, Installation
from .process import Measured, measured

CONNECTIONS = 128
READY_WITHIN_S = 20.0


async def measure_ingress(place: Installation, key: RSAPrivateKey, *, requests: int, rounds: int) -> dict[str, float]:
    """CPU of the two servers, in turn under the same load; medians over the rounds. Latency plays no part in it."""
    (bare_port,) = free_ports(1)
    bodies = [signed(f"T{number:08d}", key) for number in range(min(requests, 1000))]
    posts = cycle([load.request(f"/n/{TOKEN}", body) for body in bodies])
    with (
        measured(place.folder, "serve", str(place.settings_file)) as ours,
        measured(place.folder, "bare-server", str(bare_port)) as bare,
    ):
        await until(lambda: listens(place.public_port), READY_WITHIN_S)
        await until(lambda: listens(bare_port), READY_WITHIN_S)
        async with (
            load.clients(place.public_port, CONNECTIONS) as to_ours,
            load.clients(bare_port, CONNECTIONS) as to_bare,
        ):
            await _warm_up(to_ours, posts, requests)
            await _warm_up(to_bare, posts, requests)
            ours_us, bare_us = [], []
            for _ in range(rounds):
                ours_us.append(await _cpu_us(ours, to_ours, islice(posts, requests), requests))
                bare_us.append(await _cpu_us(bare, to_bare, islice(posts, requests), requests))
    return {
        "ingress_cpu_us": median(ours_us),
        "ingress_bare_cpu_us": median(bare_us),
        "ingress_ratio": median(ours_us) / median(bare_us),
        "ingress_body_bytes": len(bodies[0]),
    }


async def _warm_up(opened: list[load.Client], posts: Iterator[bytes], requests: int) -> None:
    async def is_accepted() -> bool:  # an ingress that does not know its partitions yet answers 503
        return await opened[0].post(next(posts)) == 200

    await until(is_accepted, READY_WITHIN_S)
    await load.post_all(opened, islice(posts, requests))


async def _cpu_us(server: Measured, opened: list[load.Client], posts: Iterator[bytes], count: int) -> float:
    before = server.cpu_s()
    await load.post_all(opened, posts)
    return (server.cpu_s() - before) / count * 1e6
