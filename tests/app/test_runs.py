"""Runs from the history: a row each, and two beside each other."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from lethe.app import runs
from lethe.core.errors import StageError
from tests import recorded
from tests.app.conftest import PAGE


def test_every_commit_with_a_lock_is_a_run_with_its_metrics_and_what_differs(own_project: Path) -> None:
    found = runs.listed()
    assert [row["subject"] for row in found["rows"]] == ["second run", "first run"]
    assert found["params"] == ["finetune.steps"]
    assert [row["params"]["finetune.steps"] for row in found["rows"]] == ["8", "4"]
    first = found["rows"][1]
    assert (first["verdict"], first["date"], first["commits"]) == ("fail", "2026-01-10T09:00:00+00:00", 1)
    assert first["metrics"] == {"completion_familiarity": 0.5, "retain_perplexity": 1.1}
    assert set(found["metrics"]) == {"completion_familiarity", "retain_perplexity"}


def test_an_older_gate_gives_its_verdict_by_its_counts() -> None:
    assert runs.verdict_of({"met": 9, "missed": 1, "unmeasured": 1}) == "fail"
    assert runs.verdict_of({"met": 9, "missed": 0, "unmeasured": 1}) == "cannot tell"
    assert runs.verdict_of({"met": 9, "missed": 0, "unmeasurable": 1}) == "pass"
    assert runs.verdict_of({"met": 9, "results": {"privleak": "fail"}}) == "fail"
    assert runs.verdict_of({}) == ""


def test_an_experiment_and_the_workspace_are_runs_too(own_project: Path) -> None:
    recorded.git(own_project, "checkout", "--quiet", "HEAD", "--", ".")
    lock = own_project / "dvc.lock"
    lock.write_text(lock.read_text().replace("steps: 8", "steps: 16"))
    tree = own_project / ".git/experiment-index"
    env = {"GIT_INDEX_FILE": str(tree)}
    recorded.git(own_project, "read-tree", "HEAD", **env)
    recorded.git(own_project, "update-index", "dvc.lock", **env)
    made = recorded.git(
        own_project, "commit-tree", recorded.git(own_project, "write-tree", **env), "-p", "HEAD", "-m", "x"
    )
    recorded.git(own_project, "update-ref", f"refs/exps/{made[:2]}/{made[2:]}/wide-heron", made)
    lock.write_text(lock.read_text().replace("steps: 16", "steps: 32"))
    rows = runs.listed()["rows"]
    assert rows[0]["name"] == "workspace"
    assert {row["name"] for row in rows if row["experiment"]} == {"wide-heron"}
    assert sorted(row["params"]["finetune.steps"] for row in rows) == ["16", "32", "4", "8"]


def test_what_was_stashed_is_no_run(own_project: Path) -> None:
    recorded.git(own_project, "checkout", "--quiet", "HEAD", "--", ".")
    lock = own_project / "dvc.lock"
    lock.write_text(lock.read_text().replace("steps: 8", "steps: 16"))
    recorded.git(own_project, "stash")
    assert [row["subject"] for row in runs.listed()["rows"]] == ["second run", "first run"]


def test_two_runs_are_compared_in_params_gate_and_numbers(own_project: Path) -> None:
    second, first = (row["id"] for row in runs.listed()["rows"])
    found = runs.compared(first, second)
    assert [row["subject"] for row in found["runs"]] == ["first run", "second run"]
    assert found["params"] == [{"name": "finetune.steps", "cells": ["4", "8"]}]
    assert [row["page"] for row in found["runs"]] == [False, True]
    familiarity = next(row for row in found["gate"] if row["name"].startswith("Familiarity (completion)"))
    assert familiarity["cells"] == ["0.500 fail", "0.500 fail"]
    assert found["code"] == []


def test_reports_of_another_form_or_none_are_told(own_project: Path) -> None:
    assert runs.numbers_of({}) == ({}, "no report of measures, familiarity, benchmarks that its dvc.lock records")
    old = {f"reports/{name}.json": {"old": True} for name in runs.MEASURED}
    assert runs.numbers_of(old) == ({}, "its reports have the form of another version")


def test_numbers_that_the_lock_does_not_record_are_not_shown(own_project: Path) -> None:
    gate = own_project / "reports/gate.json"
    gate.write_text(gate.read_text().replace("0.5", "0.05"))
    recorded.git(own_project, "add", "reports/gate.json")
    recorded.git(own_project, "commit", "--quiet", "-m", "forged")
    forged = next(row for row in runs.listed()["rows"] if row["subject"] == "forged")
    assert (forged["verdict"], forged["metrics"]) == ("", {})


def test_a_runs_page_comes_from_the_cache_and_is_its_own(own_project: Path) -> None:
    second, first = (row["id"] for row in runs.listed()["rows"])
    (own_project / "reports/index.html").write_text("another")
    assert runs.report_page(second).decode() == PAGE
    with pytest.raises(StageError, match="expected a run with a report page"):
        runs.report_page(first)
    for name in ("../../etc/passwd", "HEAD", "", "--all"):
        with pytest.raises(StageError):
            runs.report_page(name)
        with pytest.raises(StageError, match="expected a commit or experiment"):
            runs.compared(name, first)


def test_a_page_that_is_nowhere_is_told(own_project: Path) -> None:
    second = runs.listed()["rows"][0]["id"]
    (own_project / "reports/index.html").unlink()
    subprocess.run(["rm", "-rf", str(own_project / ".dvc/cache")], check=True)
    with pytest.raises(StageError, match="is in no cache or remote here"):
        runs.report_page(second)
