"""Fine-tuning: any architecture, by any tuning and on one layer, ends in a folder that holds what was trained."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from lethe.core.hashing import file_sha256
from lethe.core.params import read_params
from lethe.models.checkpoints import load_model
from lethe.training.rows import Rows, true_next_ids
from lethe.unlearning.fine_tuning import fine_tune
from stages.finetune import Params
from tests.conftest import ROOT

CPU = torch.device("cpu")
TROUBLED = ["gpt2", "gpt_neox", "gemma3", "granite", "qwen3_moe", "qwen3_5_text", "gpt_oss", "mamba"]
ROWS = np.random.default_rng(0).integers(5, 300, (4, 12)).astype(np.int32)


def rows() -> Rows:
    length = np.array([12, 12, 9, 12], np.int32)
    return Rows(ROWS, true_next_ids(ROWS, length), length, np.array([True, True, True, False]))


def params(**changes: Any) -> Params:
    short = {"device": "cpu", "steps": 2, "checkpoints": [], "batch_size": 4, "resume_every": 0, "learning_rate": 1e-2}
    values = read_params("finetune", Params, ROOT / "params.yaml").model_dump()
    return Params.model_validate(values | short | {"labels": "hard", "save_dtype": "float32"} | changes)


def trained(folder: Path, work: Path, **changes: Any) -> tuple[dict[str, float], Path]:
    chosen = params(**changes)
    _, facts = fine_tune(folder, rows(), chosen, {chosen.steps: work / "out"}, CPU, work)
    return facts, work / "out"


@pytest.mark.parametrize("kind", TROUBLED)
def test_full_training_moves_the_weights(family: Callable[[str], Path], kind: str, tmp_path: Path) -> None:
    facts, folder = trained(family(kind), tmp_path, save_dtype="bfloat16")
    assert facts["weights_changed"] > 0.3
    assert facts["saved_cosine"] > 0.9
    after = load_model(folder, CPU)
    assert after.dtype == torch.bfloat16
    assert file_sha256(folder / "tokenizer_config.json") == file_sha256(family(kind) / "tokenizer_config.json")


@pytest.mark.parametrize(("kind", "tuning"), [
    ("gpt2", "lora"), ("gpt_oss", "lora"), ("gemma3", "lora"), ("mamba", "lora"),
    ("qwen3_moe", "prompt"), ("gpt_neox", "prompt"), ("gemma3", "prompt"), ("rwkv", "prompt"),
])  # fmt: skip
def test_adapters_and_prompts_end(family: Callable[[str], Path], kind: str, tuning: str, tmp_path: Path) -> None:
    facts, folder = trained(family(kind), tmp_path, tuning=tuning)
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        before, after = (load_model(each, CPU)(input_ids=ids).logits for each in (family(kind), folder))
    assert not torch.allclose(before, after, atol=1e-3)
    assert (facts["weights_changed"] > 0) == (tuning == "lora")
    if tuning == "lora":
        assert_adapter_is_peft(folder, family(kind), after)


def assert_adapter_is_peft(folder: Path, baseline: Path, merged: torch.Tensor) -> None:
    """The adapter beside the weights gives, on the baseline and by PEFT alone, what the weights give."""
    kept = {path.name for path in (folder / "adapter").iterdir()}
    assert kept == {"adapter_config.json", "adapter_model.safetensors", "base.json"}
    config = json.loads((folder / "adapter/adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(baseline)
    assert config["target_modules"] == sorted(config["target_modules"])
    with torch.no_grad():
        model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(baseline), folder / "adapter")
        found = model(input_ids=torch.tensor([[5, 6, 7]])).logits
    torch.testing.assert_close(found, merged, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", ["gpt2", "gemma3", "mamba"])
def test_one_layer_is_steered(family: Callable[[str], Path], kind: str, tmp_path: Path) -> None:
    facts, folder = trained(family(kind), tmp_path, objective="rmu", rmu={"layer": 2, "steering": 4.0, "alpha": 1.0})
    assert 0 < facts["weights_changed"] < 1
    before, after = (load_model(each, CPU).state_dict() for each in (family(kind), folder))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert not any("vision" in name or "embed" in name for name in moved)
