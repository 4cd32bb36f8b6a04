"""Weights rounded to 8 and 4 bits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from stages.lib.models import load_model
from stages.lib.quantised import linear_layers, quantise, rounded_weight
from tests.conftest import tiny_model


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
    model = load_model(tiny_model(tmp_path), torch.device("cpu"))
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    quantise(model, 4)
    changed = {name for name, weight in model.state_dict().items() if not torch.equal(weight, before[name])}
    assert changed == {f"{name}.weight" for name in linear_layers(model)}
    assert len(changed) == 2 * 7  # q, k, v, o, gate, up and down of two layers
    assert "lm_head.weight" not in changed
    assert model.dtype == torch.float32
