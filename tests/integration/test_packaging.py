"""
What is built can be installed: sdist and wheel, with all that belongs to them and nothing that lay beside it.

Built by the build tools of requirements.lock and installed with the dependencies of this environment, so nothing is downloaded.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import pytest

ROOT = Path(__file__).parents[2]
BUILD_TIMEOUT_S = 120.0

pytestmark = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="what belongs to the project is what git has")


@dataclass(frozen=True, slots=True)
class Built:
    """A release: a tree that was tagged v7.8.9, and what was built from it."""

    tree: Path
    sdist: Path
    wheel: Path


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("release")
    tree = _copy_of_what_git_has(folder / "tree")
    _git(tree, "init", "--quiet")
    _git(tree, "add", "--all")
    _git(tree, "-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "--quiet", "-m", "all")
    _git(tree, "tag", "v7.8.9")
    sdist, wheel = _build(tree, folder / "dist")
    return Built(tree, sdist, wheel)


def test_a_tag_is_the_version(release: Built) -> None:
    assert release.sdist.name == "alipayhk_notifier-7.8.9.tar.gz"
    assert release.wheel.name == "alipayhk_notifier-7.8.9-py3-none-any.whl"


def test_a_wheel_has_each_file_of_both_packages_and_nothing_else(release: Built) -> None:
    """Those that are no code too: the settings that `init` writes, the lock of Kafka's jars, `py.typed`."""
    with zipfile.ZipFile(release.wheel) as wheel:
        held = {name for name in wheel.namelist() if ".dist-info/" not in name}

    assert held == {name for name in _tracked() if name.startswith(("notifier/", "consumers/"))}
    assert held >= {"notifier/py.typed", "consumers/py.typed"}


def test_an_sdist_has_what_git_has(release: Built) -> None:
    assert _held(release.sdist) - {"PKG-INFO"} == _tracked()


def test_what_lies_about_is_in_no_sdist(tmp_path: Path) -> None:
    """`notifier init` in a checkout leaves a settings file with secrets, and private keys. An archive of the tree has no git."""
    tree = _copy_of_what_git_has(tmp_path / "tree")
    (tree / "keys").mkdir()
    for name in ("notifier.toml", "keys/shop-hkd-test.private.pem", ".env"):
        (tree / name).write_text("secret", encoding="utf-8")

    sdist, _ = _build(tree, tmp_path / "dist")

    assert _held(sdist) - {"PKG-INFO"} == _tracked()


def test_without_git_it_is_the_release_that_is_being_worked_on(tmp_path: Path) -> None:
    tree = _copy_of_what_git_has(tmp_path / "tree")

    sdist, _ = _build(tree, tmp_path / "dist")

    newest = next(line for line in (ROOT / "CHANGELOG.md").read_text("utf-8").splitlines() if line.startswith("## "))
    assert newest.endswith("unreleased"), "set fallback-version in pyproject.toml to the release after this one"
    assert sdist.name == f"alipayhk_notifier-{newest.split()[1]}.dev0.tar.gz"


def test_an_sdist_builds_what_the_tree_builds(release: Built, tmp_path: Path) -> None:
    with tarfile.open(release.sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()

    _, wheel = _build(unpacked, tmp_path / "dist")

    assert wheel.read_bytes() == release.wheel.read_bytes()


def test_installed_in_an_empty_environment_the_command_works(release: Built, tmp_path: Path) -> None:
    """Far from the tree: the version, and a command that writes what came as data."""
    bin_folder = _environment_with(release.wheel, tmp_path / "environment")
    shop = tmp_path / "shop"

    told = _run([bin_folder / "notifier", "--version"], tmp_path)
    _run([bin_folder / "notifier", "init", shop], tmp_path)
    where = _run([bin_folder / "python", "-m", "notifier", "--version"], tmp_path)
    jars = _run(
        [bin_folder / "python", "-c", "from notifier.local.jars import locked_jars as j; print(len(j()))"], tmp_path
    )

    assert told == where == "alipayhk-notifier 7.8.9\n"
    assert tomllib.loads((shop / "notifier.toml").read_text(encoding="utf-8"))["channels"]
    assert int(jars) > 1


def test_the_image_is_told_its_version(tmp_path: Path) -> None:
    """By the variable that its Dockerfile sets, in a tree without git; empty, it is nothing."""
    tree = _copy_of_what_git_has(tmp_path / "tree")
    [variable] = re.findall(r"(\w+)=\$VERSION", (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8"))

    told, _ = _build(tree, tmp_path / "told", {variable: "3.2.1"})
    untold, _ = _build(tree, tmp_path / "untold", {variable: ""})

    assert told.name == "alipayhk_notifier-3.2.1.tar.gz"
    assert untold.name.endswith(".dev0.tar.gz")


def _environment_with(wheel: Path, folder: Path) -> Path:
    """An environment that has `wheel` and, by a path, the other packages of this one; the folder of its commands."""
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    _run(
        [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index", "--no-deps", wheel],
        folder,
    )
    (packages,) = folder.glob("lib/python*/site-packages")
    # A folder that is named in a .pth is searched last, and its own .pth files (our editable self) are not read.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    return folder / "bin"


def _build(tree: Path, into: Path, variables: Mapping[str, str] = MappingProxyType({})) -> tuple[Path, Path]:
    _run([sys.executable, "-m", "hatchling", "build", "--directory", into], tree, variables)
    (sdist,) = into.glob("*.tar.gz")
    (wheel,) = into.glob("*.whl")
    return sdist, wheel


def _held(sdist: Path) -> set[str]:
    with tarfile.open(sdist) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


def _copy_of_what_git_has(tree: Path) -> Path:
    for name in _tracked():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tree / name)
    return tree


def _tracked() -> set[str]:
    return {name for name in _git(ROOT, "ls-files", "-z").split("\0") if name and (ROOT / name).exists()}


def _git(folder: Path, *words: str) -> str:
    return _run(["git", *words], folder)


def _run(words: list[str | Path], folder: Path, variables: Mapping[str, str] = MappingProxyType({})) -> str:
    """What `words` print, with no network to ask and no warnings shown."""
    environment = {"PATH": os.defpath, "PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        words,
        cwd=folder,
        env=environment | dict(variables),
        capture_output=True,
        text=True,
        timeout=BUILD_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
