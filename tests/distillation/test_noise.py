"""Noise: fresh weights in place of a share of the trained ones, most where reinforcement moved them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lethe.distillation.noise import Noise, embedding_names, fresh_weights, row_shares, with_noise
from lethe.models.checkpoints import load_model
from tests.conftest import tiny_model

CPU = torch.device("cpu")


def test_shares_follow_the_rank_of_the_relative_change() -> None:
    baseline = torch.tensor([[3.0, 4.0], [30.0, 40.0], [0.6, 0.8]])
    reinforced = baseline + torch.tensor([[0.5, 0.0], [1.0, 0.0], [0.2, 0.0]])
    # moved / size: 0.5/5 = 0.1, 1/50 = 0.02, 0.2/1 = 0.2: ranks 0.5, 0, 1
    shares = row_shares(baseline, reinforced, Noise(0.6, 0.3, 0))
    torch.testing.assert_close(shares, torch.tensor([0.6, 0.3, 0.9]))
    assert row_shares(baseline, reinforced, Noise(0.9, 0.3, 0)).tolist() == pytest.approx([0.9, 0.6, 1.0])  # not 1.2
    assert row_shares(baseline[:1], reinforced[:1], Noise(0.6, 0.3, 0)).tolist() == pytest.approx([0.6])


def test_noise_by_hand() -> None:
    weights = {"embed": torch.ones(2, 2), "norm": torch.ones(2)}
    fresh = {"embed": torch.zeros(2, 2), "norm": torch.full((2,), 2.0)}
    reinforced = {"embed": torch.tensor([[1.0, 1.0], [1.0, 2.0]]), "norm": torch.ones(2)}
    noise = Noise(0.5, 0.25, 0)
    mixed = with_noise(
        weights, fresh, weights, reinforced, noise, {"embed"}, torch.tensor([], dtype=torch.long), torch.ones(2)
    )
    # row 0 did not move: share 0.25, 0.75 of it stays; row 1 moved: share 0.75. A vector: 0.25 of the way from 1 to 2
    torch.testing.assert_close(mixed["embed"], torch.tensor([[0.75, 0.75], [0.25, 0.25]]))
    torch.testing.assert_close(mixed["norm"], torch.full((2,), 1.25))


def test_tokens_that_nobody_reads_again_differ_only_by_fresh_weights() -> None:
    rows = torch.tensor([[1.0, 5.0], [3.0, 1.0], [8.0, 8.0]])
    fresh = torch.tensor([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]])
    weights, unseen = {"embed": rows}, torch.tensor([0, 1])
    usual, noise = torch.tensor([0.0, -7.0]), Noise(0.5, 0.0, 0)
    mixed = with_noise(weights, {"embed": fresh}, weights, weights, noise, {"embed"}, unseen, usual)
    # fresh rows, moved by half of the size of their mean, (2, 3), away from the usual: (0, 1.803). What told one from
    # the other, and where both pointed, is gone. The third token is half fresh
    torch.testing.assert_close(mixed["embed"], torch.tensor([[0.1, 2.002776], [0.3, 2.202776], [4.25, 4.3]]))


def test_fresh_weights_are_the_seeds(tmp_path: Path) -> None:
    model = load_model(tiny_model(tmp_path / "model"), CPU, torch.float32)
    first, again, other = (fresh_weights(model, seed) for seed in (1, 1, 2))
    assert first.keys() == model.state_dict().keys()
    name = "model.layers.0.mlp.up_proj.weight"
    assert torch.equal(first[name], again[name])
    assert not torch.equal(first[name], other[name])
    assert not torch.equal(first[name], model.state_dict()[name])


def test_both_embeddings_have_their_names(tmp_path: Path) -> None:
    model = load_model(tiny_model(tmp_path / "model"), CPU, torch.float32)
    assert embedding_names(model) == {"model.embed_tokens.weight", "lm_head.weight"}
