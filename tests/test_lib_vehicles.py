"""Vehicles: exactly the parameters that should move do."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from stages.lib.models import load_model
from stages.lib.vehicles import LoraParams, attach, merge, trainable_parameters
from tests.conftest import tiny_model

LORA = LoraParams(rank=2, alpha=4, dropout=0.0, targets="all-linear")


def test_full_moves_everything(tmp_path: Path) -> None:
    model = load_model(tiny_model(tmp_path / "m"), torch.device("cpu"))
    assert trainable_parameters(attach(model, "full", LORA, 0)) == sum(p.numel() for p in model.parameters())


def test_lora_moves_the_adapters_only(tmp_path: Path) -> None:
    model = attach(load_model(tiny_model(tmp_path / "m"), torch.device("cpu")), "lora", LORA, 0)
    # a matrix [out, in] gets rank * (out + in): per layer 4 of 32 x 32 and 3 of 32 x 64 or 64 x 32, 2 layers
    assert trainable_parameters(model) == 2 * 2 * (4 * (32 + 32) + 3 * (32 + 64))
    assert all("lora_" in name for name, parameter in model.named_parameters() if parameter.requires_grad)


def test_merging_an_untrained_adapter_changes_nothing(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "m")
    before = load_model(folder, torch.device("cpu")).state_dict()
    merged = merge(attach(load_model(folder, torch.device("cpu")), "lora", LORA, 0)).state_dict()
    assert set(merged) == set(before)
    assert all(torch.equal(tensor, merged[name]) for name, tensor in before.items())


@pytest.mark.parametrize(("seeds", "same"), [((0, 0), True), ((0, 1), False)])
def test_adapters_start_from_the_seed(tmp_path: Path, seeds: tuple[int, int], same: bool) -> None:
    folder = tiny_model(tmp_path / "m")
    first, second = (attach(load_model(folder, torch.device("cpu")), "lora", LORA, seed).state_dict() for seed in seeds)
    assert all(torch.equal(first[name], second[name]) for name in first) == same
