"""Kafka and Redis for as long as a block of code: demo, tests, benchmarks."""

import contextlib
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from notifier.local import kafka as local_kafka
from notifier.local import redis as local_redis
from notifier.local.environment import KAFKA_SETTING, REDIS_SETTING, Addresses, environment, given_services
from notifier.local.folder import held
from notifier.local.guard import guard
from notifier.local.ports import free_ports
from notifier.local.server import Server


@dataclass(frozen=True, slots=True)
class Services:
    """Kafka and Redis that run. A handle is None where the environment named the service: that one is not ours to stop."""

    addresses: Addresses
    kafka: Server | None
    redis: Server | None


@contextlib.contextmanager
def running(
    folder: Path, *, tell: Callable[[str], None], kafka: Mapping[str, str] | None = None, fresh: bool = False
) -> Iterator[Services]:
    """
    Have Kafka and Redis run for a block, whatever way it ends.

    A service that the environment names is used as it is; the other is started on free ports with its data under
    `folder`. Should this process be killed, its guard ends them.

    Args:
        folder: for data and logs; it stays.
        tell: is given one line for each choice.
        kafka: settings of the broker that go before our own.
        fresh: begin with empty data.

    Raises:
        LocalFailed: one of them can't be had.
    """
    given = given_services(environment())
    folder = folder.resolve()  # the servers are told absolute paths
    with held(folder) as lock, guard(lock) as watch, _terminated_as_exit(), contextlib.ExitStack() as started:
        if fresh:
            for name in ("kafka", "redis"):
                shutil.rmtree(folder / name, ignore_errors=True)
        broker = store = None
        kafka_port, controller_port, redis_port = free_ports(3)
        if given.bootstrap_servers:
            tell(f"kafka   as {KAFKA_SETTING} says, {given.bootstrap_servers}")
        else:
            broker = Server(local_kafka.prepare(folder, (kafka_port, controller_port), tell, kafka), on_spawn=watch)
            started.callback(broker.stop)
            broker.spawn()
        if given.redis_url:
            tell(f"redis   as {REDIS_SETTING} says")  # a URL may hold a password
        else:
            store = Server(local_redis.prepare(folder, redis_port, tell), on_spawn=watch)
            started.callback(store.stop)
            store.spawn()
        for server in (broker, store):
            if server:
                server.wait_ready()
        addresses = Addresses(
            given.bootstrap_servers or f"127.0.0.1:{kafka_port}", given.redis_url or f"redis://127.0.0.1:{redis_port}/0"
        )
        yield Services(addresses, broker, store)


@contextlib.contextmanager
def _terminated_as_exit() -> Iterator[None]:
    """Let SIGTERM unwind the block as Ctrl-C does, where nobody else has said what it means."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return

    def leave(signum: int, _frame: FrameType | None) -> None:
        sys.exit(128 + signum)  # what a shell reports for it

    signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
