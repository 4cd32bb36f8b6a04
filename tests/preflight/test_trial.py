"""The trial of an architecture: each check is red where one thing is wrong, and what is refused is told apart."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lethe.core.errors import StageError
from lethe.core.params import read_params
from lethe.models import output_head
from lethe.preflight import trial
from lethe.preflight.tiny_models import shrunk
from stages.finetune import Params
from tests.conftest import ROOT

RECIPE = read_params("finetune", Params, ROOT / "params.yaml")
CAPPED = {"model_type": "gemma2", "final_logit_softcapping": 2.0, "head_dim": 256}


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> trial.Case:
    """A tiny Gemma 2, which caps its logits. Not to be changed."""
    work = tmp_path_factory.mktemp("trial")
    made = trial.Case(work / "model", work, RECIPE)
    trial.written(CAPPED, made)
    return made


def result(case: trial.Case, name: str) -> trial.Finding:
    return trial.attempt(lambda: trial.CHECKS[name](case))


def test_a_cap_that_is_left_out_is_found_by_every_comparison(case: trial.Case, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("head", "scores", "labels", "loss")
    assert {name: result(case, name) for name in names} == dict.fromkeys(names, (trial.OK, ""))
    monkeypatch.setattr("lethe.models.checkpoints.check_head", lambda model: None)
    monkeypatch.setattr("lethe.models.checkpoints.uniform", lambda model: model)
    for where in ("lethe.models.output_head.finish_of", "lethe.training.forward.finish_of"):
        monkeypatch.setattr(where, lambda model: output_head.Finish(), raising=False)
    for name in names:
        state, why = result(case, name)
        assert state == trial.FAILS, name
        assert why.endswith("apart from plain transformers'")


def test_a_training_that_moves_nothing_is_found(
    case: trial.Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(trial.SHORT, "learning_rate", 1e-12)
    assert result(case._replace(work=tmp_path), "full") == (trial.FAILS, "the training changed no logit")


def test_a_folder_that_does_not_hold_what_was_saved_is_found(
    case: trial.Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "lethe.models.checkpoints.save_model",
        lambda model, tokenizer, folder, dtype: shutil.copytree(case.folder, folder),
    )
    own = case._replace(work=tmp_path)
    for name in ("reload", "plain"):
        state, why = result(own, name)
        assert (state, why.split(":")[0].split(" ")[0]) == (trial.FAILS, "logits")


def test_a_weight_that_plain_transformers_misses_is_found(case: trial.Case, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(case.folder, tmp_path / "saved")
    weights = load_file(folder / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    found = result(case._replace(work=tmp_path), "plain")
    assert found == (trial.FAILS, "missing keys: model.norm.weight")


def test_what_is_refused_is_no_failure(tmp_path: Path) -> None:
    found = trial.findings({"model_type": "bert", "is_decoder": False}, RECIPE, tmp_path)
    assert found["load"][0] == trial.REFUSED
    assert found["load"][1].startswith("bert: expected a causal language model")
    assert {state for name, (state, _) in found.items() if name != "load"} == {trial.UNTRIED}


def test_what_cannot_be_built_is_one_line(tmp_path: Path) -> None:
    (only,) = trial.findings({"model_type": "dots1"}, RECIPE, tmp_path).items()
    assert only[0] == "build"
    assert only[1][0] == trial.REFUSED
    assert "\n" not in only[1][1]


def test_errors_of_ours_and_of_others() -> None:
    def raising(error: Exception) -> Callable[[], Any]:
        def check() -> None:
            raise error

        return check

    assert trial.attempt(raising(StageError("a: expected\nb"))) == (trial.REFUSED, "a: expected b")
    assert trial.attempt(raising(KeyError("x"))) == (trial.FAILS, "KeyError: 'x'")


def test_a_config_made_small_keeps_every_kind_of_layer() -> None:
    values = {
        "model_type": "x",
        "dtype": "bfloat16",
        "hidden_size": 4096,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "num_hidden_layers": 6,
        "layer_types": ["linear", "linear", "full", "linear", "linear", "full"],
        "num_experts_per_tok": 1,
        "use_cache": True,
        "sliding_window": None,
        "eos_token_id": 128001,
        "vision_config": {"model_type": "y", "hidden_size": 1024, "depth": 3},
        "per_layer_config": {"2": {"head_dim": 512}, "5": {"head_dim": 512}},
    }
    assert shrunk(values, {"eos_token_id": 2, "pad_token_id": 1}) == {
        "model_type": "x",
        "hidden_size": 32,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "num_hidden_layers": 2,
        "layer_types": ["linear", "full"],
        "num_experts_per_tok": 1,
        "use_cache": True,
        "sliding_window": None,
        "eos_token_id": 2,
        "vision_config": {"model_type": "y", "hidden_size": 32, "depth": 3},
        "per_layer_config": {1: {"head_dim": 8}},
    }


def test_layers_that_share_a_cache_follow_those_they_share_it_with() -> None:
    values = {"num_hidden_layers": 8, "num_kv_shared_layers": 4, "layer_types": ["sliding", "full"] * 4}
    small = shrunk(values, {})
    assert small == {"num_hidden_layers": 4, "num_kv_shared_layers": 2, "layer_types": ["sliding", "full"] * 2}


def test_as_many_heads_of_keys_as_of_queries_stay_as_many() -> None:
    assert shrunk({"num_attention_heads": 128, "num_key_value_heads": 128}, {})["num_key_value_heads"] == 4
