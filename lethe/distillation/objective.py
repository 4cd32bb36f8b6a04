"""The distillation loss: the student against a teacher that may not say what is to be forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lethe.training.losses import BASE_HIDDEN, Items, Positions, summed

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from lethe.models.output_head import Head

FORBIDDEN = "forbidden"  # column int32 [N, M]: ids that a rule forbids at the position, -1 where there are fewer
NEVER = -1e30  # logit of what may not be said: a probability of exactly 0, and finite, so that 0 * NEVER is 0
SPARED = "spared"  # column int32 [N]: the id that may be said at the position though it may not elsewhere, or -1


def filtered_distillation(at: Positions, head: Head, items: Items, teacher: Head, everywhere: np.ndarray) -> Tensor:
    """Mean KL(teacher || student) in nats over all positions, the teacher without the ids that may not be said.

    teacher: its output head; its hidden states are the column BASE_HIDDEN. everywhere: int64 [E], ids without mass at
    any position but one that the column SPARED, where there is one, names it at; FORBIDDEN says which have none at one
    position. Unfiltered, as in "Distillation robustifies unlearning" (arXiv 2506.06278), the small probabilities that
    the teacher keeps for the names teach them.
    """
    import torch
    from torch.nn.functional import cross_entropy

    banned = torch.zeros(teacher.weight.shape[0], device=at.hidden.device)
    banned[torch.as_tensor(everywhere, device=banned.device)] = NEVER

    def chunk(hidden: Tensor, base_hidden: Tensor, forbidden: Tensor, spared: Tensor) -> Tensor:
        logits = teacher(base_hidden.float()).detach()
        free = (spared >= 0).nonzero()[:, 0]
        said = logits[free, spared[free].long()]
        logits += banned
        logits[free, spared[free].long()] = said
        row, place = (forbidden >= 0).nonzero(as_tuple=True)
        logits[row, forbidden[row, place].long()] = NEVER
        wanted = logits.softmax(dim=-1)
        entropy = logits.logsumexp(dim=-1).sum() - (wanted * logits).sum()
        return cross_entropy(head(hidden.float()), wanted, reduction="sum") - entropy

    nothing = at.columns[FORBIDDEN].new_full((len(at.hidden),), -1)
    columns = at.columns[BASE_HIDDEN], at.columns[FORBIDDEN], at.columns.get(SPARED, nothing)
    return summed(chunk, head, at.hidden, *columns) / (items.forget + items.retain)
