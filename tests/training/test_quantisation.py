"""Weights rounded to 8 and 4 bits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lethe.core.errors import StageError
from lethe.models.checkpoints import load_model
from lethe.training.adapters import LoraParams, attach, folded
from lethe.training.quantisation import linear_layers, load_rounded, quantise, rounded_weight
from tests.conftest import tiny_model

CPU = torch.device("cpu")


def test_eight_bits_by_hand() -> None:
    # the largest of the row, 1.27, is 127 steps of 0.01
    weight = torch.tensor([[1.27, 0.504, -0.126, 0.0]])
    assert rounded_weight(weight, 8)[0].tolist() == pytest.approx([1.27, 0.50, -0.13, 0.0], abs=1e-3)


def test_four_bits_have_sixteen_values_and_keep_the_largest() -> None:
    weight = torch.linspace(-2, 1, 64).reshape(1, 64)  # one group of 64
    found = rounded_weight(weight, 4)
    assert len(found.unique()) <= 16
    assert found.min() == pytest.approx(-2.0)  # NormalFloat holds -1, 0 and 1 times the largest
    assert (
        found - weight
    ).abs().max() < 2 * 0.16  # half the widest gap between two of its values is 0.152 of the largest


def test_layers_are_rounded_and_the_head_is_not(tmp_path: Path) -> None:
    model = load_model(tiny_model(tmp_path), CPU)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    quantise(model, 4)
    changed = {name for name, weight in model.state_dict().items() if not torch.equal(weight, before[name])}
    assert changed == {f"{name}.weight" for name in linear_layers(model)}
    assert len(changed) == 2 * 7  # q, k, v, o, gate, up and down of two layers
    assert "lm_head.weight" not in changed
    assert model.dtype == torch.float32


@pytest.mark.parametrize("kind", ["gpt2", "qwen3_moe", "gpt_oss", "mamba"])
@pytest.mark.parametrize("bits", [8, 4])
def test_all_weights_that_multiply_hidden_states_are_rounded(
    family: Callable[[str], Path], kind: str, bits: Any
) -> None:
    model = load_model(family(kind), CPU)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    quantise(model, bits)
    changed = {name for name, weight in model.state_dict().items() if not torch.equal(weight, before[name])}
    kept = (
        "wte",
        "wpe",
        "embed",
        "lm_head",
        "norm",
        "ln_",
        "bias",
        "sinks",
        "router",
        "gate.weight",
        "conv1d",
        "A_log",
    )
    assert changed == {name for name in before if not any(part in name for part in kept) and not name.endswith(".D")}
    if kind == "gpt2" and bits == 8:  # stored transposed: a scale for each output, so a column has at most 255 values
        name = "transformer.h.0.mlp.c_fc.weight"
        found, wanted = model.state_dict()[name], rounded_weight(before[name].T, 8).T
        assert torch.equal(found, wanted)


def test_a_model_without_linear_layers_is_told(tmp_path: Path) -> None:
    model: Any = load_model(tiny_model(tmp_path), CPU)
    model.model.layers = torch.nn.ModuleList()
    with pytest.raises(StageError) as error:
        quantise(model, 4)
    assert str(error.value) == (
        "params.yaml: attack.attacks: quantise rounds linear layers, and llama has none; take it off the list"
    )


def test_a_rounded_base_reads_like_its_rounded_weights(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path)
    found, ids = load_rounded(folder, CPU, torch.float32), torch.arange(12).unsqueeze(0)
    whole, rounded = load_model(folder, CPU), load_model(folder, CPU)
    quantise(rounded, 4)
    with torch.inference_mode():
        logits, wanted, before = (model(input_ids=ids).logits for model in (found, rounded, whole))
    assert (logits - wanted).abs().max() < 0.1 * (before - wanted).abs().max()  # its scales are rounded, too
    stored: Any = list(linear_layers(found).values())
    assert {layer.weight.dtype for layer in stored} == {torch.uint8}
    assert sum(layer.weight.numel() for layer in stored) == sum(
        layer.weight.numel() / 2 for layer in linear_layers(whole).values()
    )
    assert found.get_input_embeddings().weight.dtype == torch.float32


def test_adapters_on_a_rounded_base_are_folded_into_the_whole_one(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "m")
    base = load_rounded(folder, CPU, torch.float32)
    before = [layer.weight.clone() for layer in linear_layers(base).values()]
    model: Any = attach(base, "lora", LoraParams(rank=2, alpha=4, dropout=0.0, targets=["q_proj"]), 0).train()
    optimiser = torch.optim.SGD([each for each in model.parameters() if each.requires_grad], 0.1)
    ids = torch.arange(12).unsqueeze(0)
    for _ in range(3):
        model(input_ids=ids, labels=ids).loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    after = [weight for weight in base.state_dict().values() if weight.dtype == torch.uint8]
    packed = [weight for weight in after if weight.shape[1:] == (1,)]  # the others are scales
    assert len(before) == len(packed)
    assert all(map(torch.equal, before, packed))
    model.save_pretrained(tmp_path / "adapter")
    merged, whole = folded(folder, tmp_path / "adapter").state_dict(), load_model(folder, CPU).state_dict()
    changed = {name: merged[name] - whole[name] for name in whole if not torch.equal(merged[name], whole[name])}
    assert set(changed) == {f"model.layers.{layer}.self_attn.q_proj.weight" for layer in (0, 1)}
    assert all(torch.linalg.matrix_rank(delta, rtol=1e-4) <= 2 for delta in changed.values())
