"""Model folders: only safetensors, no code, the head taken off and put back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from stages.lib.errors import StageError
from stages.lib.hashing import folder_sha256
from stages.lib.models import (
    absent_reason,
    check_head,
    check_tokenizer,
    headless,
    load_model,
    load_tokenizer,
    save_model,
    tokenizer_sha256,
    write_absent,
)
from tests.conftest import tiny_model

CPU = torch.device("cpu")


def test_headless_gives_hidden_states_and_the_head_gives_the_logits(tmp_path: Path) -> None:
    model = load_model(tiny_model(tmp_path / "m"), CPU)
    ids = torch.tensor([[1, 5, 9]])
    with torch.no_grad():
        whole = model(input_ids=ids).logits
        with headless(model) as head:
            hidden = model(input_ids=ids).logits
            assert hidden.shape == (1, 3, 32)
            assert torch.equal(head(hidden), whole)
        assert torch.equal(model(input_ids=ids).logits, whole)


def test_a_loaded_model_counts_the_tokens_that_go_through_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from stages.lib import stage

    monkeypatch.setattr(stage, "SPENT", {"tokens": 0})
    model = load_model(tiny_model(tmp_path / "m"), CPU)
    assert stage.SPENT == {"tokens": 0}  # what loading itself asks of the model is not the stage's work
    with torch.no_grad():
        cache = model(input_ids=torch.tensor([[1, 5, 9], [1, 2, 3]]), use_cache=True).past_key_values
        model(input_ids=torch.tensor([[4], [4]]), past_key_values=cache)
    assert stage.SPENT == {"tokens": 2 * 3 + 2}


def test_the_head_comes_back_after_an_error(tmp_path: Path) -> None:
    model = load_model(tiny_model(tmp_path / "m"), CPU)
    with pytest.raises(RuntimeError), headless(model):
        raise RuntimeError
    assert model(input_ids=torch.tensor([[1]])).logits.shape[-1] == model.config.vocab_size


def test_logits_that_are_capped_after_the_head_are_refused(tmp_path: Path) -> None:
    model = load_model(tiny_model(tmp_path / "m"), CPU)
    plain = model.forward

    def capped(**inputs: object) -> object:
        result = plain(**inputs)
        if result.logits.shape[-1] == model.config.vocab_size:
            result.logits = 0.1 * torch.tanh(result.logits)
        return result

    model.forward = capped
    with pytest.raises(StageError, match="llama: its logits are not a linear function of the last hidden state"):
        check_head(model)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_saved_in_another_dtype_the_model_in_memory_keeps_its_own(tmp_path: Path, dtype: torch.dtype) -> None:
    folder = tiny_model(tmp_path / "m")
    model, tokenizer = load_model(folder, CPU), load_tokenizer(folder)
    save_model(model, tokenizer, tmp_path / "a", dtype)
    save_model(model, tokenizer, tmp_path / "b", dtype)
    assert model.dtype == torch.float32
    assert load_model(tmp_path / "a", CPU).dtype == dtype
    assert folder_sha256(tmp_path / "a") == folder_sha256(tmp_path / "b")
    assert tokenizer_sha256(tmp_path / "a") == tokenizer_sha256(folder)


def test_absent(tmp_path: Path) -> None:
    write_absent(tmp_path / "none", "nothing was trained")
    assert absent_reason(tmp_path / "none") == "nothing was trained"
    assert absent_reason(tiny_model(tmp_path / "m")) is None
    with pytest.raises(StageError, match="none: holds no model: nothing was trained"):
        load_model(tmp_path / "none", CPU)


def test_artifacts_of_another_tokenizer(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "m")
    check_tokenizer(tokenizer_sha256(folder), folder, Path("data/x"))
    with pytest.raises(
        StageError, match=r"data/x: made with tokenizer 0123456789ab, wanted \w{12} of .*; run `dvc repro`"
    ):
        check_tokenizer("0123456789abcdef", folder, Path("data/x"))
