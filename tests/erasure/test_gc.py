"""What `dvc gc` would remove, told by git in a moment."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lethe import console
from lethe.erasure import gc
from lethe.provenance.artifact_store import open_store
from lethe.provenance.history import open_project
from tests import recorded
from tests.conftest import TINY_TEXT

Run = tuple[Path, dict[str, str]]


def experiment(folder: Path, text: str, name: str) -> dict[str, str]:
    """A run that only an experiment holds."""
    head = recorded.git(folder, "rev-parse", "HEAD")
    made = recorded.run(folder, text)
    commit = recorded.commit(folder, name)
    recorded.git(folder, "update-ref", f"refs/exps/{head[:2]}/{head[2:]}/{name}", commit)
    recorded.git(folder, "reset", "--quiet", "--hard", head)
    return made


@pytest.mark.parametrize("options", [["--workspace", "--all-commits"], ["-w", "-A", "--all-experiments"]])
def test_git_tells_what_dvc_would_remove(judged_copy: Run, monkeypatch: pytest.MonkeyPatch, options: list[str]) -> None:
    folder, made = judged_copy
    monkeypatch.chdir(folder)
    pipeline = ["stages:"]
    for name, (deps, outs) in recorded.STAGES.items():  # as DVC wants it: without a stage there is no out
        pipeline.append(f"  {name}: {{cmd: 'true', deps: {deps}, outs: {outs}}}")
    (folder / "dvc.yaml").write_text("\n".join(pipeline) + "\n")
    recorded.commit(folder, "a pipeline")
    tried = experiment(folder, TINY_TEXT * 2, "tried")
    recorded.run(folder, TINY_TEXT * 3)  # in no commit, and then not in the folder either
    recorded.git(folder, "checkout", "--quiet", "--", ".")
    (folder / "notes.txt").write_text("kept by a file of its own")
    recorded.cache(folder, folder / "notes.txt")
    md5 = recorded.md5_of(folder / "notes.txt")
    (folder / "notes.txt.dvc").write_text(f"outs:\n- md5: {md5}\n  size: 25\n  hash: md5\n  path: notes.txt\n")
    project = open_project(Path())
    found = gc.removed(options, project, open_store(project))
    assert found == gc.removed_by_gc(options)
    assert tried["models/reinforced"] in found or "--all-experiments" in options
    assert made["models/reinforced"] not in found
    assert md5 not in found


def test_other_options_are_left_to_dvc(judged_copy: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = judged_copy
    monkeypatch.chdir(folder)
    asked: list[list[str]] = []
    monkeypatch.setattr(gc, "removed_by_gc", lambda options: asked.append(options) or set())
    project = open_project(Path())
    for options in (["--workspace"], ["--workspace", "--all-branches"], ["--all-commits", "--cloud"]):
        gc.removed(options, project, open_store(project))
    assert len(asked) == 3
    shutil.rmtree(folder / "models")
    assert gc.removed(["--all-commits"], project, open_store(project)) == set()


def test_a_long_history_is_told_as_it_is_read(judged_copy: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, made = judged_copy
    monkeypatch.setattr(console.Ticker.__init__, "__defaults__", (0.0,))
    done = recorded.lethe(folder, "gc", "--all-commits", "--json")
    told = done.stderr.splitlines()
    assert told[0] == "gc: 1 versions of dvc.lock and .dvc files in git"
    count = len({md5 for path, md5 in made.items() if path != "data/forget"})
    assert told[1:3] == [f"gc: {number} of {count} recorded outs are listed" for number in (1, 2)]
