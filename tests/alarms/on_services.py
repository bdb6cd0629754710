"""What goes wrong with processes, and with what they need."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

from notifier.demo.topics import make_topics
from tests.alarms.product import SEEN_WITHIN_S, Product
from tests.promql import Vector
from tests.waiting import until

STARTED = 'notifier_started_timestamp_seconds{service="orders"}'
RESTARTS = 4
"""One more than a quarter of an hour may have."""


@asynccontextmanager
async def no_ingress(product: Product) -> AsyncIterator[None]:
    """The only ingress is killed, and started again."""
    await product.parts["serve"].kill()
    yield
    await product.parts["serve"].start()


@asynccontextmanager
async def kafka_killed(product: Product) -> AsyncIterator[None]:
    """Kafka's process is killed, and stays away. One notification is sent."""
    assert product.kafka is not None, "Kafka is somebody else's: not ours to stop"
    await asyncio.to_thread(product.kafka.kill)
    product.meanwhile.append(product.tasks.create_task(product.tell(product.order("peak"))))
    yield


@asynccontextmanager
async def kafka_back(product: Product) -> AsyncIterator[None]:
    """Kafka is started again."""
    assert product.kafka is not None, "Kafka is somebody else's: not ours to stop"
    await asyncio.to_thread(product.kafka.start)
    yield


@asynccontextmanager
async def redis_stopped(product: Product) -> AsyncIterator[None]:
    """Redis ends, and stays away."""
    assert product.redis_server is not None, "Redis is somebody else's: not ours to stop"
    await asyncio.to_thread(product.redis_server.stop)
    yield


@asynccontextmanager
async def redis_back(product: Product) -> AsyncIterator[None]:
    """Redis is started again."""
    assert product.redis_server is not None, "Redis is somebody else's: not ours to stop"
    await asyncio.to_thread(product.redis_server.start)
    yield


@asynccontextmanager
async def held_up_at_its_end(product: Product) -> AsyncIterator[None]:
    """The orders job is told to end, and its Kafka client does not."""
    await product.parts["orders"].end()
    yield


@asynccontextmanager
async def ended(product: Product) -> AsyncIterator[None]:
    """Fan-out is told to end."""
    assert await product.parts["fanout"].end() == 0
    yield


@asynccontextmanager
async def rubbish_in_settings(product: Product) -> AsyncIterator[None]:
    """A settings file that is wrong, and SIGHUP. Mended as the runbook says: the file is, and SIGHUP again."""
    product.rewrite(("[delivery]", "[deliverey]"))
    product.hang_up("serve", "orders", "fanout")
    yield
    product.rewrite(("[deliverey]", "[delivery]"))
    product.hang_up("serve", "orders", "fanout")


@asynccontextmanager
async def dies_again_and_again(product: Product) -> AsyncIterator[None]:
    """The orders job is killed each time that it is up."""
    for _ in range(RESTARTS):
        before = product.scrapes.value(STARTED)
        os.kill(product.pid_of_child("orders"), signal.SIGKILL)

        async def is_up(before: Vector = before) -> bool:
            now = product.scrapes.value(STARTED)
            return bool(now) and now != before

        await until(is_up, SEEN_WITHIN_S, "it is up again, and was seen")
    yield


@asynccontextmanager
async def child_stands_still(product: Product) -> AsyncIterator[None]:
    """A child of `run` is stopped (SIGSTOP)."""
    with _stopped(product.pid_of_child("fanout")):
        yield


@asynccontextmanager
async def topics_made_anew(product: Product) -> AsyncIterator[None]:
    """All topics are deleted and made again: what the views point to is not there."""
    topics = product.topics
    names = [topics.inbox, topics.orders, topics.deliveries, topics.commands, topics.quarantine]
    marks = product.marks()
    await product.tell(*(product.order("peak") for _ in range(20)))
    # the last of them, too, is behind fan-out: what it has no place in is no news to it when it is gone
    await product.said("delivery.attempted", marks, count=20, endpoint="shop", outcome="accepted")
    await product.cluster.admin.delete_topics(names)
    await make_topics(product.settings)
    yield


@asynccontextmanager
async def does_not_end(product: Product) -> AsyncIterator[None]:
    """`run` is told to end while a child stands still."""
    part = product.parts["run"]
    with _stopped(product.pid_of_child("ingress")):
        part.is_wanted = False
        os.kill(part.pid, signal.SIGTERM)
        yield


@contextmanager
def _stopped(pid: int) -> Iterator[None]:
    """A process stands still; where nobody has ended it by then, it goes on behind the block."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
