"""What is installed with the package is what the package uses."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
DECLARED = {
    re.split(r"[^a-z0-9-]", requirement)[0]
    for requirement in tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
}


def test_every_dependency_is_imported_somewhere() -> None:
    """One that nobody imports is downloaded, updated and trusted for nothing."""
    imported = {
        name.partition(".")[0]
        for package in ("notifier", "consumers")
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for name in _names(node)
    }

    assert {name for name in DECLARED if name.replace("-", "_") not in imported} == set()


def test_every_dependency_is_locked() -> None:
    """With its checksums, so that every installation is the one that was tested."""
    locked = set(re.findall(r"(?m)^([a-z0-9-]+)==", (ROOT / "requirements.lock").read_text(encoding="utf-8")))

    assert locked >= DECLARED


def _names(node: ast.AST) -> list[str]:
    match node:
        case ast.Import(names=aliases):
            return [alias.name for alias in aliases]
        case ast.ImportFrom(module=str(module), level=0):
            return [module]
    return []
