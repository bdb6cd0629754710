"""The Kafka and the Redis of a run: one broker for most faults, three where one is lost and the others go on."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from notifier.local import KAFKA_SETTING, REDIS_SETTING, Addresses, LocalFailed, Server, running
from notifier.local import kafka as local_kafka
from notifier.local import redis as local_redis
from notifier.local.folder import held
from notifier.local.guard import guard
from notifier.local.ports import HOST, free_ports

BROKER = {"log.cleaner.backoff.ms": "200"}
"""What a broker of these runs needs besides: the cleaner looks more than four times a minute."""

_OF_SEVERAL = {
    "offsets.topic.replication.factor": "3",
    "offsets.topic.num.partitions": "6",  # the groups need not have the same coordinator
    "default.replication.factor": "3",
    "min.insync.replicas": "2",
    "controller.quorum.election.timeout.ms": "1000",
    "controller.quorum.fetch.timeout.ms": "1500",
    "replica.lag.time.max.ms": "4000",
}
_ALIVE_WITHIN_S = 60.0


@dataclass(frozen=True, slots=True)
class Services:
    """What a fault may take away and bring back."""

    addresses: Addresses
    brokers: tuple[Server, ...]
    """Node 1 first."""
    redis: Server

    @property
    def logs(self) -> list[Path]:
        """Where each broker has its data: only there does the cleaner say how far it has come."""
        return [broker.log_path.parent / "kafka" / "log" for broker in self.brokers]


@contextmanager
def services(folder: Path, brokers: int = 1, *, fresh: bool = False) -> Iterator[Services]:
    """
    Have that many brokers and a Redis run for a block, whatever way it ends, with their data under `folder`.

    Raises:
        LocalFailed: one of them can't be had, or the environment names one: that is not ours to kill.
    """
    with _of_one(folder, fresh=fresh) if brokers == 1 else _of_several(folder, brokers) as started:
        yield started


@contextmanager
def _of_one(folder: Path, *, fresh: bool) -> Iterator[Services]:
    with running(folder, tell=_ignore, kafka=BROKER, fresh=fresh) as started:
        if started.kafka is None or started.redis is None:
            raise LocalFailed(
                f"faults need a Kafka and a Redis of their own: unset {KAFKA_SETTING} and {REDIS_SETTING}"
            )
        yield Services(started.addresses, (started.kafka,), started.redis)


@contextmanager
def _of_several(folder: Path, count: int) -> Iterator[Services]:
    """Each is a broker and a controller; a majority of them is needed for anything."""
    folder = folder.resolve()
    with held(folder) as lock, guard(lock) as watch, ExitStack() as started:
        redis_port, *ports = free_ports(1 + 2 * count)
        shutil.rmtree(folder / "redis", ignore_errors=True)
        redis = Server(local_redis.prepare(folder, redis_port, _ignore), on_spawn=watch)
        cluster, clients, controllers = local_kafka.new_cluster(), ports[:count], ports[count:]
        brokers = []
        for node, (client, controller) in enumerate(zip(clients, controllers, strict=True), 1):
            home = folder / f"node-{node}"
            shutil.rmtree(home, ignore_errors=True)
            settings = BROKER | _OF_SEVERAL | _place(node, controllers)
            recipe = local_kafka.prepare(home, (client, controller), _ignore, settings, cluster=cluster)
            brokers.append(Server(recipe, on_spawn=watch))
        for server in (redis, *brokers):
            started.callback(server.kill)  # ended in order, the last would wait for a majority that is gone
            server.spawn()
        for server in (redis, *brokers):
            server.wait_ready()
        deadline = time.monotonic() + _ALIVE_WITHIN_S
        while any(local_kafka.live_brokers(port) < count for port in clients):
            if time.monotonic() > deadline:
                raise LocalFailed(f"not all of {count} brokers came to be alive; their logs are under {folder}")
            time.sleep(0.1)
        bootstrap = ",".join(f"{HOST}:{port}" for port in clients)
        yield Services(Addresses(bootstrap, f"redis://{HOST}:{redis_port}/0"), tuple(brokers), redis)


def _place(node: int, controllers: list[int]) -> dict[str, str]:
    voters = ",".join(f"{number}@{HOST}:{port}" for number, port in enumerate(controllers, 1))
    return {"node.id": str(node), "controller.quorum.voters": voters}


def _ignore(_: str) -> None:
    """What is chosen for a run is told by its figures."""
