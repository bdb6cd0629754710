"""
The root of `serve`: it binds the listeners, puts the door behind the public one, and ends it in order.

The order of the end is that of a deployment: not ready first, so that a balancer turns away; then no new connections; then what
is in flight is finished, within a bound; then the producer is flushed and the process leaves with 0.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import uvloop

from notifier import config, logs, metrics
from notifier.clock import SystemClock
from notifier.config import BODY_BYTES_MAX, Settings
from notifier.door import notify_verify
from notifier.door.http import Limits
from notifier.door.ingress import Door
from notifier.door.listener import Listener
from notifier.door.notify_verify import NotifyVerifier
from notifier.internal.desk import desk_of
from notifier.internal.health import Health, answer_health
from notifier.kafka.access import Access
from notifier.kafka.inbox import Inbox
from notifier.kafka.producer import Producer
from notifier.outage import Outages
from notifier.ports import PatientInbox
from notifier.processes import hangup, heart
from notifier.processes.listening import BACKLOG, CannotListenError, address_of, listening
from notifier.processes.reloading import Reloading
from notifier.processes.workers import STOP_EXTRA_S, Crew, answer_parent
from notifier.topics import Topics, record_bytes_max
from notifier.watching import tracing
from notifier.watching.expiring import KeyEnds, measure

log = logs.get_logger()

OVERDUE_EVERY_S = 5.0
ANSWER_EXTRA_S = 0.5
"""Beyond what makes a notification durable: an answer takes no longer than that (contract, section 4)."""


def run_serve(settings: Settings, *, workers: int | None = None, config_file: Path | None = None) -> None:
    """
    Serve until SIGTERM or SIGINT; at SIGHUP, take changed settings over.

    Args:
        workers: `--workers`, where given; else the setting.
        config_file: what `--config` named: each worker reads the same file by itself.

    Raises:
        CannotListenError: a listener's address cannot be had.
    """
    speak(settings)
    count = workers if workers is not None else settings.ingress.workers
    reloading = Reloading(settings, config.reader(config_file, config.environment()))
    run(_serve_alone(reloading) if count == 1 else _serve_with_workers(reloading, count, config_file))


def finish_s_max(settings: Settings) -> float:
    """How long the end waits for what is in flight: as long as an answer may take (contract, section 4)."""
    return _durable_s_max(settings) + ANSWER_EXTRA_S


def _durable_s_max(settings: Settings) -> float:
    is_anybody_asked = any(channel.verify_notify_id for channel in settings.channels)
    return settings.ingress.append_timeout_s + (notify_verify.TIMEOUT_S if is_anybody_asked else 0.0)


def speak(settings: Settings) -> None:
    """Set log and traces up for a process of the ingress."""
    logs.configure(
        service="ingress",
        instance=f"{socket.gethostname()}-{os.getpid()}",
        format=settings.log.format,
        level=settings.log.level,
    )
    tracing.configure(
        service="ingress",
        instance=f"{socket.gethostname()}-{os.getpid()}",
        otlp_endpoint=settings.telemetry.otlp_endpoint,
    )


def run(main: Coroutine[Any, Any, None]) -> None:
    """
    Run to the end on uvloop.

    Raises:
        CannotListenError: a listener's address cannot be had.
        SystemExit: with 1, after one line: a fault that cannot be mended in place. A supervisor starts the process again.
    """
    # What was imported stays for ever, and a batch of records holds more objects than Python's garbage collector expects to
    # see between two looks: left as it is, looking through all of them again and again takes a quarter of the orders job's time.
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            heart.begin(runner.get_loop())
            runner.run(main)
    except CannotListenError:
        raise
    except Exception:
        log.exception("service.failed", reason="internal_error")
        raise SystemExit(1) from None
    finally:
        tracing.end()


class Stop:
    """Says that it is time to end, and why. `then` is called when it is said."""

    def __init__(self, then: Callable[[], None] = lambda: None) -> None:
        self._said = asyncio.Event()
        self._then = then
        self.reason = ""

    def say(self, reason: str) -> None:
        """End now; the first reason is the one that is told."""
        self.reason = self.reason or reason
        self._said.set()
        self._then()

    async def wait(self) -> None:
        """Return once it was said."""
        await self._said.wait()

    def on_signals(self, *signals: signal.Signals) -> None:
        """Let these signals say it."""
        loop = asyncio.get_running_loop()
        for one in signals:
            loop.add_signal_handler(one, self.say, one.name)


async def _serve_alone(reloading: Reloading) -> None:
    stop = Stop()
    settings = reloading.settings
    with (
        listening(settings.ingress.public, "ingress.public") as public,
        listening(settings.ingress.internal, "ingress.internal") as internal,
    ):
        stop.on_signals(signal.SIGTERM, signal.SIGINT)
        hangup.follow(reloading.ask, stop.say)
        async with AsyncExitStack() as stack:
            inbox = await stack.enter_async_context(inbox_of(settings))
            ingress = Ingress(settings, inbox)
            desk = await stack.enter_async_context(desk_of(settings))
            await stack.enter_async_context(answer_health(internal, ingress, desk.routes))
            ends = KeyEnds(SystemClock())
            told = ends.told_daily(lambda: reloading.settings.channels)
            async with ingress.open(public), told, reloading.at_work(partial(_use_and_tell, ingress.use, ends)):
                log.info(
                    "service.started",
                    public=str(address_of(public)),
                    internal=str(address_of(internal)),
                    workers=1,
                    pid=os.getpid(),
                )
                await stop.wait()
                ending_at = asyncio.get_running_loop().time()
        _tell_stopped(stop, ending_at)


def _tell_stopped(stop: Stop, ending_at: float) -> None:
    seconds = asyncio.get_running_loop().time() - ending_at
    log.info("service.stopped", reason=stop.reason, duration_ms=round(seconds * 1000, 3))


@asynccontextmanager
async def inbox_of(settings: Settings) -> AsyncIterator[Inbox]:
    """The inbox as the settings say, which is closed at the end of the block."""
    producer = Producer(
        Access.to(settings.kafka, f"notifier-ingress-{os.getpid()}"),
        service="ingress",
        timeout_s=settings.ingress.append_timeout_s,
        record_bytes_max=record_bytes_max(BODY_BYTES_MAX),
        replace_on_timeout=False,
    )
    topic = Topics(settings.kafka.topic_prefix).inbox
    outages = Outages(kafka=settings.kafka.bootstrap_servers)
    async with Inbox(
        producer,
        topic,
        timeout_s=settings.ingress.append_timeout_s,
        outages=outages,
        partitions=settings.kafka.partitions,
    ) as inbox:
        yield inbox


class Ingress:
    """The door of one process, from opening to closing."""

    def __init__(self, settings: Settings, inbox: PatientInbox) -> None:
        self._settings = settings
        self._inbox = inbox
        self._is_open = False
        self._door: Door | None = None
        self._listener: Listener | None = None

    def use(self, settings: Settings) -> None:
        """Take these settings instead; what is under way ends with the channel that it began with."""
        before, self._settings = self._settings, settings
        self._inbox.give_up_after(settings.ingress.append_timeout_s)
        if self._door is not None and self._listener is not None:
            self._door.use(settings.channels)
            self._listener.limit(_limits(settings))
            measure(settings.channels, before.channels)

    async def health(self) -> Health:
        """Ready once the inbox's partitions are known, and not while stopping; whether Kafka answers is told beside it."""
        return Health(is_ready=self._is_open and self._inbox.is_ready, dependencies={"kafka": self._inbox.is_answering})

    async def metrics(self) -> str:
        """This process' metrics."""
        return metrics.text()

    @asynccontextmanager
    async def open(self, public: socket.socket) -> AsyncIterator[None]:
        """
        Take notifications from this socket while the block runs; what is in flight at its end is finished.

        What cannot be made durable in time by then is told so before its connection closes: it is sent again.
        """
        async with NotifyVerifier() as verifier, asyncio.TaskGroup() as tasks:
            door = self._door = Door(self._settings.channels, self._inbox, verifier, SystemClock())
            listener = self._listener = Listener(door, _limits(self._settings))
            server = await asyncio.get_running_loop().create_server(listener, sock=public, backlog=BACKLOG)
            telling = tasks.create_task(_tell_overdue(door))
            measure(self._settings.channels)
            self._is_open = True
            try:
                yield
            finally:
                self._is_open = False
                listener.retire()
                waiting = _accepted(public)
                server.close()
                for client in waiting:
                    await asyncio.get_running_loop().connect_accepted_socket(listener, client)
                giving_up = asyncio.get_running_loop().call_later(_durable_s_max(self._settings), door.stop)
                await listener.finish(finish_s_max(self._settings))
                giving_up.cancel()
                telling.cancel()
                door.tell_overdue(at_the_end=True)


def _use_and_tell(use: Callable[[Settings], None], ends: KeyEnds, settings: Settings) -> None:
    """Take settings over, and say which new keys end soon: who puts in an old one by mistake hears of it at once."""
    use(settings)
    ends.tell_new(settings.channels)


def _accepted(public: socket.socket) -> list[socket.socket]:
    """Who waits to be accepted: the kernel resets them when the socket closes, with what they have sent."""
    clients: list[socket.socket] = []
    with suppress(OSError):  # nobody waits any more; or no file is left to be opened, and then they can't be helped
        while len(clients) < BACKLOG:
            clients.append(public.accept()[0])
    return clients


def _limits(settings: Settings) -> Limits:
    return Limits(body_bytes_max=settings.ingress.body_bytes_max)


async def _tell_overdue(door: Door) -> None:
    while True:
        await asyncio.sleep(OVERDUE_EVERY_S)
        door.tell_overdue()
        door.tell_silent()


async def serve_as_worker(reloading: Reloading, public: socket.socket, control: socket.socket) -> None:
    """The work of one of several processes: the parent has the listeners, hands over the public one, and asks how we are."""
    stop = Stop()
    stop.on_signals(signal.SIGTERM)
    for one in (signal.SIGINT, signal.SIGHUP):  # a terminal's reach all; the parent says when
        signal.signal(one, signal.SIG_IGN)
    async with AsyncExitStack() as stack:
        inbox = await stack.enter_async_context(inbox_of(reloading.settings))
        ingress = Ingress(reloading.settings, inbox)
        await stack.enter_async_context(answer_parent(control, ingress, reloading.ask, stop.say))
        async with ingress.open(public), reloading.at_work(ingress.use):
            await stop.wait()


async def _serve_with_workers(reloading: Reloading, count: int, config_file: Path | None) -> None:
    stop = Stop()
    settings = reloading.settings
    with (
        listening(settings.ingress.public, "ingress.public") as public,
        listening(settings.ingress.internal, "ingress.internal") as internal,
    ):
        stop.on_signals(signal.SIGTERM, signal.SIGINT)
        hangup.follow(reloading.ask, stop.say)
        ends = KeyEnds(SystemClock())
        crew = Crew(
            public,
            count,
            config_file,
            stop_s_max=lambda: finish_s_max(reloading.settings) + STOP_EXTRA_S,
            in_use=lambda: reloading.settings.text,
        )
        async with (
            desk_of(settings) as desk,
            answer_health(internal, crew, desk.routes),
            crew.at_work(),
            ends.told_daily(lambda: reloading.settings.channels),
            reloading.at_work(partial(_use_and_tell, lambda _: crew.reload(), ends)),
        ):
            log.info(
                "service.started",
                public=str(address_of(public)),
                internal=str(address_of(internal)),
                workers=count,
                pid=os.getpid(),
            )
            await stop.wait()
            ending_at = asyncio.get_running_loop().time()
        _tell_stopped(stop, ending_at)
