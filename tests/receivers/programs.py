"""
The receivers that the README prints, made ready to run: each language's library comes from its own registry, under the lock
beside this file. What cannot be had on a machine is a skip that says what was tried; something else than what is locked is a
failure.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

HERE = Path(__file__).parent
DOWNLOAD_S_MAX = 60.0
"""For one library. A registry that is slower counts as out of reach: `make test` is about this project."""
BUILD_S_MAX = 240.0
"""For compiling a program of a hundred lines where the standard library was never compiled, on a busy machine."""

_README = (HERE.parents[1] / "README.md").read_text(encoding="utf-8")
_PRINTED = re.findall(r"<!-- tests/receivers runs this -->\n```(\w+)\n(.*?)```", _README, re.DOTALL)
_NOT_THE_LOCKED_ONE = re.compile(r"EINTEGRITY|checksum mismatch|SECURITY ERROR|in the lock file|in sync", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Program:
    """A receiver: what starts it on a port, and where."""

    command: Callable[[int], list[str]]
    folder: Path
    env: Mapping[str, str]


def printed(language: str) -> list[str]:
    """What the README prints in one language, in its order."""
    return [source for named, source in _PRINTED if named == language]


def python(folder: Path) -> Program:
    """Its library is among those of every developer (requirements.lock)."""
    (folder / "receive.py").write_text(printed("python")[0], encoding="utf-8")
    return Program(lambda port: [sys.executable, "receive.py"], folder, {})


def node(folder: Path) -> Program:
    """`npm ci` takes what package-lock.json names, by its hashes."""
    node, npm = _on_the_path("node"), _on_the_path("npm")
    [source] = printed("js")
    _copy("node", folder, "package.json", "package-lock.json")
    (folder / "receive.js").write_text(source, encoding="utf-8")
    _download(folder, npm, "ci", "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund", "--fetch-retries=0")
    return Program(lambda port: [node, "receive.js"], folder, {})


def go(folder: Path) -> Program:
    """The module's hash stands in go.sum."""
    go = _on_the_path("go")
    [source] = printed("go")
    _copy("go", folder, "go.mod", "go.sum")
    (folder / "main.go").write_text(source, encoding="utf-8")
    _download(folder, go, "mod", "download")
    _run(folder, BUILD_S_MAX, go, "build", "-mod=readonly", "-o", "receive", ".")
    return Program(lambda port: [str(folder / "receive")], folder, {})


def php(folder: Path) -> Program:
    """Composer takes the commit that composer.lock names."""
    php, composer = _on_the_path("php"), _on_the_path("composer")
    if "pdo_sqlite" not in _run(folder, 10, php, "-m").stdout:
        pytest.skip("php is here without pdo_sqlite, which this receiver keeps its tables in")
    [source] = printed("php")
    _copy("php", folder, "composer.json", "composer.lock")
    (folder / "receive.php").write_text(source, encoding="utf-8")
    _download(
        folder, composer, "install", "--no-interaction", "--no-progress", "--no-dev", "--no-plugins", "--no-scripts"
    )
    return Program(lambda port: [php, "-S", f"127.0.0.1:{port}", "receive.php"], folder, {})


PROGRAMS: Mapping[str, Callable[[Path], Program]] = {"python": python, "node": node, "go": go, "php": php}


def _on_the_path(tool: str) -> str:
    found = shutil.which(tool)
    if found is None:
        pytest.skip(f"{tool} is not on the path of this machine")
    return found


def _copy(language: str, folder: Path, *names: str) -> None:
    for name in names:
        shutil.copy(HERE / language / name, folder)


def _download(folder: Path, *command: str) -> None:
    """Fetch what the lock names; a test is skipped if that cannot be had, and fails if something else was given for it."""
    said = f"{Path(command[0]).name} {' '.join(command[1:])}"
    try:
        done = _run(folder, DOWNLOAD_S_MAX, *command, must_succeed=False)
    except subprocess.TimeoutExpired:
        pytest.skip(f"the library could not be had: `{said}` took more than {DOWNLOAD_S_MAX:.0f} s")
    if done.returncode:
        told = " ".join((done.stderr + done.stdout).split())
        assert not _NOT_THE_LOCKED_ONE.search(told), f"what `{said}` was given is not what is locked: {told}"
        pytest.skip(f"the library could not be had: `{said}` said: {told[:600]}")


def _run(folder: Path, within_s: float, *command: str, must_succeed: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command, cwd=folder, timeout=within_s, capture_output=True, stdin=subprocess.DEVNULL, text=True, check=False
    )
    assert done.returncode == 0 or not must_succeed, done.stderr
    return done
