"""make erasing: what is run, what is read off, how it is shown; no run here."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from lethe.core.params import read_params
from stages.distil import Params
from stages.finetune import Params as FinetuneParams
from studies import erasing
from tests.conftest import ROOT
from tools.sandbox import change_params

VALUES = {"retain_perplexity": 6.5, "forget_perplexity": 90.0, erasing.CURVE: 0.4}
ROWS = [{"model": name} | VALUES for name in erasing.COMPARED] + [
    {"model": way, "noise": noise, "cpu_seconds": 80.0} | VALUES for way in erasing.WAYS for noise in erasing.NOISE
]


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """Every run that a study asks for, as its changes; none is made."""
    asked: list[dict[str, object]] = []

    def repro(project: Path, changes: erasing.Changes, *targets: str) -> dict[str, object]:
        shutil.copyfile(ROOT / "params.yaml", project / "params.yaml")
        change_params(project, changes)
        monkeypatch.chdir(project)
        read_params("distil", Params), read_params("finetune", FinetuneParams)
        asked.append(changes)
        cost = {"distil": {"cpu_seconds": 80.0}} if changes.get("distil.noise") != 1.0 else {}
        models = {"unlearned": {"forget_quality": {"value": 0.3}}}
        return {"stages": cost, "measures": {"models": models}, "gate": {"met": 10}}

    monkeypatch.setattr(erasing, "repro", repro)
    monkeypatch.setattr(erasing, "measured", lambda project, name: dict(VALUES))
    return asked


def test_the_curve_has_every_noise_for_every_way(tmp_path: Path, runs: list[dict[str, object]]) -> None:
    rows = list(erasing.curve(tmp_path))
    assert [row["model"] for row in rows] == [row["model"] for row in ROWS]
    assert {row["cpu_seconds"] for row in rows if "noise" in row} == {80.0, None}  # None: from the cache
    assert [changes["distil.spread"] for changes in runs[1:7]] == [0.0, 0.2, 0.3, 0.3, 0.2, 0.0]
    assert all(changes["attack.set"] == "development" for changes in runs)


def test_parts_and_objectives_are_run_with_and_without(tmp_path: Path, runs: list[dict[str, object]]) -> None:
    rows = list(erasing.parts(tmp_path)) + list(erasing.objectives(tmp_path))
    names = [row["model"] for row in rows]
    assert names[:3] == ["suppressed", "retrained", "the default"]
    assert names[-2:] == ["GradDiff", "GradDiff, erased"]
    assert [changes["distil.steps"] for changes in runs[-2:]] == [0, 300]
    assert rows[-1]["forget_quality"] == 0.3
    assert rows[-1]["privleak"] is None


def test_every_seed_is_judged_by_the_gate_on_the_test_prompts(tmp_path: Path, runs: list[dict[str, object]]) -> None:
    rows = list(erasing.seeds(tmp_path, (0, 2)))
    assert [(row["seed"], row["met"], row["total_cpu_seconds"]) for row in rows] == [(0, 10, 80), (2, 10, 80)]
    assert runs[1]["finetune.seed"] == 2
    assert not [key for key in runs[1] if key.endswith(".set")]


def test_rows_are_kept_as_they_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(project: Path) -> Iterator[erasing.Row]:
        yield ROWS[0]
        raise KeyboardInterrupt

    monkeypatch.setattr(erasing, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(erasing, "clone", lambda target: target)
    monkeypatch.setitem(erasing.STUDIES, "parts", stopped)
    monkeypatch.setattr("sys.argv", ["erasing", "parts"])
    with pytest.raises(KeyboardInterrupt):
        erasing.main()
    assert json.loads((tmp_path / "results/parts.json").read_text()) == ROWS[:1]


def test_an_unknown_study_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["erasing", "curves"])
    with pytest.raises(SystemExit):
        erasing.main()
    assert "expected names from seeds, curve, parts, objectives, got curves" in capsys.readouterr().err


def test_the_table_leaves_out_what_was_not_measured() -> None:
    lines = erasing.table(
        [{"model": "a", "cpu_seconds": None, "allowed": {}}, {"model": "b", "leak": 0.5}]
    ).splitlines()
    assert lines == ["| model | cpu seconds | leak |", "|---|---|---|", "| a |  |  |", "| b |  | 0.5 |"]


def test_the_picture_names_every_way_and_model(tmp_path: Path) -> None:
    erasing.draw(ROWS, tmp_path / "images/noise.svg")
    drawn = (tmp_path / "images/noise.svg").read_text(encoding="utf-8")
    assert all(name in drawn for name in (*erasing.TITLES.values(), *erasing.COMPARED))
    assert erasing.TITLES.keys() == erasing.WAYS.keys()
