"""What lies under deploy/, read once."""

from __future__ import annotations

import configparser
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import yaml

from consumers.app import Job

DEPLOY = Path(__file__).parents[3] / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
BASE = KUBERNETES / "base"
JOBS = get_args(Job)

Manifest = dict[str, Any]  # what a YAML file holds is for its schema to judge


def read(path: Path) -> list[Manifest]:
    """All documents of a file."""
    return list(yaml.safe_load_all(path.read_text("utf-8")))


OBJECTS = [
    one for path in sorted(KUBERNETES.rglob("*.yaml")) if path.name != "kustomization.yaml" for one in read(path)
]
BY_NAME: Mapping[tuple[str, str], Manifest] = {(one["kind"], one["metadata"]["name"]): one for one in OBJECTS}
WORKLOADS: Mapping[str, Manifest] = {
    one["metadata"]["name"]: one["spec"]["template"]["spec"] for one in OBJECTS if one["kind"] in ("Deployment", "Job")
}
"""Pods of Kubernetes, by the name of what makes them."""
(COMPOSE,) = read(DEPLOY / "compose.yaml")
OURS: Mapping[str, Manifest] = {
    name: one for name, one in COMPOSE["services"].items() if one["image"].startswith("alipayhk-notifier")
}
"""Services of Compose that are this project."""
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))


def container(pod: Manifest) -> Manifest:
    """The one container of a pod."""
    (one,) = pod["containers"]
    found: Manifest = one
    return found


def environment_in_kubernetes() -> dict[str, str]:
    """What the base tells all processes."""
    (base,) = read(BASE / "kustomization.yaml")
    (made,) = base["configMapGenerator"]
    return dict(line.split("=", 1) for line in made["literals"])


def unit(path: Path) -> configparser.SectionProxy:
    """The part `[Service]` of a unit; of a line that is there twice the last."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment, method-assign] # its documented way to keep capitals
    parser.read_string(path.read_text("utf-8"))
    return parser["Service"]


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every `notifier …` that is run, with where; without the program itself."""
    for name, pod in WORKLOADS.items():
        yield f"kubernetes {name}", container(pod)["args"]
    for name, one in OURS.items():
        yield f"compose {name}", one["command"]
    for path in UNITS:
        for job in JOBS if path.stem.endswith("@") else ("",):
            words = shlex.split(unit(path)["ExecStart"].replace("%i", job).replace("${LISTEN}", "127.0.0.1:8082"))
            yield f"systemd {path.stem}{job}", words[1:]
