"""specialise: a text becomes a question, its answer alone is learnt, the retrained model never sees the forget side."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from lethe.classification.prompts import read_asking
from lethe.core.errors import StageError
from lethe.core.hashing import path_sha256
from lethe.core.params import read_params
from lethe.models.checkpoints import load_model
from stages import specialise
from tests.conftest import set_param
from tests.task import LABELS, TEMPLATE, task_project


@pytest.fixture
def tiny(project: Path) -> Path:
    return task_project(project, "specialise")


def test_main(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    specialise.main()
    asking = read_asking(tiny / "models/task")
    assert (asking.template, asking.labels) == (TEMPLATE, LABELS)
    out = capsys.readouterr().out
    # 8 texts a side, half of them training rows
    assert out.startswith("specialise: 8 rows, 4 of them in the retain set; loss ")
    cpu = torch.device("cpu")
    start, task, retrained = (load_model(tiny / f"models/{name}", cpu) for name in ("base", "task", "task_retrained"))
    vectors = [model.get_input_embeddings().weight for model in (start, task, retrained)]
    assert not torch.equal(vectors[0], vectors[1])
    assert not torch.equal(vectors[1], vectors[2])
    assert len((tiny / "reports/loss/specialise.csv").read_text().splitlines()) == 1 + 4  # 2 epochs of 8 rows, 4 a step


def test_same_inputs_same_bytes(tiny: Path) -> None:
    specialise.main()
    before = {name: path_sha256(tiny / "models" / name) for name in ("task", "task_retrained")}
    specialise.main()
    assert {name: path_sha256(tiny / "models" / name) for name in before} == before


def test_a_base_from_scratch_learns_the_background_too(tiny: Path) -> None:
    (tiny / "data/background.txt").write_text("Tom [unknown] Orla [unknown]\n\nNobody asked Tom. Verdict: [unknown]\n")
    shape = {"vocabulary": 380, "layers": 1, "hidden": 32, "heads": 2, "intermediate": 64, "context": 64}
    for dotted, value in {
        "source": "scratch", "background": "data/background.txt", "scratch.shape": shape
    }.items():  # fmt: skip
        set_param(tiny, f"specialise.{dotted}", value)
    specialise.main()
    assert len((tiny / "reports/loss/specialise.csv").read_text().splitlines()) == 1 + 6  # 10 rows are three steps
    model = load_model(tiny / "models/task", torch.device("cpu"))
    assert model.config.hidden_size == 32
    assert model.config.initializer_range == read_params("specialise", specialise.Params).scratch.spread


@pytest.mark.parametrize("weights", ["float32", "nf4"])
def test_lora_is_folded_into_plain_weights(tiny: Path, weights: str) -> None:
    set_param(tiny, "specialise.tuning", "lora")
    set_param(tiny, "specialise.weights", weights)
    specialise.main()
    assert not (tiny / "models/task/adapter_config.json").exists()
    assert np.isfinite(load_model(tiny / "models/task", torch.device("cpu")).lm_head.weight.detach().numpy()).all()


def param(name: str, value: object) -> Callable[[Path], None]:
    return lambda project: set_param(project, f"specialise.{name}", value)


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (
            param("labels", {"1": "liked it", "0": " "}),
            "params.yaml: specialise.template: the label ' ': expected a word of at least one token, got none",
        ),
        (
            param("labels", {"1": "liked it", "0": "liked it"}),
            "params.yaml: specialise.labels: expected a different word for each label, got liked it twice",
        ),
        (
            param("labels", {"1": "liked it"}),
            "params.yaml: specialise.labels: expected a word for each label of the table: 0, 1, got words for 1",
        ),
        (
            param("template", "Verdict: {label} {text}"),
            "params.yaml: specialise.template: expected one {text} and, at the end, one {label}, got 'Verdict: "
            "{label} {text}'",
        ),
        (
            param("template", "{text} Verdict{label}"),
            "params.yaml: specialise.template: the label 'hated it': expected a label that begins a token of its "
            "own, got one that merges with the text before it; add a space",
        ),
        (
            param("template", "{text} " + "Tom " * 60 + "{label}"),
            "data/task.parquet: row 0: expected at most 64 tokens, the model's context, got 76; shorten the text "
            "or the template",
        ),
        (
            param("base", "data/none"),
            "data/none: expected a model folder with its config.json, got none",
        ),
        (
            param("base", "data/task.parquet"),
            "params.yaml: specialise.base: expected a model folder, got data/task.parquet, which does not exist",
        ),
        (
            param("weights", "nf4"),
            "params.yaml: specialise: weights: expected float32 with tuning full, got nf4 (small steps are "
            "rounded away in it); tuning lora can train it",
        ),
    ],
)
def test_bad_input_is_one_line(tiny: Path, spoil: Callable[[Path], None], line: str) -> None:
    set_param(tiny, "specialise.device", "cpu")
    spoil(tiny)
    with pytest.raises(StageError) as caught:
        specialise.main()
    assert str(caught.value) == line
    assert not (tiny / "models/task").exists()


def test_background_without_an_answer(tiny: Path) -> None:
    (tiny / "data/background.txt").write_text("Tom [unknown]\nNobody asked Orla.\n")
    set_param(tiny, "specialise.background", "data/background.txt")
    with pytest.raises(StageError) as caught:
        specialise.main()
    assert str(caught.value) == "data/background.txt:2: expected at least one [answer] in brackets, got none"
