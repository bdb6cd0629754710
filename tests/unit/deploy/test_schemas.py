"""Each file that runs the project is what its reader takes."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from jsonschema import Draft7Validator

from tests.unit.deploy.manifests import BASE, BY_NAME, COMPOSE, KUBERNETES, OBJECTS, UNITS, Manifest, read

NEWEST = kubernetes_validate.latest_version()
LEAST = "1.30.0"
"""The first release with `preStop.sleep` switched on."""


@pytest.mark.parametrize("version", [LEAST, NEWEST])
@pytest.mark.parametrize("one", OBJECTS, ids=lambda one: f"{one['kind']}-{one['metadata']['name']}")
def test_kubernetes_takes_it(one: Manifest, version: str) -> None:
    kubernetes_validate.validate(one, version, strict=True)


def test_compose_takes_it() -> None:
    vendor = files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"

    Draft7Validator(json.loads(vendor.read_text("utf-8"))).validate(COMPOSE)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not on this machine")
@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_systemd_takes_it(path: Path) -> None:
    """All but the program itself, which is not installed here."""
    said = subprocess.run(
        ["systemd-analyze", "verify", path],  # noqa: S607 - wherever this machine has it
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    ).stderr

    assert [line for line in said.splitlines() if "notifier" in line and "not executable" not in line] == []


def test_nothing_is_left_out_of_the_base() -> None:
    (base,) = read(BASE / "kustomization.yaml")

    assert {*base["resources"], "kustomization.yaml"} == {path.name for path in BASE.glob("*.yaml")}


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on this machine")
def test_the_example_can_be_put_together(tmp_path: Path) -> None:
    """
    What comes out is valid, all of it, and its policies let in and out whom they name.

    Kustomize puts its labels into every selector if it is told to: then the order desk was open to the project's own pods alone.
    """
    shutil.copytree(KUBERNETES, tmp_path / "kubernetes")
    example = tmp_path / "kubernetes" / "example"
    for named in _named_files(example):
        named.parent.mkdir(parents=True, exist_ok=True)
        named.touch()

    made = subprocess.run(
        ["kubectl", "kustomize", example],  # noqa: S607 - as above
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout

    objects = {(one["kind"], one["metadata"]["name"]): one for one in yaml.safe_load_all(made)}
    for one in objects.values():
        kubernetes_validate.validate(one, NEWEST, strict=True)
        assert one["metadata"]["namespace"] == "notifier"
    assert {key for key in objects if key[0] not in ("ConfigMap", "Secret")} == BY_NAME.keys() - {
        ("NetworkPolicy", "notifier-verify")
    }
    for key, one in objects.items():
        if key[0] == "NetworkPolicy":
            assert one["spec"] == BY_NAME[key]["spec"]


def _named_files(folder: Path) -> Iterator[Path]:
    """What a kustomization takes from beside it."""
    (kustomization,) = read(folder / "kustomization.yaml")
    for made in (*kustomization["configMapGenerator"], *kustomization["secretGenerator"]):
        for named in made.get("files", ()):
            yield folder / named.rpartition("=")[2]
