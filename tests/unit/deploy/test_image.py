"""The image runs what was tested."""

from __future__ import annotations

import re
from pathlib import Path

from tests.unit.deploy.manifests import DEPLOY
from tests.unit.test_dependencies import DECLARED

DOCKERFILE = (DEPLOY / "Dockerfile").read_text("utf-8")


def _locked(path: Path) -> dict[str, tuple[str, frozenset[str]]]:
    """Version and checksums of each package of a lock."""
    text = path.read_text("utf-8")
    return {
        name: (version, frozenset(re.findall(r"sha256:[0-9a-f]{64}", rest)))
        for name, version, rest in re.findall(r"(?ms)^([a-z0-9-]+)==(\S+)(.*?)(?=^[a-z]|\Z)", text)
    }


def test_what_it_installs_is_a_part_of_what_the_tests_install() -> None:
    """The same versions, by the same checksums: what is asked for, what sends traces, nothing that only tests need."""
    whole, image = _locked(DEPLOY.parent / "requirements.lock"), _locked(DEPLOY / "runtime.lock")

    assert image.items() <= whole.items()
    assert image.keys() >= DECLARED | {"opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http"}
    assert not image.keys() & {"pytest", "jgo", "kubernetes-validate"}


def test_it_installs_nothing_without_a_checksum() -> None:
    """But for the package itself, which is built from the files beside."""
    calls = re.findall(r"pip (?:install|wheel)[^&\n\\]*", DOCKERFILE)

    assert len(calls) == 4
    assert all("--require-hashes" in call or "--no-deps" in call for call in calls)


def test_it_is_built_of_files_that_there_are_and_may_be_seen() -> None:
    """The list beside it lets nothing else into the build: no secret, no local data."""
    seen = set(re.findall(r"(?m)^!(\S+)$", (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8")))
    copied = {word for line in re.findall(r"(?m)^COPY (?!--from)(.*)$", DOCKERFILE) for word in line.split()[:-1]}

    assert copied == seen
    assert all((DEPLOY.parent / one).exists() for one in copied)


def test_it_does_not_run_as_root() -> None:
    assert re.search(r"(?m)^USER 10001:10001$", DOCKERFILE)
