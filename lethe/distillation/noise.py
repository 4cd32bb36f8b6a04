"""Noise before distillation: weights moved towards a fresh initialisation, most where the forget set is kept.

UNDO ("Distillation robustifies unlearning", arXiv 2506.06278, section 4) mixes every weight with the same share of
noise. Here a row of a matrix gets more of it the more the reinforced model moved it: that model, which has the forget
set by heart, says where in the weights it lies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PreTrainedModel


def fresh_weights(model: PreTrainedModel, seed: int) -> dict[str, Tensor]:
    """{name: tensor} of a model of the same architecture before any training, by the architecture's own rule."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    fresh = AutoModelForCausalLM.from_config(model.config)
    return dict(fresh.state_dict())


def row_shares(baseline: Tensor, reinforced: Tensor, noise: float, spread: float) -> Tensor:
    """The share of noise of each row of a matrix [rows, ...], float32 [rows]: noise + spread (2 q - 1), within [0, 1].

    q in [0, 1] is the rank of the row among those of its matrix by |reinforced - baseline| / |baseline|; the mean share
    is `noise` as long as nothing is cut off at 0 or 1.
    """
    import torch

    moved = (reinforced - baseline).float().flatten(1).norm(dim=1)
    relative = moved / baseline.float().flatten(1).norm(dim=1).clamp(min=1e-12)
    ranks = torch.empty_like(relative)
    ranks[relative.argsort()] = torch.linspace(0, 1, len(relative)) if len(relative) > 1 else torch.full((1,), 0.5)
    return (noise + spread * (2 * ranks - 1)).clamp(0, 1)


def with_noise(
    weights: Mapping[str, Tensor],
    fresh: Mapping[str, Tensor],
    baseline: Mapping[str, Tensor],
    reinforced: Mapping[str, Tensor],
    noise: float,
    spread: float,
    embeddings: Sequence[str] = (),
    unseen: Tensor | None = None,
) -> dict[str, Tensor]:
    """(1 - share) * weights + share * fresh, row by row, float32; vectors get the least share, noise - spread.

    embeddings: names of the matrices [vocabulary, d] whose rows `unseen`, int64 [U], are made wholly fresh: the tokens
    that no retained text holds, which distillation on retained text would leave as they are.
    """
    import torch

    mixed = {}
    for name, tensor in weights.items():
        old, new = tensor.detach().float(), fresh[name].float()
        if old.ndim < 2:
            share = torch.full((1,) * old.ndim, max(0.0, noise - spread))
        else:
            rows = row_shares(baseline[name], reinforced[name], noise, spread)
            if name in embeddings and unseen is not None:
                rows[unseen] = 1.0
            share = rows.view(-1, *(1,) * (old.ndim - 1))
        mixed[name] = torch.lerp(old, new, share.to(old.device))
    return mixed
