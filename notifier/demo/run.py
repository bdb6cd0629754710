"""One demo: the world is set up, the pipeline works, everything is told, and what must hold is counted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from notifier import config
from notifier.clock import Clock
from notifier.config import Settings
from notifier.demo import pipeline
from notifier.demo.check import Verdict, check
from notifier.demo.history import History, Post, Webhook
from notifier.demo.progress import Progress, Seen
from notifier.demo.screen import Screen, Showing
from notifier.demo.settings import Ports, Setup, new_secret, write
from notifier.demo.topics import follow_orders, make_topics, number_in_each_partition, read_whole
from notifier.demo.world.accounts import open_accounts
from notifier.demo.world.alipayhk import AlipayHK
from notifier.demo.world.lives import Sending, last_orders, plan, posts_in
from notifier.demo.world.merchants import FAILING, MERCHANTS, BadDay, open_shops
from notifier.local import Addresses
from notifier.local.ports import HOST
from notifier.topics import Topics
from notifier.webhooks import Secret

TOLD_S_MAX = 30.0
"""How long everything that was accepted may take to be told, once nothing more is sent."""
_LOOK_EVERY_S = 0.25


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for on the command line."""

    orders: int
    rate: float
    """Entries of the plan a second; what AlipayHK sends twice or again comes on top."""
    seconds: float | None
    """What the plan holds beyond so many seconds is left out."""
    seed: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a demo ended."""

    seen: Seen
    seconds: float
    """From the first POST until everything was told."""
    is_all_told: bool
    verdicts: tuple[Verdict, ...]


async def play(folder: Path, addresses: Addresses, wish: Wish, screen: Screen, clock: Clock) -> Outcome:
    """
    Play one demo on a Kafka and a Redis that run; settings and logs are in `folder`.

    Raises:
        CommandFailed: a process of the pipeline ended or did not start. It may come in an exception group.
        Unavailable, CannotCreateError: Kafka does not do what is asked.
        OSError: the folder can't be written.
    """
    accounts = open_accounts()
    sendings = _within(plan(wish.seed, wish.orders, [account.channel for account in accounts]), wish)
    planned_s = len(sendings) / wish.rate
    secrets = {merchant.name: new_secret() for merchant in MERCHANTS}
    webhooks: list[Webhook] = []

    def bad_day(merchant: str) -> BadDay | None:
        if merchant != FAILING:
            return None
        return BadDay(fails_at=planned_s * 0.2, hangs_at=planned_s * 0.4, ends_at=planned_s * 0.6)

    parsed = [Secret.parse(secrets[merchant.name]) for merchant in MERCHANTS]
    async with open_shops(parsed, webhooks, bad_day, clock) as urls:
        ports = Ports.free()
        file = write(folder, Setup(addresses, ports, accounts, MERCHANTS, urls, secrets))
        settings = config.load(file, config.environment())
        await make_topics(settings)
        logs = folder / "logs"
        screen.tell(f"pipeline  serve, consume orders, consume fanout are starting; settings {file}, logs in {logs}/")
        async with pipeline.at_work(file, pipeline.services(ports), logs):
            async with AlipayHK(f"http://{HOST}:{ports.public}", accounts, clock) as alipayhk:
                progress = Progress(
                    MERCHANTS,
                    frozenset(merchant.name for merchant in MERCHANTS) - {FAILING},
                    alipayhk.posts,
                    webhooks,
                    alipayhk.first_sent_at,
                )
                with screen.progress(posts_in(sendings)) as show:
                    seconds, is_all_told = await _send_and_wait(
                        settings, alipayhk, sendings, rate=wish.rate, progress=progress, show=show, tell=screen.tell
                    )
            seen = progress.look()
        screen.tell("counting what must always hold, from the topics and from what the merchants received")
        history = await _history(settings, tuple(alipayhk.posts), webhooks)
    return Outcome(seen, seconds, is_all_told, tuple(check(history)))


def _within(sendings: list[Sending], wish: Wish) -> list[Sending]:
    return sendings if wish.seconds is None else sendings[: max(1, int(wish.seconds * wish.rate))]


async def _send_and_wait(
    settings: Settings,
    alipayhk: AlipayHK,
    sendings: list[Sending],
    *,
    rate: float,
    progress: Progress,
    show: Showing,
    tell: Callable[[str], None],
) -> tuple[float, bool]:
    """Send everything and wait until it has been told; how long that took in seconds, and whether it came to its end."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    channel = settings.channel_settings[0].name
    last = last_orders(number_in_each_partition(settings, channel), channel)
    async with asyncio.TaskGroup() as tasks:
        helpers = [
            tasks.create_task(follow_orders(settings, progress.read)),
            tasks.create_task(_show(progress, show)),
        ]
        await alipayhk.send_all(sendings, rate=rate)
        # A partition is worked through in its order: the event of its last order says that all before it is done.
        await alipayhk.send_all(last, rate=rate)
        tell(
            f"AlipayHK has sent everything; waiting until every merchant is told, also {FAILING}, which failed for a while"
        )
        is_all_told = await _until_told(progress, last)
        seconds = loop.time() - began
        for helper in helpers:
            helper.cancel()
    show(progress.look(), loop.time())
    return seconds, is_all_told


async def _until_told(progress: Progress, last: list[Sending]) -> bool:
    orders = [sending.message.order for sending in last]
    loop = asyncio.get_running_loop()
    deadline = loop.time() + TOLD_S_MAX
    while not progress.is_told(orders):
        if loop.time() > deadline:
            return False
        await asyncio.sleep(_LOOK_EVERY_S)
    return True


async def _show(progress: Progress, show: Showing) -> None:
    loop = asyncio.get_running_loop()
    while True:
        show(progress.look(), loop.time())
        await asyncio.sleep(_LOOK_EVERY_S)


async def _history(settings: Settings, posts: tuple[Post, ...], webhooks: list[Webhook]) -> History:
    """Everything that was seen; the pipeline has ended, so that nothing more comes."""
    topics = Topics(settings.kafka.topic_prefix)
    return History(
        posts=posts,
        inbox=await read_whole(settings, topics.inbox),
        orders=await read_whole(settings, topics.orders),
        deliveries=await read_whole(settings, topics.deliveries),
        quarantine=await read_whole(settings, topics.quarantine),
        commands=await read_whole(settings, topics.commands),
        merchants=MERCHANTS,
        webhooks=tuple(webhooks),
    )
