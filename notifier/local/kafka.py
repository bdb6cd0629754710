"""
One Apache Kafka broker in KRaft mode, for laptops and tests.

It starts in three seconds and holds some 200 MB: broker and controller in one process, a small heap, few threads,
internal topics of one partition. What is chosen here is about size and speed; how records behave is Kafka's own defaults.
"""

import base64
import secrets
import socket
import struct
import subprocess
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from notifier.local.errors import LocalFailed
from notifier.local.jars import class_path, kafka_version
from notifier.local.java import find_java
from notifier.local.ports import HOST
from notifier.local.server import Recipe

_READY_WITHIN_S = 60.0  # three seconds on a quiet laptop; a busy one with a cold disk has needed twenty
_FORMATTED_WITHIN_S = 60.0
_ANSWER_WITHIN_S = 2.0

_JVM = (
    "-Xms128m",
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Xshare:auto",
    "-XX:-UsePerfData",
    "-XX:+ExitOnOutOfMemoryError",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
)

_BROKER = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "BROKER",
    "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
    # there is one broker
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    # a misspelt topic is an error, as it is in production
    "auto.create.topics.enable": "false",
    # nobody waits for members of a group that are not there, and tests may have short sessions
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    # after SIGKILL the controller takes the broker back only once its old session is over: 5 s to be ready again instead of 12
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    # small: the cleaner's default buffer of 128 MB does not fit the heap
    "log.cleaner.dedupe.buffer.size": "8388608",
    "num.network.threads": "2",
    "num.io.threads": "2",
    "background.threads": "1",
    "num.recovery.threads.per.data.dir": "1",
}


def prepare(
    folder: Path,
    ports: tuple[int, int],
    tell: Callable[[str], None],
    settings: Mapping[str, str] | None = None,
    *,
    cluster: str | None = None,
) -> Recipe:
    """
    Make a broker ready to be started, with its data under `folder`; `ports` are the clients' and the controller's.

    `settings` are broker settings that go before those chosen here; `cluster` is the id of a cluster that it is one of, as
    `new_cluster` gives it.

    Raises:
        LocalFailed: no Java, no jars, or the data folder can't be formatted.
    """
    java = find_java()
    jars = class_path(tell)
    data = folder / "kafka"
    data.mkdir(parents=True, exist_ok=True)
    properties = data / "server.properties"
    properties.write_text(
        "".join(f"{name}={value}\n" for name, value in _settings(data, ports, settings or {}).items())
    )
    run = (str(java.program), *_JVM, "-cp", jars)
    if not (data / "log" / "meta.properties").exists():
        _format(run, properties, cluster or new_cluster())
    tell(f"kafka   Apache Kafka {kafka_version()} on {java}, {HOST}:{ports[0]}")
    return Recipe(
        name="kafka",
        command=(*run, "kafka.Kafka", str(properties)),
        ports=ports,
        log_path=folder / "kafka.log",
        is_ready=partial(is_ready, ports[0]),
        ready_within_s=_READY_WITHIN_S,
    )


def new_cluster() -> str:
    """The id of a cluster that is still to come: 16 bytes in URL-safe base64."""
    # a zero in front, because one that began with "-" would be taken for an option
    return base64.urlsafe_b64encode(b"\0" + secrets.token_bytes(15)).decode().rstrip("=")


def is_ready(port: int) -> bool:
    """Whether a broker answers there that its controller counts as alive."""
    return live_brokers(port) > 0


def live_brokers(port: int) -> int:
    """How many brokers are alive, as the one there tells; 0 where none answers."""
    # Kafka protocol guide: Metadata (API key 3) version 1, correlation id 1, no client id, no topics. The answer is the
    # correlation id and the array of live brokers; a broker that is still starting is not yet in its own answer.
    request = struct.pack(">hhihi", 3, 1, 1, -1, 0)
    try:
        with (
            socket.create_connection((HOST, port), _ANSWER_WITHIN_S) as connection,
            connection.makefile("rb") as answer,
        ):
            connection.sendall(struct.pack(">i", len(request)) + request)
            head = answer.read(12)
    except OSError:
        return 0
    return int(struct.unpack(">iii", head)[2]) if len(head) == 12 else 0


def _settings(data: Path, ports: tuple[int, int], settings: Mapping[str, str]) -> dict[str, str]:
    broker, controller = ports
    return {
        **_BROKER,
        "listeners": f"BROKER://{HOST}:{broker},CONTROLLER://{HOST}:{controller}",
        "advertised.listeners": f"BROKER://{HOST}:{broker}",
        "controller.quorum.voters": f"1@{HOST}:{controller}",
        "log.dirs": str(data / "log"),
        **settings,
    }


def _format(run: tuple[str, ...], properties: Path, cluster: str) -> None:
    command = [*run, "kafka.tools.StorageTool", "format", "--cluster-id", cluster, "--config", str(properties)]
    try:
        subprocess.run(  # noqa: S603 - program and arguments are this package's own
            command, capture_output=True, text=True, timeout=_FORMATTED_WITHIN_S, check=True
        )
    except subprocess.CalledProcessError as error:
        said = "\n".join((error.stdout + error.stderr).strip().splitlines()[-8:])
        raise LocalFailed(f"kafka can't format its data folder {properties.parent}:\n{said}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LocalFailed(f"kafka can't format its data folder {properties.parent}: {error}") from error
