"""What studies share: parameters changed, commands that fail, results and tables written."""

from __future__ import annotations

from pathlib import Path

import pytest

from lethe.core.params import read_params, read_yaml
from stages import finetune, specialise
from tests import tiny
from tests.conftest import ROOT
from tools.markdown import table
from tools.sandbox import change_params, failures_in, run, write_result


def test_a_stage_is_given_a_value_of_its_own(project: Path) -> None:
    changes = {"finetune.max_grad_norm": 0.5, "finetune.rmu.layer": 3, "training.weights": "bfloat16"}
    change_params(project, changes | {"training.tuning": "lora", "block.tokens": 200})
    found = read_params("finetune", finetune.Params)
    assert (found.max_grad_norm, found.rmu.layer, found.rmu.alpha, found.weights) == (0.5, 3, 10.0, "bfloat16")
    assert read_params("specialise", specialise.Params).max_grad_norm == 1.0
    assert read_yaml(project / "params.yaml")["block"] == {"tokens": 200}
    text, before = (project / "params.yaml").read_text(), (ROOT / "params.yaml").read_text()
    assert "  max_grad_norm: 0.5\n" in text.split("\n\nmethods:")[0].split("\nfinetune:")[1].split("\n\n")[0]
    assert text.count("#") == before.count("#")


def test_a_section_within_a_section_is_replaced_as_a_whole(project: Path) -> None:
    change_params(project, {"specialise.labels": {"0": "no", "1": "yes"}})
    assert read_params("specialise", specialise.Params).labels == {"0": "no", "1": "yes"}


@pytest.mark.parametrize(
    "dotted", ["finetune.learning_rat", "training.epochs", "methods.rmu.layers", "finetun.steps", "finetune.rmv.layer"]
)
def test_a_misspelt_parameter_ends_the_study(project: Path, dotted: str) -> None:
    before = (project / "params.yaml").read_text()
    with pytest.raises(SystemExit, match=rf"^params.yaml: {dotted}: unknown parameter$"):
        change_params(project, {dotted: 1})
    assert (project / "params.yaml").read_text() == before


def test_a_preset_is_the_base(tmp_path: Path) -> None:
    tiny.copy(ROOT / "presets", tmp_path / "presets")
    change_params(tmp_path, {"finetune.steps": 6, "finetune.checkpoints": [2]}, "presets/book.yaml")
    found = read_params("finetune", finetune.Params, tmp_path / "params.yaml")
    assert (found.steps, found.checkpoints, found.learning_rate, found.pdu.epsilon) == (6, [2], 6e-4, 3.0)


def test_a_command_that_fails_ends_the_study_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stopped, failures_in(tmp_path):
        run(["git", "no-such-command"], tmp_path)
    assert str(stopped.value) == f"error: {tmp_path}: `git no-such-command` ended with exit code 1; see above"


def test_a_result_is_written_with_its_folder(tmp_path: Path) -> None:
    write_result({"leak": 0.5}, tmp_path / "reports/new/result.json")
    assert (tmp_path / "reports/new/result.json").read_text() == '{\n  "leak": 0.5\n}\n'


def test_a_table_has_a_cell_for_every_title() -> None:
    assert table(["model", "leak"], [["a", 0.5], ("b", None)]) == "| model | leak |\n|---|---|\n| a | 0.5 |\n| b |  |"
    with pytest.raises(ValueError, match="expected 2 cells, got 1"):
        table(["model", "leak"], [["a"]])
