"""Commands against real Kafka: what they find, what they make, and what they say where it is not there."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from notifier import config
from notifier.cli import main
from notifier.config import Settings
from notifier.kafka.access import Access
from notifier.kafka.producer import Producer
from notifier.record import Record
from notifier.topics import Topics

Notifier = Callable[..., int]
WITHIN_S = 30.0


@pytest.fixture
def notifier(
    bootstrap_servers: str, redis_url: str, topic_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Notifier:
    """`notifier …`, in an empty folder, with Kafka and Redis there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NOTIFIER__KAFKA__BOOTSTRAP_SERVERS", bootstrap_servers)
    monkeypatch.setenv("NOTIFIER__KAFKA__TOPIC_PREFIX", topic_prefix)
    monkeypatch.setenv("NOTIFIER__KAFKA__PARTITIONS", "3")
    monkeypatch.setenv("NOTIFIER__REDIS__URL", redis_url)
    monkeypatch.setenv("COLUMNS", "100")

    def call(*words: str) -> int:
        return main(words)

    return call


@pytest.fixture
def settings(notifier: Notifier) -> Settings:
    return config.load(None, config.environment(), needs_file=False)


class TestTopics:
    """`notifier topics`"""

    def test_what_is_missing_is_found_then_made_then_found_well(
        self, notifier: Notifier, topic_prefix: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert notifier("topics") == 1
        assert "5 topics are missing: `notifier topics --apply` creates them." in capsys.readouterr().out
        assert notifier("topics", "--json") == 1
        before = json.loads(capsys.readouterr().out)
        assert notifier("topics", "--apply", "--json") == 0
        made = capsys.readouterr()
        assert notifier("topics", "--json") == 0
        after = json.loads(capsys.readouterr().out)

        topics = [f"{topic_prefix}.{name}.v1" for name in ("inbox", "orders", "deliveries", "commands", "quarantine")]
        assert [(row["topic"], row["state"]) for row in before] == [(topic, "missing") for topic in topics]
        assert {row["remedy"] for row in before} == {"`notifier topics --apply` creates it"}
        assert made.err.splitlines() == [f"created {topic}" for topic in topics]
        assert [(row["topic"], row["state"]) for row in after] == [(topic, "ok") for topic in topics]

    def test_to_apply_again_changes_nothing(self, notifier: Notifier, capsys: pytest.CaptureFixture[str]) -> None:
        assert notifier("topics", "--apply") == 0
        capsys.readouterr()

        assert notifier("topics", "--apply") == 0
        assert capsys.readouterr().err == ""

    def test_what_differs_is_told_with_its_remedy_and_never_altered(
        self,
        notifier: Notifier,
        topic_prefix: str,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        assert notifier("topics", "--apply") == 0
        monkeypatch.setenv("NOTIFIER__KAFKA__PARTITIONS", "4")
        monkeypatch.setenv("NOTIFIER__ORDERS__KEPT_S", "800000")
        capsys.readouterr()

        assert notifier("topics", "--apply") == 1
        said = capsys.readouterr().out
        assert notifier("topics", "--json") == 1
        rows = json.loads(capsys.readouterr().out)

        assert f"--entity-name {topic_prefix}.orders.v1 --add-config 'retention.ms=800000000'" in said
        assert "set kafka.partitions to 3 if all topics have had that from their beginning" in said
        differing = [(row["topic"], row["setting"], row["has"], row["needs"]) for row in rows]
        assert differing.count((f"{topic_prefix}.inbox.v1", "partitions", "3", "4")) == 1
        assert (f"{topic_prefix}.orders.v1", "retention.ms", "34560000000", "800000000") in differing
        assert "A shorter retention deletes at once what is older." in said
        assert all(row["cost"] and row["remedy"] for row in rows)

    def test_what_the_cluster_refuses_is_told_in_its_words(
        self, notifier: Notifier, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("NOTIFIER__KAFKA__REPLICATION_FACTOR", "3")

        assert notifier("topics", "--apply") == 1

        said = capsys.readouterr().err
        assert said.startswith("notifier: Kafka refuses to create ")
        assert "only 1 broker" in said
        assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("orders", "list", "--channel", "shop"),
            "--channel: the settings have no channel 'shop'. Did you mean shop-hkd?",
        ),
        (
            ("quarantine", "list", "--channel", "x"),
            "--channel: the settings have no channel 'x'. Known here: shop-hkd.",
        ),
        (
            ("deliveries", "list", "--endpoint", "x"),
            "--endpoint: the settings have no endpoint 'x'. Known here: shop-oms.",
        ),
    ],
    ids=lambda one: " ".join(one[:2]) if isinstance(one, tuple) else "",
)
@pytest.mark.parametrize("more", [(), ("--json",)], ids=["for people", "for programs"])
def test_nothing_found_under_a_name_that_nobody_has_is_a_wrong_question(
    words: tuple[str, ...], said: str, more: tuple[str, ...], notifier: Notifier, capsys: pytest.CaptureFixture[str]
) -> None:
    """`Nothing is in quarantine` of a channel that was mistyped reads as good news."""
    assert notifier("init") == 0
    assert notifier("topics", "--apply") == 0
    capsys.readouterr()

    assert notifier(*words, *more) == 2

    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith(f"notifier {' '.join(words[:2])}: {said}\n")


@pytest.mark.parametrize("words", [("topics",), ("topics", "--apply"), ("tail",)], ids=" ".join)
def test_without_kafka_there_is_one_message(
    words: tuple[str, ...], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where it was looked for, and what to do; nothing of the library's own noise."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NOTIFIER__KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1")

    assert main(words) == 1

    said = capfd.readouterr()
    assert said.out == ""
    assert said.err.startswith("notifier: Kafka does not answer at 127.0.0.1:1: no connection was made. ")
    assert "`notifier local up`" in said.err
    assert said.err.count("\n") == 1


@pytest.mark.parametrize("kind", ["pay", "forge"])
def test_where_nobody_knows_the_channel_simulate_says_what_to_look_at(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another program on the ingress' address, or the ingress of another folder. No forgery was refused there either."""
    monkeypatch.chdir(tmp_path)
    assert main(["init"]) == 0
    with answering_404() as address:
        monkeypatch.setenv("NOTIFIER__INGRESS__PUBLIC", address)
        capsys.readouterr()

        assert main(["simulate", kind, "shop-hkd", "T1", "128.00", "--json"]) == 1

    said = capsys.readouterr()
    assert [answer["status_code"] for answer in json.loads(said.out)] == [404]
    assert said.err.startswith(f"notifier: no channel has this token at {address}: ")
    assert "with these settings" in said.err


@contextmanager
def answering_404() -> Iterator[str]:
    """Some HTTP server on an address of its own, while the block runs."""

    class Nothing(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_error(404)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            """Nothing."""

    with HTTPServer(("127.0.0.1", 0), Nothing) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_without_its_topic_tail_says_how_to_get_it(
    notifier: Notifier, topic_prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert notifier("tail") == 1
    assert capsys.readouterr().err == (
        f"notifier: there is no topic {topic_prefix}.orders.v1 yet; `notifier topics --apply` makes it.\n"
    )


def event(order: str, version: int, event_type: str, channel: str = "shop-hkd") -> Record:
    """A record of the orders topic, as far as `tail` reads one."""
    value = {
        "event": {"id": f"evt_{version}", "type": event_type, "version": version, "flags_added": []},
        "order": {"channel": channel, "order": order, "status": "paid", "currency": "HKD", "amount": 12800},
    }
    return Record(f"{channel}/{order}".encode(), json.dumps(value).encode(), (("ce_time", b"2026-11-24T10:15:05Z"),))


async def append(settings: Settings, partition: int, *records: Record) -> None:
    access = Access.to(settings.kafka, "test")
    async with Producer(access, service="test", timeout_s=10.0, record_bytes_max=65_536) as producer:
        await producer.append(Topics(settings.kafka.topic_prefix).orders, partition, records)


@pytest.fixture
def made(notifier: Notifier, settings: Settings) -> Settings:
    """The topics are there."""
    assert notifier("topics", "--apply") == 0
    return settings


@asynccontextmanager
async def tailing(*options: str) -> AsyncIterator[Process]:
    """`notifier tail` in a terminal of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "notifier", "tail", *options, stdout=PIPE, stderr=PIPE
    )
    try:
        async with asyncio.timeout(WITHIN_S):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
        out, err = await process.communicate()
        sys.stdout.write(
            f"----- what else it said\n{out.decode()}{err.decode()}"
        )  # pytest shows it where a test failed


async def line_of(process: Process) -> str:
    assert process.stdout is not None
    return (await process.stdout.readline()).decode()


class TestTail:
    """`notifier tail`"""

    async def test_each_version_is_shown_once_from_the_beginning_and_then_as_it_comes(self, made: Settings) -> None:
        await append(made, 1, event("T1", 1, "order.pending"), event("T1", 2, "order.paid"))
        await append(made, 1, event("T1", 1, "order.pending"), event("T2", 1, "order.paid"))

        async with tailing("--json") as process:
            seen = [json.loads(await line_of(process)) for _ in range(3)]
            await append(made, 1, event("T1", 2, "order.paid"), event("T1", 3, "order.refunded"))
            seen.append(json.loads(await line_of(process)))
            process.send_signal(signal.SIGINT)
            status = await process.wait()

        assert status == 0
        told = [(one["order"]["order"], one["event"]["version"], one["partition"], one["offset"]) for one in seen]
        assert told == [("T1", 1, 1, 0), ("T1", 2, 1, 1), ("T2", 1, 1, 3), ("T1", 3, 1, 5)]

    async def test_it_shows_what_was_asked_for(self, made: Settings) -> None:
        """A version that was filtered out is seen all the same: an older one is no news after it."""
        await append(
            made,
            0,
            event("T1", 1, "order.paid", "other"),
            event("T1", 2, "order.refunded"),
            event("T1", 1, "order.paid"),
            Record(b"shop-hkd/T2", b"no event at all"),
            event("T3", 1, "order.paid"),
        )

        async with tailing("--channel", "shop-hkd", "--type", "order.pa*") as process:
            line = await line_of(process)
            process.send_signal(signal.SIGTERM)
            status = await process.wait()
            assert process.stderr is not None
            aside = (await process.stderr.read()).decode()

        assert status == 0
        assert "shop-hkd/T3" in line
        assert "HK$128.00" in line
        assert aside == "partition 0 offset 3: this is no order's event\n"
