"""The root of `consume`: it builds the adapters, runs one job on them, and ends it in order."""

from __future__ import annotations

import os
import random
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO, Literal

from consumers.client import Client, Lookup
from consumers.fanout import WAITING_MAX, FanoutJob
from consumers.leaving import LastResort
from consumers.orders import OrdersJob
from consumers.partition import PartitionLoop, StuckError, Work
from consumers.rebuilding import RebuildLines, Rebuilds
from consumers.telling.callees import Callees
from consumers.telling.gauges import show_endpoints
from consumers.telling.means import Means
from consumers.view import RecreatedTopicError
from notifier import config, logs, metrics
from notifier.app import Stop, run
from notifier.clock import SystemClock
from notifier.config import BODY_BYTES_MAX, Address, Settings
from notifier.internal.health import Health, answer_health
from notifier.kafka.access import Access
from notifier.kafka.admin import require
from notifier.kafka.producer import Producer
from notifier.kafka.reader import Reader
from notifier.outage import Outages
from notifier.processes import hangup
from notifier.processes.listening import address_of, listening
from notifier.processes.reloading import Reloading
from notifier.topics import Topics, record_bytes_max
from notifier.views import RedisViews, WrongPolicyError
from notifier.watching import tracing

log = logs.get_logger()

Job = Literal["orders", "fanout"]

LEAVE_WITHIN_S = 13.0
"""Two seconds before `notifier run` loses its patience, and long before Kubernetes does."""

APPEND_TIMEOUT_S = 10.0
"""A consumer has no caller that waits: longer than the door's, short enough that a broken producer is found."""


def run_consume(
    job: Job,
    settings: Settings,
    *,
    listen: Address | None = None,
    config_file: Path | None = None,
    rebuilds: Rebuilds | None = None,
    out: BinaryIO | None = None,
) -> None:
    """
    Work until SIGTERM or SIGINT; at SIGHUP, take changed settings over.

    Args:
        listen: where to answer for health and metrics, if anywhere.
        config_file: what `--config` named: it is what is read again.
        rebuilds: shows how far a view that is built again has come, instead of log lines.
        out: where log lines go instead of stdout.

    Raises:
        CannotListenError: that address cannot be had.
        SystemExit: with 1, after one line: a fault that cannot be mended in place. A supervisor starts the process again.
    """
    logs.configure(
        service=job,
        instance=f"{socket.gethostname()}-{os.getpid()}",
        format=settings.log.format,
        level=settings.log.level,
        out=out,
    )
    tracing.configure(
        service=job,
        instance=f"{socket.gethostname()}-{os.getpid()}",
        otlp_endpoint=settings.telemetry.otlp_endpoint,
    )
    reloading = Reloading(settings, config.reader(config_file, config.environment()))
    with LastResort(LEAVE_WITHIN_S) as last_resort:
        run(_consume(job, reloading, listen, rebuilds or RebuildLines(), last_resort))


async def _consume(
    job: Job, reloading: Reloading, listen: Address | None, rebuilds: Rebuilds, last_resort: LastResort
) -> None:
    stop = Stop(then=last_resort.begin)
    stop.on_signals(signal.SIGTERM, signal.SIGINT)
    hangup.follow(reloading.ask, stop.say)
    outages = Outages(kafka=reloading.settings.kafka.bootstrap_servers, redis=reloading.settings.redis.address)
    async with AsyncExitStack() as stack:
        # first of all, and outside of every task group: an address that cannot be had is one clear message
        sock = stack.enter_context(listening(listen, "--listen")) if listen is not None else None
        loop = await stack.enter_async_context(
            partition_loop(job, reloading.settings, outages, rebuilds=rebuilds, reloading=reloading)
        )
        address = None
        if sock is not None:
            address = address_of(sock)
            await stack.enter_async_context(answer_health(sock, _Reporter(loop, outages)))
        log.info("service.started", listen=str(address) if address else None, pid=os.getpid())
        try:
            await loop.run(stop)
        except* (RecreatedTopicError, StuckError, WrongPolicyError) as refused:
            log.error("service.failed", reason=str(refused.exceptions[0]))
            raise SystemExit(1) from None
    log.info("service.stopped", reason=stop.reason)


@asynccontextmanager
async def partition_loop(
    job: Job,
    settings: Settings,
    outages: Outages,
    *,
    rebuilds: Rebuilds | None = None,
    reloading: Reloading | None = None,
) -> AsyncIterator[PartitionLoop]:
    """The job's loop with all that it needs, which is closed at the end of the block; `reloading` gives it new settings."""
    access = Access.to(settings.kafka, f"notifier-{job}-{os.getpid()}")
    topics, clock = Topics(settings.kafka.topic_prefix), SystemClock()
    store = RedisViews(settings.redis.url, key_prefix=settings.redis.key_prefix, ca_file=settings.redis.ca_file)
    reader = Reader(access)
    producer = Producer(
        access,
        service=job,
        timeout_s=APPEND_TIMEOUT_S,
        record_bytes_max=record_bytes_max(BODY_BYTES_MAX),
    )
    rebuilds = rebuilds or RebuildLines()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(store.close)
        stack.push_async_callback(reader.close)
        appender = await stack.enter_async_context(producer)
        work: Callable[[int], Work]
        use: Callable[[Settings], None]
        if job == "orders":
            orders = OrdersJob(topics, store, reader, appender, outages, clock, settings.orders.quiet_s, rebuilds)
            work, use = orders.work, partial(_use_in_orders, orders)
            reads, writes = [topics.inbox], [topics.orders, topics.quarantine]
        else:
            client = await stack.enter_async_context(client_of(settings))
            lots = random.SystemRandom().random
            means = Means(
                topics,
                settings.delivery,
                client,
                store,
                reader,
                outages,
                clock,
                lots,
                waiting_max=max(WAITING_MAX // settings.kafka.partitions, 1),
            )
            callees = Callees(settings.endpoints, settings.delivery, lots)
            fanout = FanoutJob(means, callees, appender, settings.orders.quiet_s, rebuilds)
            work, use = fanout.work, partial(_use_in_fanout, client, fanout)
            reads, writes = [topics.orders, topics.commands], [topics.deliveries]
            show_endpoints(fanout)
        if reloading is not None:
            await stack.enter_async_context(reloading.at_work(use))

        async def check() -> None:
            # aiokafka joins a group over topics that are not there, and looks for them again after a minute
            await require(access, [*reads, *writes])
            await store.check()

        yield PartitionLoop(
            access,
            job=job,
            group=topics.group(job),
            topics=reads,
            session_timeout_s=settings.consumers.session_timeout_s,
            work=work,
            check=check,
            outages=outages,
            clock=clock,
            ping=store.check,
            records_read=reader.records_read,
        )


def _use_in_orders(job: OrdersJob, settings: Settings) -> None:
    """All else that it goes by stands in the records."""
    job.quiet_s = settings.orders.quiet_s


def _use_in_fanout(client: Client, job: FanoutJob, settings: Settings) -> None:
    delivery = settings.delivery
    client.use(allow_networks=delivery.allow_networks, connections_max=delivery.concurrency)
    before = job.callees.by_name
    job.use(settings.endpoints, delivery, settings.orders.quiet_s)
    show_endpoints(job, before)


def client_of(settings: Settings, *, lookup: Lookup | None = None) -> Client:
    """The client as the settings say: who may be called, and who never."""
    own = [settings.ingress.public, settings.ingress.internal]
    own += [address for address in (settings.consumers.listen_orders, settings.consumers.listen_fanout) if address]
    return Client(
        allow_networks=settings.delivery.allow_networks,
        forbidden=[(address.host, address.port) for address in own],
        connections_max=settings.delivery.concurrency,
        lookup=lookup,
    )


class _Reporter:
    """A consumer, asked for its health."""

    def __init__(self, loop: PartitionLoop, outages: Outages) -> None:
        self._loop = loop
        self._outages = outages

    async def health(self) -> Health:
        """Ready once it is a member of its group, with partitions or without."""
        away = self._outages.current
        return Health(
            is_live=self._loop.is_live,
            is_ready=self._loop.is_ready,
            dependencies={
                "kafka": "kafka" not in away,
                "redis": "redis" not in away,
                "group": self._loop.is_ready,
            },
        )

    async def metrics(self) -> str:
        """This process' metrics."""
        return metrics.text()
