"""classify: what is right, what is got round, and by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lethe.core.errors import StageError
from lethe.core.hashing import file_sha256
from lethe.core.params import read_params
from lethe.core.tables import read_json, write_json
from lethe.models.checkpoints import load_model, load_tokenizer
from lethe.models.soft_prompts import save_prompt
from lethe.training.adapters import PromptParams, attach
from lethe.unlearning.prefix_tuning import attach_prefix
from stages import classify
from tests.conftest import set_param, tiny_model
from tests.task import GENERIC, TEXT, task_project

CPU = torch.device("cpu")
PROMPT = PromptParams(tokens=3, encoder=0, start="random")


@pytest.fixture
def tiny(project: Path) -> Path:
    """The tiny task with a random soft prompt."""
    task_project(project, "classify")
    save_tuning(project, attach(load_model(Path("models/task"), CPU), "prompt", None, 0, PROMPT), "prompt")
    return project


def save_tuning(project: Path, model: object, tuning: str) -> None:
    save_prompt(model, load_tokenizer(Path("models/task")), project / "models/softprompt", Path("models/task"))
    facts = {"objective": "spul", "tuning": tuning, "generic": GENERIC, "trainable_parameters": 96}
    write_json(facts | {"weights_sha256": "0" * 64}, project / "reports/softprompt.json")


def report(project: Path) -> dict:
    return json.loads((project / "reports/classification.json").read_text())


def test_main(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    classify.main()
    found = report(tiny)
    assert list(found["models"]) == ["task", "softprompt", "retrained", "constant", "keyword_filter"]
    for scores in found["models"].values():
        assert list(scores) == ["train_retain", "train_forget", "test_retain", "test_forget"]
        assert [score["items"] for score in scores.values()] == [4, 4, 4, 4]
    assert found["models"]["keyword_filter"]["test_forget"]["accuracy"] == 0.0  # every Orla is filtered out
    assert found["models"]["keyword_filter"]["test_retain"] == found["models"]["task"]["test_retain"]
    assert found["models"]["constant"]["test_forget"]["accuracy"] == 0.5  # two of four labels are the commoner one
    assert found["attacks"]["strip_prompt"]["test"] == found["models"]["task"]["test_forget"]
    assert list(found["attacks"]["counter_prompt"]) == read_params("classify", classify.Params).counter_prompts
    assert set(found["attacks"]["membership"]) == {"task", "softprompt", "retrained"}
    assert found["method"] == {
        "objective": "spul", "tuning": "prompt", "generic": GENERIC, "trainable_parameters": 96,
    }  # fmt: skip
    lines = (tiny / "data/answers.csv").read_text().splitlines()
    assert lines[0] == "row,side,part,label,task,softprompt,retrained,keyword_filter,constant"
    assert len(lines) == 17
    said = capsys.readouterr().out
    assert said.startswith("classify: prompt, test accuracy forget 0.")
    strip = read_json(tiny / "reports/classification.json")["attacks"]["strip_prompt"]["test"]["accuracy"]
    assert said.endswith(f", without the prompt {strip:.3f}\n")
    before = file_sha256(tiny / "reports/classification.json"), file_sha256(tiny / "data/answers.csv")
    classify.main()
    assert before == (file_sha256(tiny / "reports/classification.json"), file_sha256(tiny / "data/answers.csv"))


def test_a_prefix_is_measured_under_its_own_name(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_tuning(tiny, attach_prefix(load_model(Path("models/task"), CPU), PROMPT, 0), "prefix")
    classify.main()
    assert capsys.readouterr().out.startswith("classify: prefix, test accuracy")


def test_no_entity_list_no_filter(tiny: Path) -> None:
    from lethe.classification.dataset import TASK
    from lethe.core.tables import write_parquet
    from tests.task import rows

    write_parquet(rows(), TASK, tiny / "data/task.parquet", patterns="[]")
    classify.main()
    found = report(tiny)
    assert "keyword_filter" not in found["models"]
    assert found["absent"] == {"keyword_filter": "split.rule is not entities, so there is no keyword to filter by"}


def another_base(project: Path) -> None:
    asking = (project / "models/task/task.json").read_text()
    tiny_model(project / "models/task", seed=9, text=TEXT)
    (project / "models/task/task.json").write_text(asking)


@pytest.mark.parametrize(
    ("spoil", "start", "end"),
    [
        (another_base, "models/softprompt: expected models/task to be its base ", "; run `dvc repro`"),
        (
            lambda project: set_param(project, "classify.counter_prompts", "none"),
            "params.yaml: classify.counter_prompts: expected a list, got 'none'",
            "",
        ),
    ],
)
def test_bad_input_is_one_line(tiny: Path, spoil: Callable[[Path], None], start: str, end: str) -> None:
    spoil(tiny)
    with pytest.raises(StageError) as caught:
        classify.main()
    line = str(caught.value)
    assert line.startswith(start)
    assert line.endswith(end)
    assert "\n" not in line
