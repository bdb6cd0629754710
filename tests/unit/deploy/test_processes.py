"""What is run, with what settings, where it is asked how it is, and how long it is given to end: as the code has it."""

from __future__ import annotations

import asyncio
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from notifier import config, metrics
from notifier.app import finish_s_max
from notifier.cli import COMMANDS, load
from notifier.cli.run import CONSUMER_STOP_S_MAX, INGRESS_STOP_EXTRA_S
from notifier.config import Settings
from notifier.door.notify_verify import TIMEOUT_S
from notifier.internal import health
from notifier.internal.health import Health
from notifier.local.jars import kafka_version
from tests.integration.secured import USERS
from tests.unit.deploy.manifests import (
    BY_NAME,
    COMPOSE,
    DEPLOY,
    JOBS,
    KUBERNETES,
    OURS,
    UNITS,
    WORKLOADS,
    commands,
    container,
    environment_in_kubernetes,
    unit,
)

CONSUMERS = {f"notifier-{job}" for job in JOBS}


class TestSettings:
    """A name that the code does not know is a fault of the settings: it is enough that they can be read."""

    def test_of_compose(self, tmp_path: Path) -> None:
        environment = COMPOSE["x-notifier"]["environment"]

        settings = _load(tmp_path, (DEPLOY / "shop" / "notifier.toml").read_text("utf-8"), environment)

        named = {path.relative_to(tmp_path).as_posix() for path in _secret_files(settings)}
        assert named == {path.removeprefix("./shop/") for path in _sources("secrets")}
        for one in OURS.values():
            assert one["environment"] == environment
            assert {f"/etc/notifier/{path}" for path in named} == {entry["target"] for entry in one["secrets"]}
            assert [entry["target"] for entry in one["configs"]] == ["/etc/notifier/notifier.toml"]
        assert COMPOSE["services"]["kafka"]["volumes"][0].split(":")[0] in COMPOSE["volumes"]

    @pytest.mark.parametrize("name", WORKLOADS)
    def test_of_kubernetes(self, name: str, tmp_path: Path) -> None:
        """Each process has a user of its own; only those that need channels or endpoints are given them and their secrets."""
        settings = _settings_in_kubernetes(name, tmp_path)

        assert settings.kafka.sasl_username == name
        assert name in USERS
        assert (settings.kafka.security_protocol, settings.kafka.replication_factor) == ("SASL_SSL", 3)
        has_all = name in ("notifier-ingress", "notifier-fanout")
        assert (len(settings.channels), len(settings.endpoints)) == ((1, 1) if has_all else (0, 0))
        assert ("notifier-shop" in str(WORKLOADS[name]["volumes"])) == has_all

    def test_no_secret_stands_in_a_manifest(self) -> None:
        """They come from Secrets and files; what begins like one has been pasted."""
        for path in DEPLOY.rglob("*"):
            if path.suffix in (".yaml", ".toml", ".service", ".properties", ".conf"):
                assert not re.search(r"whsec_[A-Za-z0-9+/]|BEGIN .*PRIVATE|token\s*=\s*\"", path.read_text("utf-8")), (
                    path
                )


def _load(folder: Path, text: str, environment: dict[str, str]) -> Settings:
    """The settings, once what they name lies where they name it."""
    key = rsa.generate_private_key(65537, 2048).public_key()
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    written = tomllib.loads(text)
    files = {
        **{one["token_file"]: b"tok_Vb7mQ2xLw9Rk4TzY8nHc" for one in written["channels"]},
        **{named: pem for one in written["channels"] for named in one["keys"]},
        **{named: b"whsec_" + b"c2VjcmV0" * 4 for one in written["endpoints"] for named in one["secret_files"]},
    }
    for named, content in files.items():
        (folder / named).parent.mkdir(parents=True, exist_ok=True)
        (folder / named).write_bytes(content)
    (folder / "notifier.toml").write_text(text)
    return config.load(folder / "notifier.toml", environment)


def _secret_files(settings: Settings) -> Iterator[Path]:
    for channel in settings.channel_settings:
        assert channel.token_file is not None
        yield channel.token_file
    for endpoint in settings.endpoint_settings:
        yield from endpoint.secret_files


def _sources(kind: str) -> set[str]:
    return {one["file"] for one in COMPOSE[kind].values()}


def _settings_in_kubernetes(name: str, folder: Path) -> Settings:
    """As the process finds them: the map's variables, its own, and the files at their paths."""
    one = container(WORKLOADS[name])
    user = folder / "user"
    user.mkdir(parents=True)
    (user / "kafka-password").write_text("secret")
    (user / "kafka-ca.pem").write_text("")
    environment = environment_in_kubernetes()
    for variable in one["env"]:
        environment[variable["name"]] = variable.get("value", "redis://user:password@redis:6379/0")
    environment = {key: value.replace("/etc/notifier-user", str(user)) for key, value in environment.items()}
    text = (KUBERNETES / "example" / "notifier.toml").read_text("utf-8")
    if environment.get("NOTIFIER_CONFIG") == "":
        return config.load(None, environment, needs_file=False)
    return _load(folder, text, environment)


@pytest.mark.parametrize(("where", "words"), [pytest.param(*one, id=one[0]) for one in commands()])
def test_every_command_is_one(where: str, words: list[str]) -> None:
    """With its arguments and options, as the command line itself reads them."""
    (entry,) = [one for one in COMMANDS if one.name == words[0]]

    context = load(entry).make_context(entry.name, list(words[1:]))

    assert context.params.get("job") in (None, *JOBS), where


def test_every_job_is_run_everywhere() -> None:
    for place in ("kubernetes", "compose", "systemd"):
        run = [words for where, words in commands() if where.startswith(place)]
        assert {words[1] for words in run if words[0] == "consume"} == set(JOBS)
        assert ["serve"] in run


class TestAsking:
    """Health is asked where it is answered."""

    def test_at_the_paths_that_there_are(self) -> None:
        """Of probes and of the image."""
        paths = asyncio.run(_paths())
        asked = {
            container(pod)[probe]["httpGet"]["path"]
            for pod in WORKLOADS.values()
            for probe in ("startupProbe", "livenessProbe", "readinessProbe")
            if probe in container(pod)
        }
        (image,) = re.findall(r"http://127\.0\.0\.1:8081(/[a-z/]+)", (DEPLOY / "Dockerfile").read_text("utf-8"))

        assert {*asked, image} == {"/health/live", "/health/ready"}
        assert asked <= paths

    def test_at_the_ports_that_are_listened_on(self) -> None:
        for name, pod in WORKLOADS.items():
            one = container(pod)
            ports = {port["name"]: port["containerPort"] for port in one.get("ports", ())}
            environment = environment_in_kubernetes()
            if name == "notifier-ingress":
                assert ports == {
                    "public": int(environment["NOTIFIER__INGRESS__PUBLIC"].rpartition(":")[2]),
                    "internal": int(environment["NOTIFIER__INGRESS__INTERNAL"].rpartition(":")[2]),
                }
            elif name in CONSUMERS:
                assert f"0.0.0.0:{ports['internal']}" == one["args"][-1]
            if ports:
                assert {one[probe]["httpGet"]["port"] for probe in ("livenessProbe", "readinessProbe")} == {"internal"}

    def test_in_compose_only_the_public_listener_is_published(self) -> None:
        """Everything else is on a network that leads nowhere; fan-out can go out, and the ingress can be come to."""
        published = {name for name, one in COMPOSE["services"].items() if "ports" in one}
        on = {name: set(one["networks"]) for name, one in COMPOSE["services"].items()}
        public = COMPOSE["x-notifier"]["environment"]["NOTIFIER__INGRESS__PUBLIC"]

        assert published == {"ingress"}
        assert COMPOSE["services"]["ingress"]["ports"][0].rpartition(":")[2] == public.rpartition(":")[2]
        assert COMPOSE["networks"]["inside"] == {"internal": True}
        assert {name for name, networks in on.items() if networks != {"inside"}} == {"ingress", "fanout"}


async def _paths() -> set[str]:
    class Reporter:
        async def health(self) -> Health:
            return Health(is_ready=True, dependencies={})

        async def metrics(self) -> str:
            return ""

    application: web.Application = health._application(Reporter(), ())
    return {route.resource.canonical for route in application.router.routes() if route.resource is not None}


class TestEnding:
    """Whoever stops a process waits for as long as its end may take; after that what was in flight would be cut off."""

    def test_in_kubernetes(self) -> None:
        for name, pod in WORKLOADS.items():
            before = container(pod).get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
            if name in ({"notifier-ingress"} | CONSUMERS):
                assert pod["terminationGracePeriodSeconds"] >= before + _end_s_max(name)

    def test_in_compose(self) -> None:
        for name, one in OURS.items():
            if name in ("ingress", *JOBS):
                assert int(one["stop_grace_period"].removesuffix("s")) >= _end_s_max(f"notifier-{name}")

    def test_under_systemd(self) -> None:
        for path in UNITS:
            name = "notifier-orders" if path.stem.endswith("@") else "notifier-ingress"
            assert int(unit(path)["TimeoutStopSec"].removesuffix("s")) >= _end_s_max(name)


def _end_s_max(name: str) -> float:
    """As `notifier run` gives it; of the ingress with AlipayHK asked about each notification."""
    if name in CONSUMERS:
        return CONSUMER_STOP_S_MAX
    plain = config.load(None, {}, needs_file=False)
    return finish_s_max(plain) + TIMEOUT_S + INGRESS_STOP_EXTRA_S


def test_a_reload_sends_what_is_taken() -> None:
    """A signal that the program does not know would end it, in the middle of what it does."""
    for path in UNITS:
        assert unit(path)["ExecReload"] == "/bin/kill -HUP $MAINPID"
    for name in ("serve", "consume"):
        (entry,) = [one for one in COMMANDS if one.name == name]
        assert "SIGHUP" in load(entry).help


class TestScaling:
    """More processes where there is more to do, and never more than there is work to share."""

    def test_consumers_follow_a_metric_that_there_is(self) -> None:
        for job in JOBS:
            (asked,) = BY_NAME["HorizontalPodAutoscaler", f"notifier-{job}"]["spec"]["metrics"]
            metrics.JOB_LAG.of(job).set(0)
            labels = ",".join(
                f'{name}="{value}"' for name, value in asked["external"]["metric"]["selector"]["matchLabels"].items()
            )

            assert f"{asked['external']['metric']['name']}{{{labels}}} 0.0" in metrics.text().splitlines()

    def test_there_are_never_more_consumers_than_partitions(self) -> None:
        partitions = int(environment_in_kubernetes()["NOTIFIER__KAFKA__PARTITIONS"])

        assert {BY_NAME["HorizontalPodAutoscaler", name]["spec"]["maxReplicas"] for name in CONSUMERS} == {partitions}


def test_the_kafka_of_compose_is_the_one_that_the_tests_run_on() -> None:
    assert COMPOSE["services"]["kafka"]["image"] == f"apache/kafka:{kafka_version()}"
