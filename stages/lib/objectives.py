"""Objectives: which loss is taken where. Hidden states at supervised positions go in, never [B, T, V] logits.

An objective is a function of
    at     Positions, the supervised positions of one micro-batch
    head   the model's output head
    items  Items, what the WHOLE optimiser step holds, so that accumulation changes nothing
and returns the scalar whose gradient is taken; micro-batches of one step are summed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

    from stages.lib.models import Head

LOGITS = 1 << 23  # at once: 32 MiB of float32
BASE_HIDDEN = "base_hidden"  # column [N, d]: last hidden states of the model before any training


class Items(NamedTuple):
    """What one optimiser step holds, over all micro-batches and processes."""

    forget: Tensor  # int64 scalar, supervised positions of forget rows
    retain: Tensor  # int64 scalar, supervised positions of retain rows
    forget_rows: Tensor  # int64 scalar, forget rows with a supervised position


class Positions(NamedTuple):
    """The supervised positions of one micro-batch, row by row."""

    hidden: Tensor  # [N, d] last hidden states
    next_ids: Tensor  # int64 [N] the token wanted next
    forget: Tensor  # bool [N] whether the position belongs to a forget row
    row: Tensor  # int64 [N] which row of the micro-batch it belongs to
    columns: Mapping[str, Tensor] = MappingProxyType({})  # name -> [N, ...]

    def where(self, chosen: Tensor) -> Positions:
        """Those positions for which `chosen`, bool [N], is true."""
        columns = {name: column[chosen] for name, column in self.columns.items()}
        return Positions(*(field[chosen] for field in self[:4]), columns)


Objective = Callable[[Positions, "Head", Items], "Tensor"]


def cross_entropy(at: Positions, head: Head, items: Items) -> Tensor:
    """Mean negative log-likelihood of `next_ids` over all positions, forget and retain alike (WHP section 2: a plain
    causal fine-tune whose labels happen to be generic).
    """
    return summed_nll(at.hidden, at.next_ids, head) / (items.forget + items.retain)


def forget_cross_entropy(at: Positions, head: Head, items: Items) -> Tensor:
    """Mean negative log-likelihood of `next_ids` over the forget positions; 0 in a step without any."""
    forget = at.where(at.forget)
    return summed_nll(forget.hidden, forget.next_ids, head) / items.forget.clamp(min=1)


def retain_cross_entropy(at: Positions, head: Head, items: Items) -> Tensor:
    """Mean negative log-likelihood of `next_ids` over the retain positions; 0 in a step without any."""
    retain = at.where(~at.forget)
    return summed_nll(retain.hidden, retain.next_ids, head) / items.retain.clamp(min=1)


def retain_kl(at: Positions, head: Head, items: Items, base_head: Head | None = None) -> Tensor:
    """Mean KL(base || model) over the retain positions; 0 in a step without any (SPUL section 3).

    The base's distribution is base_head on the column BASE_HIDDEN; base_head None: the head does not move.
    """
    retain = at.where(~at.forget)
    kl = summed_kl(retain.hidden, head, retain.columns[BASE_HIDDEN], base_head or head)
    return kl / items.retain.clamp(min=1)


def spul(at: Positions, head: Head, items: Items, alpha: float, beta: float, base_head: Head | None = None) -> Tensor:
    """CE(forget -> generic) + alpha CE(retain -> true) + beta KL(base || model, on retain), each a mean of its own
    (SPUL section 3, arXiv 2406.12038 equation 4). The KL is not computed where beta is 0.
    """
    loss = forget_cross_entropy(at, head, items) + alpha * retain_cross_entropy(at, head, items)
    return loss + beta * retain_kl(at, head, items, base_head) if beta else loss


def summed_kl(hidden: Tensor, head: Head, base_hidden: Tensor, base_head: Head) -> Tensor:
    """Sum over N of KL(base || model) in nats, in chunks of rows. hidden, base_hidden: [N, d]; no gradient to the base.
    """

    def chunk(hidden: Tensor, base_hidden: Tensor) -> Tensor:
        from torch.nn.functional import kl_div

        base = base_head(base_hidden.float()).detach().log_softmax(dim=-1)
        return kl_div(head(hidden.float()).log_softmax(dim=-1), base, reduction="sum", log_target=True)

    return summed(chunk, head, hidden, base_hidden)


def summed(chunk: Callable[..., Tensor], head: Head, *columns: Tensor) -> Tensor:
    """The sum of a scalar function over chunks of rows of [N, ...] tensors, its [rows, V] logits made again for the
    backward pass and kept for no other.
    """
    from torch.utils.checkpoint import checkpoint

    rows = max(1, LOGITS // head.weight.shape[0])
    total = columns[0].sum() * 0.0  # a loss of 0 where there is no row, with a gradient of 0
    for parts in zip(*(column.split(rows) for column in columns), strict=True):
        if len(parts[0]):
            total = total + checkpoint(chunk, *parts, use_reentrant=False)
    return total


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
