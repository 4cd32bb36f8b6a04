"""Saved change: what a training moved, what its files keep of it, and weights that may not move."""

from __future__ import annotations

import pytest
import torch

from lethe.models.saved_change import bits_sha256, saved_change, untouched


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


def test_every_bit_counts() -> None:
    layer = torch.nn.Linear(2, 2)
    torch.nn.init.zeros_(layer.bias)
    before = bits_sha256(layer)
    assert bits_sha256(layer) == before
    with torch.no_grad():
        layer.bias[0] = -0.0  # equal to 0.0, but not the same bits
    assert bits_sha256(layer) != before
