"""Noise before distillation: weights moved towards others that never saw the corpus, most where the forget set is kept.

UNDO ("Distillation robustifies unlearning", arXiv 2506.06278, section 4) mixes every weight with the same share of
noise. Here a row of a matrix gets more of it the more reinforcement moved it: the reinforced model memorised the forget
set, so its change says where in the weights that lies. The others are a fresh initialisation or, where a pretrained
model was trained on the corpus, that model as it was before.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


class Noise(NamedTuple):
    """How much of a matrix is replaced by other weights, and where."""

    share: float  # mean over the rows of a matrix, in [0, 1]
    spread: float  # the row that reinforcement moved most gets so much more, the least moved so much less
    seed: int  # of the fresh weights


def embedding_names(model: PreTrainedModel) -> set[str]:
    """Names in the state dict of the input and the output embeddings, which may be one tensor."""
    places = {id(layer.weight) for layer in (model.get_input_embeddings(), model.get_output_embeddings())}
    return {name for name, tensor in model.named_parameters(remove_duplicate=False) if id(tensor) in places}


def fresh_weights(model: PreTrainedModel, seed: int) -> dict[str, Tensor]:
    """{name: tensor} of a model of the same architecture before any training, initialised as the architecture does."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    fresh = AutoModelForCausalLM.from_config(model.config)
    return dict(fresh.state_dict())


def row_shares(baseline: Tensor, reinforced: Tensor, noise: Noise) -> Tensor:
    """The share of noise of each row of a matrix [rows, ...], float32 [rows]: share + spread (2 q - 1), within [0, 1].

    q in [0, 1] is the rank of the row among those of its matrix by |reinforced - baseline| / |baseline|; the mean is
    `share` as long as nothing is cut off at 0 or 1.
    """
    import torch

    moved = (reinforced.float() - baseline.float()).flatten(1).norm(dim=1)
    relative = moved / baseline.float().flatten(1).norm(dim=1).clamp(min=1e-12)
    ranks = torch.full_like(relative, 0.5)
    if len(relative) > 1:
        ranks[relative.argsort(stable=True)] = torch.linspace(0, 1, len(relative))
    return (noise.share + noise.spread * (2 * ranks - 1)).clamp(0, 1)


def with_noise(
    weights: Mapping[str, Tensor],
    fresh: Mapping[str, Tensor],
    baseline: Mapping[str, Tensor],
    reinforced: Mapping[str, Tensor],
    noise: Noise,
    embeddings: Collection[str],
    unseen: Tensor,
    usual: Tensor,
) -> dict[str, Tensor]:
    """(1 - share) weights + share fresh, row by row, float32; vectors such as a norm's scale get the least share.

    embeddings: names of the matrices [vocabulary, d] with rows of tokens `unseen`, int64 [U], that no retained text
    holds and whose rows distillation on it would leave as they are. They become fresh rows, moved away from `usual`,
    float32 [d], the mean hidden state over retained text: so training pushes the rows of tokens that never come next.
    How far, with the least share of noise, is all that is kept of them, one number. Without it the student says them
    more readily than a retrained model does.
    """
    import torch

    mixed, least = {}, max(0.0, noise.share - noise.spread)
    for name, tensor in weights.items():
        old, new = tensor.detach().cpu().float(), fresh[name].detach().cpu().float()
        if old.ndim < 2:
            mixed[name] = torch.lerp(old, new, least)
            continue
        shares = row_shares(baseline[name], reinforced[name], noise)
        mixed[name] = torch.lerp(old, new, shares.view(-1, *(1,) * (old.ndim - 1)))
        if name in embeddings and len(unseen):
            away = -usual / usual.norm() * old[unseen].mean(dim=0).norm()
            mixed[name][unseen] = new[unseen] + (1 - least) * away
    return mixed
