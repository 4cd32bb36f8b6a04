"""The distillation loss: the student against a teacher that may not say what is to be forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lethe.training.losses import BASE_HIDDEN, Items, Positions, summed

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from lethe.models.output_head import Head

FORBIDDEN = "forbidden"  # column int32 [N, M]: ids that a rule forbids at the position, -1 where there are fewer


def filtered_distillation(at: Positions, head: Head, items: Items, teacher: Head, everywhere: np.ndarray) -> Tensor:
    """Mean KL(teacher || student) in nats over all positions, the teacher without the ids that may not be said.

    teacher: its output head; its hidden states are the column BASE_HIDDEN. everywhere: int64 [E], ids without mass at
    any position; the column FORBIDDEN says which have none at one. Unfiltered, as in "Distillation robustifies
    unlearning" (arXiv 2506.06278), the small probabilities that the teacher keeps for the names teach them.
    """
    import torch
    from torch.nn.functional import cross_entropy

    banned = torch.as_tensor(everywhere, device=at.hidden.device)

    def chunk(hidden: Tensor, base_hidden: Tensor, forbidden: Tensor) -> Tensor:
        logits = teacher(base_hidden.float()).detach()
        logits[:, banned] = -torch.inf
        row, place = (forbidden >= 0).nonzero(as_tuple=True)
        logits[row, forbidden[row, place].long()] = -torch.inf
        wanted = logits.softmax(dim=-1)
        entropy = torch.special.entr(wanted).sum()
        return cross_entropy(head(hidden.float()), wanted, reduction="sum") - entropy

    columns = at.columns[BASE_HIDDEN], at.columns[FORBIDDEN]
    return summed(chunk, head, at.hidden, *columns) / (items.forget + items.retain)
