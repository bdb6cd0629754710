"""Local Kafka and Redis as they are used: brought up, taken away, brought back, left behind by a parent that was killed."""

import contextlib
import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from dataclasses import asdict, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from redis import Redis

from notifier.local import (
    KAFKA_SETTING,
    REDIS_SETTING,
    Addresses,
    LocalFailed,
    Server,
    Services,
    addresses_of,
    background,
    running,
)
from notifier.local import down as stop_services
from notifier.local import up as start_services
from notifier.local.jars import LOCK_PATH, class_path, locked_jars, spec_hash
from notifier.local.java import major_version
from notifier.local.ports import free_ports, is_free
from notifier.local.process import Process, began, end, is_running, spawn
from notifier.local.server import Recipe

SLEEPER = (sys.executable, "-c", "import signal; signal.pause()")


@pytest.fixture
def own_services(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment names is not used: these tests stop what they use."""
    monkeypatch.delenv(KAFKA_SETTING, raising=False)
    monkeypatch.delenv(REDIS_SETTING, raising=False)


# --- for a block of code ---


@pytest.mark.usefixtures("own_services")
async def test_what_was_acknowledged_outlives_a_broker_and_a_redis_that_were_killed(tmp_path: Path) -> None:
    told: list[str] = []
    with running(tmp_path, tell=told.append) as services:
        assert services.kafka
        assert services.redis
        await _make_topic(services.addresses.bootstrap_servers, "t")
        await _produce(services.addresses.bootstrap_servers, "t", b"before")
        _redis_set(services, "key", "before")
        processes = (services.kafka.pid, services.redis.pid)

        services.redis.stop()
        services.redis.start()
        services.kafka.kill()
        services.kafka.start()

        await _produce(services.addresses.bootstrap_servers, "t", b"after")
        assert await _consume(services.addresses.bootstrap_servers, "t", 2) == [b"before", b"after"]
        assert _redis_get(services, "key") == b"before"
        assert processes != (services.kafka.pid, services.redis.pid)
        processes = (services.kafka.pid, services.redis.pid)

    assert [began(pid) for pid in processes] == [None, None]
    assert [
        line for line in told if re.match(r"kafka   Apache Kafka 4\.\S+ on java \d+ \(\S+\), 127\.0\.0\.1:\d+$", line)
    ]
    assert [line for line in told if re.match(r"redis   (Redis|Valkey) \S+ \(\S+\), 127\.0\.0\.1:\d+$", line)]


def test_redis_never_evicts_and_keeps_what_it_acknowledged(services: Services) -> None:
    if services.redis is None:
        pytest.skip("the environment names a Redis")
    with contextlib.closing(Redis.from_url(services.addresses.redis_url)) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("appendonly") == {"appendonly": "yes"}
        assert client.config_get("appendfsync") == {"appendfsync": "everysec"}


def test_services_that_the_environment_names_are_used_and_not_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KAFKA_SETTING, "kafka.example:9092")
    monkeypatch.setenv(REDIS_SETTING, "redis://:hunter2@redis.example/0")
    told: list[str] = []

    with running(tmp_path, tell=told.append) as services:
        assert services == Services(Addresses("kafka.example:9092", "redis://:hunter2@redis.example/0"), None, None)

    assert "hunter2" not in "".join(told)


def test_a_folder_has_one_user_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KAFKA_SETTING, "kafka.example:9092")
    monkeypatch.setenv(REDIS_SETTING, "redis://redis.example/0")

    with (
        running(tmp_path, tell=_ignore),
        pytest.raises(LocalFailed, match="in use by another run"),
        running(tmp_path, tell=_ignore),
    ):
        pass


# --- processes ---


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_servers_do_not_outlive_the_one_who_started_them(tmp_path: Path, signum: signal.Signals) -> None:
    """Killed, told to end, or stopped by Ctrl-C: the redis goes too, and the folder is free for the next run."""
    code = textwrap.dedent(
        """
        import signal, sys
        from pathlib import Path
        from notifier.local import running

        with running(Path(sys.argv[1]), tell=lambda _: None) as services:
            print(services.redis.pid, flush=True)
            signal.pause()
        """
    )
    variables = {**os.environ, KAFKA_SETTING: "kafka.example:9092", REDIS_SETTING: ""}  # noqa: TID251 - for a child
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        child = Process(pid, began(pid) or "")
        assert is_running(child)

        parent.send_signal(signum)
        parent.wait(20)
        _wait_for_lock(tmp_path)

    assert not is_running(child)


def test_a_process_id_that_went_to_another_program_is_left_alone(tmp_path: Path) -> None:
    stranger = spawn(SLEEPER, tmp_path / "log")

    end(replace(stranger, began="long ago"), signal.SIGKILL, within_s=20)

    assert is_running(stranger)
    end(stranger, signal.SIGKILL, within_s=20)
    assert not is_running(stranger)


def test_a_server_that_ignores_its_end_is_killed(tmp_path: Path) -> None:
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); signal.pause()"
    log = tmp_path / "log"
    server = Server(
        Recipe("deaf", (sys.executable, "-c", deaf), (), log, lambda: "ready" in log.read_text(), 10.0), _ignore
    )
    server.start()

    end(Process(server.pid, began(server.pid) or ""), signal.SIGTERM, within_s=0.1)

    assert not server.is_running


def test_a_server_that_falls_over_while_starting_says_why(tmp_path: Path) -> None:
    broken = "import sys; sys.stderr.write('hello\\nERROR the disk is full\\n'); sys.exit(1)"
    server = Server(
        Recipe("redis", (sys.executable, "-c", broken), (), tmp_path / "redis.log", lambda: False, 10.0), _ignore
    )

    with pytest.raises(LocalFailed, match=r"(?s)redis ended while starting; .*redis\.log.*ERROR the disk is full"):
        server.start()


def test_a_server_that_never_gets_ready_is_given_up_and_killed(tmp_path: Path) -> None:
    server = Server(Recipe("redis", SLEEPER, (), tmp_path / "redis.log", lambda: False, 0.1), _ignore)

    with pytest.raises(LocalFailed, match="was not ready within"):
        server.start()

    assert not server.is_running


# --- in the background ---


@pytest.mark.usefixtures("own_services")
def test_what_is_up_stays_up_on_its_ports_until_down(tmp_path: Path) -> None:
    with _down_at_the_end(tmp_path):
        first = _local(tmp_path, "up")
        addresses = addresses_of(tmp_path)
        assert addresses
        settings = {
            KAFKA_SETTING: addresses.bootstrap_servers,
            REDIS_SETTING: addresses.redis_url,
        }
        assert first.returncode == 0, first.stderr
        assert first.stdout.splitlines() == [f"{name}={value}" for name, value in settings.items()]

        before = _status(tmp_path)
        again = _local(tmp_path, "up", **settings)  # as after `export $(notifier local up)`

        assert again.stdout == first.stdout
        assert _status(tmp_path) == before
        assert [service["state"] for service in before] == ["running", "running"]

        assert _local(tmp_path, "down").returncode == 0

        assert _local(tmp_path, "status").returncode == 1
        assert [began(int(str(service["pid"]))) for service in before] == [None, None]
        assert addresses_of(tmp_path) == addresses


@pytest.mark.usefixtures("own_services")
def test_a_port_that_somebody_else_took_is_named(tmp_path: Path) -> None:
    kafka, controller, redis = free_ports(3)
    _record(tmp_path, kafka_port=kafka, controller_port=controller, redis_port=redis)

    with socket.create_server(("127.0.0.1", kafka)):
        refused = _local(tmp_path, "up")

    assert (refused.returncode, refused.stdout) == (1, "")
    assert f"port {kafka}, which is this folder's, is taken by another program" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("service", ["kafka", "redis"])
def test_what_runs_and_does_not_answer_is_not_taken_for_up(
    service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was stopped, or it hangs: the port takes connections all the same. Whoever is told "runs already" looks elsewhere."""
    monkeypatch.setattr(background, "ANSWERS_WITHIN_S", 0.0)
    other_setting, other = {
        "kafka": (REDIS_SETTING, "redis://127.0.0.1:1/0"),
        "redis": (KAFKA_SETTING, "127.0.0.1:1"),
    }[service]
    monkeypatch.setenv(other_setting, other)
    hanging = spawn(SLEEPER, tmp_path / "log")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        ports = {"kafka_port": 1, "controller_port": 2, "redis_port": 3} | {f"{service}_port": port}
        _record(tmp_path, **ports, **{service: asdict(hanging)})

        with pytest.raises(LocalFailed, match="did not answer") as refused:
            start_services(tmp_path, _ignore)

    assert f"{service}: process {hanging.pid} runs" in str(refused.value)
    assert f"kill -CONT {hanging.pid}" in str(refused.value)
    assert is_running(hanging), "whether it may be ended is for a person to say"
    end(hanging, signal.SIGKILL, within_s=20)


@pytest.mark.usefixtures("own_services")
def test_down_leaves_a_stranger_alone_that_got_the_process_id(tmp_path: Path) -> None:
    stranger = spawn(SLEEPER, tmp_path / "log")
    _record(
        tmp_path, kafka_port=1, controller_port=2, redis_port=3, kafka={"pid": stranger.pid, "began": "before the boot"}
    )
    told: list[str] = []

    stop_services(tmp_path, told.append)

    assert is_running(stranger)
    assert told == ["kafka   was not running", "redis   was not running"]
    end(stranger, signal.SIGKILL, within_s=20)


@pytest.mark.usefixtures("own_services")
@pytest.mark.parametrize("command", ["up", "down", "status"])
def test_a_damaged_record_is_one_clear_message(tmp_path: Path, command: str) -> None:
    _record(tmp_path)

    refused = _local(tmp_path, command)

    assert refused.returncode == 1
    assert re.fullmatch(r"notifier local: \S+services\.json is damaged; .*\n", refused.stderr)


def test_a_folder_that_cannot_be_made_is_one_clear_message(tmp_path: Path) -> None:
    (tmp_path / ".local").write_text("a file is in the way")

    with pytest.raises(LocalFailed, match=r"\.local can't be written"):
        start_services(tmp_path, _ignore)


# --- ports, Java, jars ---


def test_free_ports_are_different_and_below_those_of_outgoing_connections() -> None:
    ports = free_ports(20)

    assert len(set(ports)) == 20
    assert max(ports) < 32_768
    with socket.create_server(("127.0.0.1", ports[0])):
        assert not is_free(ports[0])


@pytest.mark.parametrize(
    ("answer", "major"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('openjdk version "25" 2025-09-16', 25),  # a first release has no dots
        ('java version "1.8.0_402"', 8),  # until Java 8 the major version stood second
        ("The operation couldn't be completed. Unable to locate a Java Runtime.", None),  # macOS without Java
    ],
)
def test_the_version_of_java_is_what_it_says(tmp_path: Path, answer: str, major: int | None) -> None:
    program = tmp_path / "java"
    program.write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{answer}\nEND\n")
    program.chmod(0o755)

    assert major_version(program) == major


def test_the_lock_is_of_the_jars_asked_for_and_names_each_by_its_checksum() -> None:
    lock = LOCK_PATH.read_text()

    assert f'spec_hash = "{spec_hash()}"' in lock, "jgo.toml changed: make lock"
    assert locked_jars()[0].artifact.startswith("kafka_")
    assert all(re.fullmatch("[0-9a-f]{64}", jar.sha256) for jar in locked_jars())
    assert "://" not in lock, "a lock names no repository: any mirror serves"


def test_no_jar_is_used_that_is_not_what_the_lock_names(tmp_path: Path, mirror: dict[str, bytes]) -> None:
    kept = tmp_path / "alipayhk-notifier" / "jars" / "a-1.jar"

    with pytest.raises(LocalFailed, match="Kafka's jars can't be fetched"):  # the mirror has nothing
        class_path(_ignore)
    mirror["/g/a/1/a-1.jar"] = b"altered on the way"
    with pytest.raises(LocalFailed, match=r"a-1\.jar as it came is not what"):
        class_path(_ignore)
    assert not kept.exists()

    mirror["/g/a/1/a-1.jar"] = b"jar"
    assert class_path(_ignore) == str(kept)
    kept.write_bytes(b"altered since")
    assert class_path(_ignore) == str(kept)
    assert kept.read_bytes() == b"jar"

    mirror.clear()
    assert class_path(_ignore) == str(kept), "what is there and right is not fetched again"


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes]]:
    """A repository on this machine, path to content, and a lock that names one jar."""
    files: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = files.get(self.path)
            if content is None:
                return  # hang up; jgo would not close the connection of a 404, which is a warning and so an error here
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Keep standard error for what failed."""

    lock = tmp_path / "jgo.lock.toml"
    checksum = hashlib.sha256(b"jar").hexdigest()
    lock.write_text(f'[[dependencies]]\ngroupId = "g"\nartifactId = "a"\nversion = "1"\nsha256 = "{checksum}"\n')
    monkeypatch.setattr("notifier.local.jars.LOCK_PATH", lock)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        config = tmp_path / "jgo.conf"
        config.write_text(f"[repositories]\ncentral = http://127.0.0.1:{server.server_port}\n")
        monkeypatch.setenv("JGO_CONFIG_FILE", str(config))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield files
        server.shutdown()
        serving.join()


# --- helpers ---


def _ignore(_: object) -> None:
    pass


async def _make_topic(bootstrap_servers: str, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])
    finally:
        await admin.close()


async def _produce(bootstrap_servers: str, topic: str, value: bytes) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all", enable_idempotence=True)
    await producer.start()
    try:
        await producer.send_and_wait(topic, value)
    finally:
        await producer.stop()


async def _consume(bootstrap_servers: str, topic: str, count: int) -> list[bytes | None]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers, enable_auto_commit=False)
    await consumer.start()
    try:
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        await consumer.seek_to_beginning(partition)
        return [(await consumer.getone()).value for _ in range(count)]
    finally:
        await consumer.stop()


def _redis_set(services: Services, key: str, value: str) -> None:
    with contextlib.closing(Redis.from_url(services.addresses.redis_url)) as client:
        client.set(key, value)


def _redis_get(services: Services, key: str) -> object:
    with contextlib.closing(Redis.from_url(services.addresses.redis_url)) as client:
        return client.get(key)


def _local(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `notifier local …` in `folder` as its users do, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", "from notifier.cli.local import app; app(prog_name='notifier local')", *arguments],
        cwd=folder,
        env={**os.environ, **variables},  # noqa: TID251 - for a child
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def _status(folder: Path) -> list[dict[str, object]]:
    listed: list[dict[str, object]] = json.loads(_local(folder, "status", "--json").stdout)
    return listed


@contextlib.contextmanager
def _down_at_the_end(folder: Path) -> Iterator[None]:
    try:
        yield
    finally:
        stop_services(folder, _ignore)


def _record(folder: Path, **values: object) -> None:
    (folder / ".local").mkdir()
    (folder / ".local" / "services.json").write_text(json.dumps({"kafka": None, "redis": None, **values}))


def _wait_for_lock(folder: Path) -> None:
    """Wait until the guard has let go of the folder, which it does last."""
    import fcntl

    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
