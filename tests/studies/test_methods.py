"""make compare: what is run, what is read off, how it is shown; no run here."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from lethe.core.params import read_params
from stages.finetune import Params
from studies import methods as compare
from tests.conftest import ROOT
from tools.sandbox import change_params

EVERY = [(objective, tuning) for objective in compare.OBJECTIVES for tuning in compare.VEHICLES]
REPORTS: dict[str, Any] = {
    "familiarity": {
        "models": {"baseline": {"leak": 0.6}, "unlearned": {"leak": 0.05}},
        "ratio": {"completion_familiarity": 0.08, "probability_familiarity": 0.1, "retain_perplexity_factor": 1.02},
    },
    "benchmarks": {"models": {"unlearned": {"local_ending": 0.9, "local_order": 1.0}}},
    "finetune": {"trainable_parameters": 28_672},
    "measures": {"models": {"unlearned": {"forget_quality": {"value": 0.3}, "model_utility": {"value": 0.7}}}},
    "attacks": {
        "attacks": [
            {"attack": "relearn", "model": "unlearned", "metric": "leak", "value": 0.2},
            {"attack": "relearn", "model": "unlearned", "metric": "leak", "value": 0.4},
            {"attack": "relearn", "model": "retrained", "metric": "leak", "value": 0.9},
            {"attack": "relearn", "model": "unlearned", "metric": "probability", "value": 1.0},
        ]
    },
    "stages": {"finetune": {"cpu_seconds": 25.0, "peak_memory_mib": 700.0}},
}


def test_eight_rows_and_a_grid() -> None:
    assert len(compare.EIGHT) == 8
    assert set(compare.EIGHT) < set(EVERY)
    assert len(EVERY) == 15 * 3
    assert set(compare.NAMES) == set(compare.OBJECTIVES)


@pytest.mark.parametrize(("objective", "tuning"), EVERY)
def test_every_run_has_valid_parameters(tmp_path: Path, objective: str, tuning: str) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    stages = compare.present(ROOT)
    wanted = compare.changes(objective, tuning, "development", stages)
    change_params(tmp_path, wanted)
    values = YAML(typ="safe").load((tmp_path / "params.yaml").read_text())
    params = read_params("finetune", Params, tmp_path / "params.yaml")
    assert (params.objective, params.tuning, params.steps, params.checkpoints) == (objective, tuning, 60, [])
    assert values["evaluate"]["set"] == "development"


def test_optional_stages_are_run_where_they_are() -> None:
    without = compare.changes("npo", "full", "test", ["evaluate", "benchmark"])
    assert not [key for key in without if key.startswith(("measure", "attack"))]
    beside = compare.changes("npo", "full", "test", ["evaluate", "benchmark", "measure", "attack"])
    assert beside["attack.attacks"] == ["relearn", "context"]
    assert beside["attack.set"] == beside["measure.set"] == "test"
    assert "benchmark.set" not in beside


def test_measured_by_hand() -> None:
    found = compare.measured(REPORTS, "prompt")
    # the accuracy is (0.9 + 1.0) / 2; of two settings of relearn the worse counts; stripped of its prompt: the baseline
    assert found == {
        "leak": 0.05,
        "completion_left": 0.08,
        "probability_left": 0.1,
        "forget_quality": 0.3,
        "perplexity_factor": 1.02,
        "accuracy": 0.95,
        "model_utility": 0.7,
        "relearn": 0.4,
        "context": None,
        "stripped": 0.6,
        "parameters": 28_672,
        "cpu_seconds": 25.0,
        "memory_mib": 700.0,
    }
    fewer = {key: value for key, value in REPORTS.items() if key not in ("measures", "attacks")}
    assert compare.measured(fewer, "full")["relearn"] is None
    assert compare.measured(fewer, "full")["stripped"] is None


def test_a_run_that_fails_ends_its_row_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*arguments: object, **_: object) -> dict[str, Any]:
        raise subprocess.CalledProcessError(1, ["dvc", "repro", "evaluate"])

    monkeypatch.setattr(compare, "repro", fails)
    row = compare.compared(tmp_path, "gradient_ascent", "full", "0123", "test", ["evaluate"])
    assert row.failed == "`dvc repro` ended with 1"
    assert compare.table([row]).splitlines()[2].startswith("| GA | full | `dvc repro` ended with 1 |  |")


def test_table_has_a_cell_for_every_column(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [compare.Row("npo", "full", "0123", compare.measured(REPORTS, "full") | {"kilobytes": 5120.5})]
    header, rule, line = compare.table(rows).splitlines()
    assert header.count("|") == rule.count("|") == line.count("|") == len(compare.COLUMNS) + 3
    assert "| NPO | full | 0.050 | 0.080 |" in line
    assert "| 28672 | 5120.5 | 25.000 | 700 |" in line
    monkeypatch.setattr(compare, "ROOT", tmp_path)
    compare.write(rows, "test", "eight")
    assert (tmp_path / "reports/compare/eight-test.md").read_text() == compare.table(rows) + "\n"
    assert '"objective": "npo"' in (tmp_path / "reports/compare/eight-test.json").read_text()


def test_resuming_keeps_the_rows_of_this_baseline_that_did_not_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare, "ROOT", tmp_path)
    assert compare.read("test", "all", "0123") == []
    whole = compare.Row("npo", "full", "0123", {"leak": 0.1})
    failed = compare.Row("rmu", "lora", "0123", {}, "it failed")
    other = compare.Row("rmu", "full", "4567", {"leak": 0.1})  # of a baseline trained elsewhere
    compare.write([whole, failed, other], "test", "all")
    assert compare.read("test", "all", "0123") == [whole]
