"""baseline: where the model comes from, and what is passed on to retrain."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from lethe.core.hashing import file_sha256, folder_sha256
from lethe.core.params import read_params, section_problems
from lethe.models.checkpoints import absent_reason, load_model, load_tokenizer
from stages import baseline
from tests.conftest import set_param, tiny_model, touch_deps, write_corpus
from tests.tiny_gguf import write_gguf

SCRATCH = {"vocabulary": 300, "layers": 1, "hidden": 16, "heads": 2, "intermediate": 32, "context": 32}


@pytest.fixture
def small(project: Path) -> Path:
    for key, value in SCRATCH.items():
        set_param(project, f"baseline.scratch.{key}", value)
    set_param(project, "baseline.block_tokens", 16)
    set_param(project, "baseline.epochs", 1)
    set_param(project, "baseline.device", "cpu")
    write_corpus(project)
    touch_deps(project, "baseline")
    return project


def test_from_scratch(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    baseline.main()
    steps = len((small / "reports/loss/baseline.csv").read_text().splitlines()) - 1
    assert capsys.readouterr().out.startswith("baseline: model from scratch, loss ")
    assert steps > 1
    model = load_model(Path("models/baseline"), torch.device("cpu"))
    assert model.config.hidden_size == 16
    assert model.dtype == torch.float32
    start = json.loads((small / "models/start/recipe.json").read_text())
    assert start["epochs"] == 1
    assert "device" not in start
    assert (small / "models/start/tokenizer.json").read_bytes() == (
        small / "models/baseline/tokenizer.json"
    ).read_bytes()


def test_same_inputs_same_bytes(small: Path) -> None:
    baseline.main()
    first = folder_sha256(Path("models"))
    baseline.main()
    assert folder_sha256(Path("models")) == first


def test_another_seed_is_another_model(small: Path) -> None:
    baseline.main()
    first = folder_sha256(Path("models"))
    set_param(small, "baseline.seed", 1)
    baseline.main()
    assert folder_sha256(Path("models"))["baseline/model.safetensors"] != first["baseline/model.safetensors"]


def test_folder_taken_as_it_is(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tiny_model(small / "own")
    (source / "modeling.py").write_text("raise SystemExit('code in a model folder must never run')")
    set_param(small, "baseline.source", "folder")
    set_param(small, "baseline.folder", "own")
    set_param(small, "baseline.epochs", 0)
    baseline.main()
    assert capsys.readouterr().out == "baseline: model from own, not trained further\n"
    copied = folder_sha256(Path("models/baseline"))
    assert copied["model.safetensors"] == folder_sha256(source)["model.safetensors"]
    assert "modeling.py" not in copied
    assert (
        absent_reason(Path("models/start")) == "baseline.epochs is 0: nothing was trained here that could be repeated"
    )


def test_a_gguf_file_trained_further(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = write_gguf(tiny_model(small / "source"), small / "data/model/tiny.gguf", rounded=True)
    set_param(small, "baseline.source", "gguf")
    baseline.main()
    assert capsys.readouterr().out.startswith("baseline: model from data/model, loss ")
    said = json.loads(Path("models/baseline/source.json").read_text())
    assert (said["gguf"], said["sha256"]) == ("tiny.gguf", file_sha256(own))
    assert "quantization_config" not in json.loads(Path("models/baseline/config.json").read_text())
    weights = [load_model(Path("models") / name, torch.device("cpu")).lm_head.weight for name in ("start", "baseline")]
    assert (weights[0].float() - weights[1]).abs().max() > 1e-4


def test_real_model_folder(small: Path, realdata: Path) -> None:
    set_param(small, "baseline.source", "folder")
    set_param(small, "baseline.folder", str(realdata / "models/stories260K"))
    set_param(small, "baseline.epochs", 0)
    baseline.main()
    assert load_tokenizer(Path("models/baseline"))("Once").input_ids[0] == 1


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"source": "hub"}, "model: expected owner/name, got nothing with source hub"),
        ({"epochs": 0}, "epochs: expected more than 0 with source scratch, got 0 (an untrained model knows nothing)"),
    ],
)
def test_bad_params(small: Path, change: dict[str, object], problem: str) -> None:
    values = read_params("baseline", baseline.Params).model_dump()
    assert section_problems("baseline", baseline.Params, values | change) == [f"baseline: {problem}"]
