"""Saved change: what a training moved, what its files keep of it, and weights that may not move."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lethe.models import saved_change as module
from lethe.models.checkpoints import load_model, load_tokenizer, save_model
from lethe.models.folders import read_header
from lethe.models.saved_change import bits_sha256, saved_change, tensors, untouched


def test_a_weight_that_a_prompt_moved_is_a_bug() -> None:
    weight = torch.ones(2)
    assert untouched([("w", weight)], {"w": weight.clone()}) == 0.0
    with pytest.raises(RuntimeError, match="w: changed while only a soft prompt was trained"):
        untouched([("w", weight)], {"w": weight + 1e-7})


def test_saved_change_by_hand() -> None:
    before = torch.tensor([1.0, 1.0, 0.0, 0.0])
    # bfloat16 steps at 1 are 1/128 wide: 1 + 1/1024 is saved as 1, so one of two changes survives.
    # trained change (1/1024, 0, 3/1024, 0), saved (0, 0, 3/1024, 0): cosine 3 / sqrt(1 + 9) = 0.948683
    after = torch.tensor([1.0 + 1 / 1024, 1.0, 3 / 1024, 0.0])
    change = saved_change([("w", before)], {"w": after}, torch.bfloat16)
    assert change == {"weights_changed": 0.25, "saved_cosine": 0.948683}


def test_in_pieces_the_numbers_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = torch.Generator().manual_seed(0)
    before, after = (torch.randn(7, 5, generator=chance) for _ in range(2))
    whole = saved_change([("w", before)], {"w": after}, torch.bfloat16)
    monkeypatch.setattr(module, "CHUNK", 4)
    assert saved_change([("w", before)], {"w": after}, torch.bfloat16) == whole


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gpt_neox", "qwen3_moe", "gemma3", "mamba"])
def test_a_folder_is_compared_by_the_names_in_memory(family: Callable[[str], Path], kind: str, tmp_path: Path) -> None:
    folder = family(kind)
    model = load_model(folder, torch.device("cpu"))
    held = model.state_dict()
    assert untouched(tensors(folder, held), held) == 0.0
    still = saved_change(tensors(folder, held), held, torch.float32)
    assert still == {"weights_changed": 0.0, "saved_cosine": 0.0}
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] += 1.0
    moved = saved_change(tensors(folder, held), held, torch.float32)
    assert 0.0 < moved["weights_changed"] < 1e-4
    assert moved["saved_cosine"] == 1.0


@pytest.mark.parametrize("kind", ["gpt2", "gemma3", "qwen3_moe"])
def test_tied_weights_are_saved_once_in_any_dtype(family: Callable[[str], Path], kind: str, tmp_path: Path) -> None:
    model, tokenizer = load_model(family(kind), torch.device("cpu")), load_tokenizer(family(kind))
    for dtype in (torch.float32, torch.bfloat16):
        save_model(model, tokenizer, tmp_path / str(dtype), dtype)
    names = [set(read_header(tmp_path / str(dtype) / "model.safetensors")) for dtype in (torch.float32, torch.bfloat16)]
    assert names[0] == names[1] == set(read_header(family(kind) / "model.safetensors"))
    again = load_model(tmp_path / "torch.bfloat16", torch.device("cpu"))
    assert all(torch.equal(again.state_dict()[name], held.bfloat16()) for name, held in model.state_dict().items())


def test_every_bit_counts() -> None:
    layer = torch.nn.Linear(2, 2)
    torch.nn.init.zeros_(layer.bias)
    before = bits_sha256(layer)
    assert bits_sha256(layer) == before
    with torch.no_grad():
        layer.bias[0] = -0.0  # equal to 0.0, but not the same bits
    assert bits_sha256(layer) != before
