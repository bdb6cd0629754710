"""
Kafka and Redis that stay after the command: `notifier local up`, `down`, `status`.

What is known about them is in `.local/services.json` of the folder. Ports stay in it for ever, so that what was written
into settings goes on working; process ids only while something runs.
"""

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from notifier.local import kafka as local_kafka
from notifier.local import redis as local_redis
from notifier.local.environment import KAFKA_SETTING, REDIS_SETTING, Addresses, Given, environment, given_services
from notifier.local.errors import LocalFailed
from notifier.local.folder import held
from notifier.local.ports import HOST, free_ports, is_free
from notifier.local.process import Process, is_running
from notifier.local.server import Recipe, Server, end_in_order

ANSWERS_WITHIN_S = 15.0
"""For a service that was found running: one that reads its data back after a crash needs seconds."""
_LOOK_EVERY_S = 0.1


@dataclass(frozen=True, slots=True)
class Record:
    """What services.json holds: the ports of this folder, and the processes that were started on them."""

    kafka_port: int
    controller_port: int
    redis_port: int
    kafka: Process | None = None
    redis: Process | None = None

    @property
    def addresses(self) -> Addresses:
        return Addresses(f"{HOST}:{self.kafka_port}", f"redis://{HOST}:{self.redis_port}/0")


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """One service as `local status` shows it; "given" is one that the environment names, which is not looked at."""

    service: Literal["kafka", "redis"]
    state: Literal["running", "not answering", "stopped", "given"]
    address: str | None
    pid: int | None


def up(folder: Path, tell: Callable[[str], None]) -> Addresses:
    """
    Start what of Kafka and Redis does not run yet, and leave it running.

    Raises:
        LocalFailed: one of them can't be had; then what this call has started is stopped again.
    """
    base = _base(folder)
    with held(base):
        record = _read(base) or _new_record()
        _write(base, record)
        given = _given_by_others(record)
        with _stopped_on_failure() as started:
            record = _start_kafka(base, record, given, tell, started)
            _start_redis(base, record, given, tell, started)
            for server in started:
                server.wait_ready()
    return Addresses(
        given.bootstrap_servers or record.addresses.bootstrap_servers, given.redis_url or record.addresses.redis_url
    )


def down(folder: Path, tell: Callable[[str], None]) -> None:
    """
    Stop what `up` has started in this folder; data and ports stay.

    A process id that belongs to another program by now is left alone.

    Raises:
        LocalFailed: the folder is in use, or its record can't be read.
    """
    base = _base(folder)
    if not base.exists():
        tell(f"nothing was started in {folder}")
        return
    with held(base):
        record = _read(base)
        if record is None:
            tell(f"nothing was started in {folder}")
            return
        for name, process in (("kafka", record.kafka), ("redis", record.redis)):
            if process and is_running(process):
                end_in_order(process)
                tell(f"{name}   stopped")
            else:
                tell(f"{name}   was not running")
        _write(base, replace(record, kafka=None, redis=None))


def status(folder: Path) -> list[ServiceStatus]:
    """Say of each service whether it runs and answers. Raises LocalFailed if the record can't be read."""
    record = _read(_base(folder))
    given = _given_by_others(record)
    kafka = ServiceStatus("kafka", "given", given.bootstrap_servers, None)
    redis = ServiceStatus("redis", "given", None, None)  # a URL may hold a password
    if not given.bootstrap_servers:
        kafka = _look("kafka", record.kafka if record else None, record.kafka_port if record else None)
    if not given.redis_url:
        redis = _look("redis", record.redis if record else None, record.redis_port if record else None)
    return [kafka, redis]


def addresses_of(folder: Path) -> Addresses | None:
    """The addresses of this folder's `up`, also while it is down, since they stay; None where there never was one."""
    record = _read(_base(folder))
    return record.addresses if record else None


def _new_record() -> Record:
    kafka, controller, redis = free_ports(3)
    return Record(kafka, controller, redis)


def _start_kafka(
    base: Path, record: Record, given: Given, tell: Callable[[str], None], started: list[Server]
) -> Record:
    if given.bootstrap_servers:
        tell(f"kafka   as {KAFKA_SETTING} says, {given.bootstrap_servers}")
        return record
    if record.kafka and is_running(record.kafka):
        _require_answer("kafka", record.kafka, record.kafka_port, local_kafka.is_ready, tell)
        return record
    _require_free(base, "kafka", record.kafka_port, record.controller_port)
    recipe = local_kafka.prepare(base, (record.kafka_port, record.controller_port), tell)
    return _start(base, recipe, started, lambda process: replace(record, kafka=process))


def _start_redis(
    base: Path, record: Record, given: Given, tell: Callable[[str], None], started: list[Server]
) -> Record:
    if given.redis_url:
        tell(f"redis   as {REDIS_SETTING} says")
        return record
    if record.redis and is_running(record.redis):
        _require_answer("redis", record.redis, record.redis_port, local_redis.is_ready, tell)
        return record
    _require_free(base, "redis", record.redis_port)
    recipe = local_redis.prepare(base, record.redis_port, tell)
    return _start(base, recipe, started, lambda process: replace(record, redis=process))


def _start(base: Path, recipe: Recipe, started: list[Server], recorded: Callable[[Process], Record]) -> Record:
    """Start a server and write its process down before it is ready: if we are killed while waiting, `down` still finds it."""
    spawned: list[Process] = []
    server = Server(recipe, on_spawn=spawned.append)
    started.append(server)
    server.spawn()
    record = recorded(spawned[0])
    _write(base, record)
    return record


@contextlib.contextmanager
def _stopped_on_failure() -> Iterator[list[Server]]:
    """Servers put into the list are stopped if the block does not end well."""
    started: list[Server] = []
    well = False
    try:
        yield started
        well = True
    finally:
        if not well:
            for server in started:
                server.stop()


def _require_answer(
    name: str, process: Process, port: int, is_ready: Callable[[int], bool], tell: Callable[[str], None]
) -> None:
    """
    See that what runs already is of use; one that was started a moment ago has its time.

    Raises:
        LocalFailed: it says nothing.
    """
    deadline = time.monotonic() + ANSWERS_WITHIN_S
    if not is_ready(port):
        tell(f"{name}   runs already and does not answer; waiting {ANSWERS_WITHIN_S:.0f} s for it")
        while not is_ready(port):
            if time.monotonic() > deadline:
                raise LocalFailed(
                    f"{name}: process {process.pid} runs, and did not answer at {HOST}:{port} within {ANSWERS_WITHIN_S:.0f} s. "
                    f"If it was stopped (Ctrl-Z, SIGSTOP): `kill -CONT {process.pid}`. If it hangs: `notifier local down` ends "
                    "it, `notifier local up` starts it again; what it has stored stays."
                )
            time.sleep(_LOOK_EVERY_S)
    tell(f"{name}   runs already, {HOST}:{port}")


def _require_free(base: Path, name: str, *ports: int) -> None:
    for port in ports:
        if not is_free(port):
            raise LocalFailed(
                f"{name}: port {port}, which is this folder's, is taken by another program; end that one, or remove "
                f"{_path(base)} for new ports (the data stays, the addresses in your settings have to follow)"
            )


def _look(name: Literal["kafka", "redis"], process: Process | None, port: int | None) -> ServiceStatus:
    address = f"{HOST}:{port}" if port else None
    if process is None or port is None or not is_running(process):
        return ServiceStatus(name, "stopped", address, None)
    answers = local_kafka.is_ready(port) if name == "kafka" else local_redis.is_ready(port)
    return ServiceStatus(name, "running" if answers else "not answering", address, process.pid)


def _given_by_others(record: Record | None) -> Given:
    """What the environment names, except this folder's own services: their addresses are often exported after the first `up`."""
    given = given_services(environment())
    if record is None:
        return given
    own = record.addresses
    return Given(
        None if given.bootstrap_servers == own.bootstrap_servers else given.bootstrap_servers,
        None if given.redis_url == own.redis_url else given.redis_url,
    )


def _base(folder: Path) -> Path:
    return folder.resolve() / ".local"


def _path(base: Path) -> Path:
    return base / "services.json"


def _read(base: Path) -> Record | None:
    try:
        stored = json.loads(_path(base).read_text())
        kafka, redis = (Process(**stored[name]) if stored[name] else None for name in ("kafka", "redis"))
        ports = (stored["kafka_port"], stored["controller_port"], stored["redis_port"])
        return Record(*ports, kafka=kafka, redis=redis)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LocalFailed(f"{_path(base)} can't be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise LocalFailed(
            f"{_path(base)} is damaged; end what still runs in this folder and remove the file"
        ) from error


def _write(base: Path, record: Record) -> None:
    """Replace the file whole, so that a crash leaves the old or the new one."""
    new = _path(base).with_suffix(".new")
    new.write_text(json.dumps(asdict(record), indent=1) + "\n")
    new.replace(_path(base))
