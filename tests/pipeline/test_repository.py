"""Files that the repository's host and its visitors read agree with the project."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tools.structure import ROOT, code_deps, room, sources

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
FORMS = [path for path in sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml")) if path.name != "config.yml"]
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("presets/*.md"), *ROOT.glob("data/*/README.md")]
)


def read(path: Path) -> Any:
    return YAML(typ="safe").load(path.read_text(encoding="utf-8"))


def steps(workflow: Path) -> list[dict[str, Any]]:
    return [step for job in read(workflow)["jobs"].values() for step in job["steps"]]


def test_workflows_run_targets_of_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    run = {path.stem: [step["run"] for step in steps(path) if "run" in step] for path in WORKFLOWS}
    assert run == {"ci": ["make lint", "make quick", "make kernels", "make site"], "full": ["make test"]}
    assert {command.removeprefix("make ") for commands in run.values() for command in commands} <= targets


def test_every_package_in_which_a_stage_uses_torch_is_tried_under_other_kernels() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    listed = re.search(r"^COMPUTING := (.+)$", makefile, re.MULTILINE)
    stages = [path.stem for path in sources() if path.parts[0] == "stages"]
    uses_torch = re.compile(r"^\s*(?:import|from) (?:torch|transformers)\b", re.MULTILINE)
    computing = {room(path) for path in sources() if uses_torch.search((ROOT / path).read_text(encoding="utf-8"))}
    packages = {Path(dep).name for stage in stages for dep in code_deps(stage)} & computing
    assert listed
    assert set(listed[1].split()) == packages | {"stages"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_may_only_read(path: Path) -> None:
    workflow = read(path)
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["concurrency"]["cancel-in-progress"] is True
    assert all(re.fullmatch(r"actions/[\w-]+@v\d+", step["uses"]) for step in steps(path) if "uses" in step)


def test_the_oldest_python_is_tested() -> None:
    versions = read(ROOT / ".github/workflows/ci.yml")["jobs"]["quick"]["strategy"]["matrix"]["python"]
    assert versions == ["3.11", "3.12", "3.13", "3.14"]  # text: 3.10 as a number would be 3.1
    assert PROJECT["requires-python"] == f">={versions[0]}"


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_issue_forms_have_what_a_form_needs(path: Path) -> None:
    form = read(path)
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert all((form["name"], form["description"], fields))
    assert all(field["attributes"]["label"] for field in fields)
    assert len({field["id"] for field in fields}) == len(fields)


def test_pull_requests_are_asked_about_outputs() -> None:
    template = (ROOT / ".github/pull_request_template.md").read_text(encoding="utf-8")
    assert "- [ ] No `md5` under `outs` in `dvc.lock` changed, or why it had to\n" in template


def test_hooks_run_the_pinned_ruff() -> None:
    pins = (ROOT / "constraints-test.txt").read_text(encoding="utf-8")
    revisions = {entry["repo"]: entry["rev"] for entry in read(ROOT / ".pre-commit-config.yaml")["repos"]}
    assert f"ruff=={revisions['https://github.com/astral-sh/ruff-pre-commit'].removeprefix('v')}\n" in pins


def test_the_citation_is_of_a_release_in_the_changelog() -> None:
    citation = read(ROOT / "CITATION.cff")
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    sections = re.findall(r"^## (.+)$", changelog, re.MULTILINE)
    assert sections[0] == "Unreleased"
    assert f"{citation['version']} - {citation['date-released']}" in sections


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_within_the_repository_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []
