"""Objectives: which loss is taken where. Hidden states at supervised positions go in, never [B, T, V] logits.

An objective is a function of
    hidden    [N, d]  last hidden states at the supervised positions of one micro-batch
    next_ids  int64 [N]  the token wanted next at each
    forget    bool [N]  whether the position belongs to a forget row
    head      the model's output head
    items     Items, the supervised positions in the WHOLE optimiser step, so that accumulation changes nothing
and returns the scalar whose gradient is taken; micro-batches of one step are summed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

    from stages.lib.models import Head


class Items(NamedTuple):
    """Supervised positions in one optimiser step, over all micro-batches and processes."""

    forget: Tensor  # int64 scalar
    retain: Tensor  # int64 scalar


Objective = Callable[["Tensor", "Tensor", "Tensor", "Head", Items], "Tensor"]


def cross_entropy(hidden: Tensor, next_ids: Tensor, forget: Tensor, head: Head, items: Items) -> Tensor:
    """Mean negative log-likelihood of `next_ids` over all positions, forget and retain alike (WHP section 2: a plain
    causal fine-tune whose labels happen to be generic).
    """
    return summed_nll(hidden, next_ids, head) / (items.forget + items.retain)


def summed_nll(hidden: Tensor, next_ids: Tensor, head: Head) -> Tensor:
    """Sum over N of -log p(next_ids), in chunks of rows: [N, V] never exists as a whole.

    The logits are made and reduced in float32 whatever precision the body of the model ran in.
    """
    from torch.nn import LinearCrossEntropyOptions
    from torch.nn.functional import linear_cross_entropy

    bias = None if head.bias is None else head.bias.float()
    return linear_cross_entropy(
        hidden.float(),
        head.weight.float(),
        next_ids,
        linear_bias=bias,
        reduction="sum",
        options=LinearCrossEntropyOptions(),
    )
