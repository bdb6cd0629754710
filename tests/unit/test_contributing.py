"""What CONTRIBUTING.md and its relatives say to do can be done."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGES = ["CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"]


def test_each_hook_runs_from_this_folder() -> None:
    """With what `make env` installed, so that a commit needs no network and is judged as `make lint` judges it."""
    repositories = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]

    assert {repository["repo"] for repository in repositories} == {"local"}
    for hook in (hook for repository in repositories for hook in repository["hooks"]):
        assert hook["language"] == "system"
        assert hook["entry"].startswith(".venv/bin/")
        assert hook["entry"].removeprefix(".venv/bin/").split(" --")[0] in _recipe("lint")


@pytest.mark.parametrize("page", PAGES)
def test_each_make_target_that_a_page_names_is_there(page: str) -> None:
    named = set(re.findall(r"(?m)(?:`|^)make ([a-z]+)\b", (ROOT / page).read_text(encoding="utf-8")))

    assert named - _targets() == set()


@pytest.mark.parametrize("page", PAGES)
def test_each_link_leads_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")

    for path, _, heading in (link.partition("#") for link in re.findall(r"\]\((?!https:)([^)]+)\)", text)):
        target = ROOT / (path or page)
        assert target.exists(), path
        assert not heading or heading in _headings(target), heading


def test_each_test_that_the_threat_model_leans_on_is_there() -> None:
    """A claim whose test was renamed or taken away is a claim that nobody holds."""
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    leant_on = [
        (path, name)
        for path, names in re.findall(r"`([a-z_/]+\.py)`((?:,?\s+`\w+`)+)", text)
        for name in re.findall(r"\w+", names)
    ]

    assert {path for path, _ in leant_on} == set(re.findall(r"`((?:[a-z_]+/)+test_[a-z_]+\.py)`", text))
    for path, name in leant_on:
        assert re.search(rf"def test_{name}\(", (ROOT / "tests" / path).read_text(encoding="utf-8")), f"{path} {name}"


def _targets() -> set[str]:
    return set(re.findall(r"(?m)^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8")))


def _recipe(target: str) -> str:
    """The lines of a target, with the environment's commands by their names."""
    found = re.search(rf"(?m)^{target}:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert found
    return found[1].replace("$(BIN)/", "")


def _headings(page: Path) -> set[str]:
    """The anchors of a page, as GitHub makes them of its headings."""
    headings = re.findall(r"(?m)^#+ (.+)$", page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
