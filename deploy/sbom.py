"""
The bill of materials: each package and each jar that a lock names, as CycloneDX 1.6 (`make sbom`).

Made of the locks and pyproject.toml alone, without a time or a serial number, so that the same locks always give the same bill.
The checksums of the packages stand in requirements.lock, one for each platform's file; a jar is one file and has its own here.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Literal, TypeAlias

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from notifier import __version__
from notifier.local.jars import Jar, locked_jars

ROOT = Path(__file__).parents[1]
NAME = "alipayhk-notifier"

Scope: TypeAlias = Literal["required", "optional", "excluded"]
"""CycloneDX' words: in every installation; in one with an extra (`local`, `telemetry`); to develop and build with."""

Json: TypeAlias = "str | int | list[Json] | dict[str, Json]"


@dataclass(frozen=True, slots=True)
class Package:
    """One entry of requirements.lock, and the packages because of which it is there."""

    name: str
    version: str
    via: frozenset[str]


def main() -> None:
    """Write the bill to the file that is named."""
    path = Path(sys.argv[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    written = bill(
        list(locked_packages((ROOT / "requirements.lock").read_text(encoding="utf-8"))),
        locked_jars(),
        asked_for((ROOT / "pyproject.toml").read_text(encoding="utf-8")),
    )
    path.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")


def locked_packages(lock: str) -> Iterator[Package]:
    """The entries of a lock as uv writes it, `# via` comments included."""
    for entry in re.split(r"(?m)^(?=[a-z0-9])", lock):
        if head := re.match(r"([a-z0-9-]+)==([^ \n]+)", entry):
            via = re.findall(r"(?m)^ +#(?: via)? +([a-z0-9-]+)", entry)
            yield Package(head[1], head[2], frozenset(via))


def asked_for(pyproject: str) -> dict[Scope, set[str]]:
    """The packages that pyproject.toml names, by what they are for."""
    project = tomllib.loads(pyproject)["project"]
    extras = dict(project["optional-dependencies"])
    dev = extras.pop("dev")
    return {
        "required": _names(project["dependencies"]),
        "optional": _names(chain.from_iterable(extras.values())),
        "excluded": _names(dev),
    }


def bill(packages: list[Package], jars: Iterable[Jar], asked: Mapping[Scope, set[str]]) -> dict[str, Json]:
    """The document. A package has the most needed scope of those for which it is there."""
    needed = {scope: _with_all_they_need(names, packages) for scope, names in asked.items()}
    components: list[Json] = [
        {
            "type": "library",
            "bom-ref": _purl(package),
            "name": package.name,
            "version": package.version,
            "purl": _purl(package),
            "scope": next(scope for scope, names in needed.items() if package.name in names),
        }
        for package in packages
    ]
    components += [_jar(jar) for jar in jars]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "application", "bom-ref": NAME, "name": NAME, "version": __version__}},
        "components": components,
        "dependencies": [_brings(NAME, NAME, packages), *(_brings(_purl(one), one.name, packages) for one in packages)],
    }


def _brings(ref: str, name: str, packages: list[Package]) -> Json:
    return {"ref": ref, "dependsOn": [_purl(package) for package in packages if name in package.via]}


def _with_all_they_need(names: set[str], packages: list[Package]) -> set[str]:
    found: set[str] = set()
    more = names
    while more:
        found |= more
        more = {package.name for package in packages if package.via & more} - found
    return found


def _names(requirements: Iterable[str]) -> set[str]:
    return {canonicalize_name(Requirement(requirement).name) for requirement in requirements}


def _purl(package: Package) -> str:
    return f"pkg:pypi/{package.name}@{package.version}"


def _jar(jar: Jar) -> dict[str, Json]:
    """Kafka for a laptop: of no use where Kafka is a cluster."""
    purl = f"pkg:maven/{jar.group}/{jar.artifact}@{jar.version}"
    return {
        "type": "library",
        "bom-ref": purl,
        "group": jar.group,
        "name": jar.artifact,
        "version": jar.version,
        "purl": purl,
        "scope": "optional",
        "hashes": [{"alg": "SHA-256", "content": jar.sha256}],
    }


if __name__ == "__main__":
    main()
