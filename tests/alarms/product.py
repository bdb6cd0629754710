"""One running installation, as a fault may touch it: its processes, its services, AlipayHK before it and the merchants behind."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import aiohttp
from redis.asyncio import Redis

from notifier import config
from notifier.alipayhk.compose import compose
from notifier.clock import SystemClock
from notifier.config import Settings
from notifier.demo.history import Merchant, Message, Order, Refund, TradeWord
from notifier.demo.settings import PARTITIONS, Ports, Setup, new_secret, write
from notifier.demo.topics import make_topics
from notifier.demo.world.accounts import Account, open_accounts
from notifier.demo.world.alipayhk import AlipayHK, fields_of
from notifier.demo.world.lives import Sending
from notifier.demo.world.merchants import HEARD_WITHOUT_ASKING
from notifier.kafka.access import Access
from notifier.local import Server, Services
from notifier.local.ports import HOST
from notifier.record import Record
from notifier.topics import TopicPlan, Topics, partition_of, plans
from tests.alarms.scrapes import Scrapes
from tests.alarms.sink import Sink, listening
from tests.faults.cluster import Cluster, connected
from tests.faults.product import Line, Part
from tests.waiting import until

INJECTED = Path(__file__).with_name("injected")
SEEN_WITHIN_S = 150.0
"""
The longest that anything of a fault has to be waited for: a minute until it lasts, half a minute between two reports, five starts
of one that ends each time.
"""

SETTLED_S = 4.0
"""Of a consumer's session: a killed one is missed soon."""

STANDS_STILL = 0
"""The partition that is left to what holds one up."""
PARTITIONS_AT_WORK = range(1, PARTITIONS)

CROWD = tuple(f"crowd-{number:02}" for number in range(1, 11))
"""As many as it takes until failing together is called our own fault."""

MERCHANTS = (
    Merchant("shop", frozenset(("peak",)), HEARD_WITHOUT_ASKING),
    Merchant("tickets", frozenset(("ferry",)), HEARD_WITHOUT_ASKING),
    Merchant("books", frozenset(("market",)), HEARD_WITHOUT_ASKING),
    *(Merchant(name, frozenset(("market",)), frozenset(("order.closed",))) for name in CROWD),
)

_MORE = """
[consumers]
session_timeout_s = {session_timeout_s}
listen_orders = "{host}:{orders}"
listen_fanout = "{host}:{fanout}"
"""


LISTENS = "LISTENS"
"""Stands in a command line for where the process listens."""


@dataclass(frozen=True, slots=True)
class Process:
    """One process of an installation: the command line, and which of its listeners tells how it is."""

    name: str
    arguments: tuple[str, ...]
    listens: str
    """`internal`, `orders` or `fanout`."""
    environment: Mapping[str, str] = field(default_factory=dict)
    is_late: bool = False
    """It is started by a fault."""


@dataclass(slots=True)
class Product:
    """One installation at work."""

    settings: Settings
    config_file: Path
    topics: Topics
    access: Access
    cluster: Cluster
    kafka: Server | None
    """None, as the next one: it is not ours to stop."""
    redis_server: Server | None
    redis: Redis
    parts: Mapping[str, Part]
    accounts: Mapping[str, Account]
    alipayhk: AlipayHK
    sink: Sink
    scrapes: Scrapes
    tasks: asyncio.TaskGroup
    clock_ahead: Path
    """How many seconds the clocks of its processes are ahead, where they look there."""
    meanwhile: list[asyncio.Task[None]] = field(default_factory=list)
    """What goes on beside the rows; it ends with the installation, finished or not."""
    notes: dict[str, Record] = field(default_factory=dict)
    """What one row has to know of another."""
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    # What AlipayHK tells

    def order(self, channel: str, partition: int | None = None) -> Order:
        """An order that there was not yet, in one partition if that matters."""
        while True:
            order = Order(channel, f"A{next(self._numbers):07}")
            if self.partition_of(order) in (PARTITIONS_AT_WORK if partition is None else (partition,)):
                return order

    def partition_of(self, order: Order) -> int:
        """Where all that is about an order lies."""
        return partition_of(f"{order.channel}/{order.number}".encode(), PARTITIONS)

    async def tell(self, *orders: Order, status: TradeWord = "WAIT_BUYER_PAY", forgery: str | None = None) -> None:
        """Let AlipayHK tell of orders until it is answered `success`; forgeries are told once."""
        await self.alipayhk.send_all([Sending(_message(order, status), forgery=forgery) for order in orders], rate=2000)

    async def tell_oddly(self, order: Order, *, ago: timedelta = timedelta(), **changed: str) -> int:
        """Post something genuine that is not as it always is: of some time ago, or with other fields. The status."""
        account, now = self.accounts[order.channel], SystemClock().now()
        fields = fields_of(_message(order, "TRADE_SUCCESS"), account, now - ago, now) | changed
        body = compose(fields, account.sign_type, account.key)
        async with self.asking() as session, session.post(self.public + account.path, data=body) as answer:
            return answer.status

    @asynccontextmanager
    async def asking(self) -> AsyncIterator[aiohttp.ClientSession]:
        """Somebody with an HTTP client."""
        form = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
        async with aiohttp.ClientSession(trust_env=False, headers=form) as session:
            yield session

    @property
    def public(self) -> str:
        """Where AlipayHK posts."""
        return f"http://{self.settings.ingress.public}"

    @property
    def internal(self) -> str:
        """Where people ask."""
        return f"http://{self.settings.ingress.internal}"

    # What its processes say

    def marks(self) -> dict[str, int]:
        """Where each log ends now."""
        return {name: part.mark() for name, part in self.parts.items()}

    def lines(self, event: str, since: Mapping[str, int], **fields: object) -> list[Line]:
        """What was said of an event behind these marks."""
        return [line for more in self._following(event, since, **fields) for line in more()]

    def _following(self, event: str, since: Mapping[str, int], **fields: object) -> list[Callable[[], list[Line]]]:
        return [part.following(event, since.get(name, 0), **fields) for name, part in self.parts.items()]

    async def said(self, event: str, since: Mapping[str, int], count: int = 1, **fields: object) -> Line:
        """Return the last line once so many were said behind these marks."""
        following, found = self._following(event, since, **fields), list[Line]()

        async def is_said() -> bool:
            found.extend(line for more in following for line in more())
            return len(found) >= count

        await until(is_said, SEEN_WITHIN_S, f"{count} × {event} {fields or ''}")
        return found[-1]

    def pid_of_child(self, child: str) -> int:
        """The process that was last started under this name by a supervisor."""
        pid = self.lines("child.started", {}, child=child)[-1]["pid"]
        assert isinstance(pid, int)
        return pid

    # What an operator does

    def hang_up(self, *names: str) -> None:
        """SIGHUP."""
        for name in names:
            os.kill(self.parts[name].pid, signal.SIGHUP)

    def rewrite(self, *changes: tuple[str, str]) -> None:
        """Change the settings file."""
        text = self.config_file.read_text()
        for before, after in changes:
            assert before in text, before
            text = text.replace(before, after, 1)
        self.config_file.write_text(text)

    def put_clock(self, ahead_s: float) -> None:
        """Let the processes that look there believe that it is so much later."""
        new = self.clock_ahead.with_suffix(".new")
        new.write_text(f"{ahead_s}")
        new.replace(self.clock_ahead)

    async def command(self, *arguments: str) -> str:
        """A command of `notifier`; what it prints."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "notifier", "--config", str(self.config_file), *arguments),
            stdout=PIPE,
            stderr=STDOUT,
        )
        out, _ = await process.communicate()
        assert process.returncode == 0, (arguments, out)
        return out.decode()

    async def folded(self, order: Order, since: Mapping[str, int]) -> None:
        """Return once an order was changed."""
        await self.said("order.changed", since, order=order.number)


def _message(order: Order, status: TradeWord) -> Message:
    refund = Refund(f"R{order.number}", 100) if status == "TRADE_CLOSED" else None
    return Message(order, f"2026{order.number:0>24}", f"notify{order.number:0>26}", status, 4200, refund)


@asynccontextmanager
async def at_work(services: Services, folder: Path, processes: Sequence[Process]) -> AsyncIterator[Product]:
    """An installation for a block, from when all its processes are ready; whatever happens, they are ended."""
    accounts, ports, clock = open_accounts(), Ports.free(), SystemClock()
    ahead = folder / "clock_ahead"
    ahead.write_text("0")
    async with listening() as sink, asyncio.TaskGroup() as tasks:
        secrets = {merchant.name: new_secret() for merchant in MERCHANTS}
        urls = {merchant.name: sink.url(merchant.name) for merchant in MERCHANTS}
        file = write(folder, Setup(services.addresses, ports, accounts, MERCHANTS, urls, secrets))
        more = _MORE.format(session_timeout_s=SETTLED_S, host=HOST, orders=ports.orders, fanout=ports.fanout)
        file.write_text(file.read_text() + more)
        settings = config.load(file, {})
        await make_topics(settings)
        access = Access.to(settings.kafka, "alarms")
        listens = {"internal": ports.internal, "orders": ports.orders, "fanout": ports.fanout}
        injected = {"PYTHONPATH": str(INJECTED), "ALARMS_CLOCK": str(ahead)}
        parts = {
            one.name: Part(
                one.name,
                tuple(f"{HOST}:{listens[one.listens]}" if word == LISTENS else word for word in one.arguments),
                listens[one.listens],
                file,
                folder / f"{one.name}.log",
                tasks,
                environment={**injected, **one.environment} if one.environment else {},
            )
            for one in processes
        }
        wanted = {name: port for name, port in listens.items() if _is_there(name, processes)}

        def now() -> float:
            return clock.now().timestamp() + float(ahead.read_text())

        scrapes = Scrapes(wanted, now)
        async with (
            connected(access, _data_of(services), _plans(settings)) as cluster,
            Redis.from_url(settings.redis.url) as redis,
            AlipayHK(f"http://{HOST}:{ports.public}", accounts, clock) as alipayhk,
        ):
            scraping = tasks.create_task(scrapes.go_on())
            product = Product(
                settings,
                file,
                Topics(settings.kafka.topic_prefix),
                access,
                cluster,
                services.kafka,
                services.redis,
                redis,
                parts,
                {account.channel: account for account in accounts},
                alipayhk,
                sink,
                scrapes,
                tasks,
                ahead,
            )
            try:
                await asyncio.gather(*(parts[one.name].start() for one in processes if not one.is_late))
                yield product
            finally:
                for task in (scraping, *product.meanwhile):
                    task.cancel()
                for part in parts.values():
                    if part.is_started:
                        await part.kill()


def _is_there(listener: str, processes: Sequence[Process]) -> bool:
    return any(one.listens == listener or one.arguments == ("run",) for one in processes)


def _data_of(services: Services) -> list[Path]:
    """Where the broker tells how far its cleaner is; nowhere where it is not ours."""
    return [services.kafka.log_path.parent / "kafka" / "log"] if services.kafka is not None else []


def _plans(settings: Settings) -> list[TopicPlan]:
    return plans(
        Topics(settings.kafka.topic_prefix),
        partitions=settings.kafka.partitions,
        replication_factor=settings.kafka.replication_factor,
        kept_s=settings.orders.kept_s,
        body_bytes_max=settings.ingress.body_bytes_max,
    )
