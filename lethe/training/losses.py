"""Objectives: losses of hidden states at supervised positions, never of [B, T, V] logits.

An objective is a function of
    at     Positions, the supervised positions of one micro-batch
    head   the model's output head
    items  Items, what the WHOLE optimiser step holds, so that accumulation changes nothing
and returns the scalar to differentiate; micro-batches of one step are summed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor

    from lethe.models.output_head import Head

LOGITS = 1 << 23  # at once: 32 MiB of float32
WIDE, WIDE_ROWS = 32, 256  # a vocabulary WIDE times the width is read in chunks of WIDE_ROWS rows
BASE_HIDDEN = "base_hidden"  # column [N, d]: hidden states of the model before any training, of the same layer
TARGET_IDS = "target_ids"  # column int32 [N, K]: ids of a soft target
TARGET_PROBABILITIES = "target_probabilities"  # column float [N, K]: their probabilities, of sum 1


class Items(NamedTuple):
    """What one optimiser step holds, over all micro-batches and processes."""

    forget: Tensor  # int64 scalar, supervised positions of forget rows
    retain: Tensor  # int64 scalar, supervised positions of retain rows
    forget_rows: Tensor  # int64 scalar, forget sequences (or pairs) with a supervised position


class Positions(NamedTuple):
    """The supervised positions of one micro-batch, row by row."""

    hidden: Tensor  # [N, d] last hidden states
    next_ids: Tensor  # int64 [N] target token
    forget: Tensor  # bool [N] whether the position belongs to a forget row
    row: Tensor  # int64 [N] which sequence of the micro-batch it belongs to, or which pair of them
    columns: Mapping[str, Tensor] = MappingProxyType({})  # name -> [N, ...]

    def where(self, chosen: Tensor) -> Positions:
        """Those positions for which `chosen`, bool [N], is true."""
        columns = {name: column[chosen] for name, column in self.columns.items()}
        return Positions(self.hidden[chosen], self.next_ids[chosen], self.forget[chosen], self.row[chosen], columns)


Objective = Callable[[Positions, "Head", Items], "Tensor"]


@runtime_checkable
class DualObjective(Protocol):
    """An objective with a dual variable, a number carried from step to step, which the loop saves for resuming."""

    dual: float
    retain: Tensor | float  # of the step so far, this process's share

    def end_step(self, retain: float) -> None:
        """Called after every optimiser step. retain: its sum over all processes."""


def cross_entropy(at: Positions, head: Head, items: Items) -> Tensor:
    """Mean negative log-likelihood of `next_ids` over all positions, forget and retain alike (WHP section 2: a plain
    causal fine-tune whose labels happen to be generic).
    """
    return summed_nll(at.hidden, at.next_ids, head) / (items.forget + items.retain)


def soft_cross_entropy(at: Positions, head: Head, items: Items) -> Tensor:
    """As cross_entropy, but on forget positions against the distribution in TARGET_IDS and TARGET_PROBABILITIES."""

    def chunk(hidden: Tensor, ids: Tensor, probabilities: Tensor) -> Tensor:
        logits = head(hidden.float())
        expected = (logits.gather(1, ids.long()) * probabilities.float()).sum()
        return logits.logsumexp(dim=-1).sum() - expected

    forget, retain = at.where(at.forget), at.where(~at.forget)
    columns = forget.columns[TARGET_IDS], forget.columns[TARGET_PROBABILITIES]
    loss = summed(chunk, head, forget.hidden, *columns)
    return (loss + summed_nll(retain.hidden, retain.next_ids, head)) / (items.forget + items.retain)


def token_nll(hidden: Tensor, next_ids: Tensor, head: Head) -> Tensor:
    """float32 [N]: -log p(next_ids) of every position, in chunks of rows."""
    import torch
    from torch.utils.checkpoint import checkpoint

    def chunk(hidden: Tensor, next_ids: Tensor) -> Tensor:
        from torch.nn.functional import cross_entropy

        return cross_entropy(head(hidden.float()), next_ids, reduction="none")

    rows = chunk_rows(head, len(hidden))
    if not torch.is_grad_enabled():
        return torch.cat([chunk(*parts) for parts in zip(hidden.split(rows), next_ids.split(rows), strict=True)])
    parts = zip(hidden.split(rows), next_ids.split(rows), strict=True)
    return torch.cat([checkpoint(chunk, *part, use_reentrant=False) for part in parts])


def summed_kl(hidden: Tensor, head: Head, base_hidden: Tensor, base_head: Head) -> Tensor:
    """Sum over N of KL(base || model) in nats. hidden, base_hidden: [N, d]; the base gets no gradient."""

    def chunk(hidden: Tensor, base_hidden: Tensor) -> Tensor:
        from torch.nn.functional import kl_div

        base = base_head(base_hidden.float()).detach().log_softmax(dim=-1)
        return kl_div(head(hidden.float()).log_softmax(dim=-1), base, reduction="sum", log_target=True)

    return summed(chunk, head, hidden, base_hidden)


def summed(chunk: Callable[..., Tensor], head: Head, *columns: Tensor) -> Tensor:
    """The sum of a scalar function over chunks of rows of [N, ...] tensors, its [rows, V] logits recomputed in the
    backward pass instead of kept. The logits of a single chunk are kept: recomputed they would take as much.
    """
    import torch
    from torch.utils.checkpoint import checkpoint

    count = len(columns[0])
    rows = chunk_rows(head, count)
    if not count:  # a loss of 0, with a gradient of 0 for the head too: FSDP sums what has one in every process
        return (columns[0].sum() + head.weight.sum()) * 0.0
    if count <= rows:
        return chunk(*columns)
    parts = zip(*(column.split(rows) for column in columns), strict=True)
    return torch.stack([checkpoint(chunk, *part, use_reentrant=False) for part in parts]).sum()


def chunk_rows(head: Head, count: int) -> int:
    """The rows of `count` whose logits exist at once, so that chunks never take more memory than all rows together."""
    rows = max(1, LOGITS // head.weight.shape[0])
    return rows if chunks_spare(head, count, count - rows) else max(1, count)


def chunks_spare(head: Head, count: int, saved: int) -> bool:
    """Whether chunks take less than all rows together, if of `saved` of `count` rows no logits exist.

    Of each of these at least three vectors [V] are saved: its log-probabilities and two gradients. But the gradients of
    the head, [V, d], and of the rows, [count, d], exist twice: of a chunk and their sum. A head that is not trained has
    none.
    """
    import torch

    vocabulary, width = head.weight.shape
    trained = head.weight.requires_grad and torch.is_grad_enabled()
    return not trained or 2 * width * (vocabulary + count) <= 3 * vocabulary * saved


def chunk_nll(head: Head, hidden: Tensor, next_ids: Tensor) -> Tensor:
    """The sum of -log p(next_ids) over a chunk of rows; its logits exist as a whole."""
    from torch.nn.functional import cross_entropy

    return cross_entropy(head(hidden.float()), next_ids, reduction="sum")


def summed_nll(hidden: Tensor, next_ids: Tensor, head: Head) -> Tensor:
    """Sum over N of -log p(next_ids), in chunks of rows: [N, V] never exists as a whole.

    The logits are computed and reduced in float32 whatever the precision of the model's body. torch itself chooses so
    few rows that their logits take half the memory of `hidden`. Where the vocabulary is many times as wide as the model
    that is a row or two, each of which reads and writes the gradient of the whole head: there WIDE_ROWS are taken.
    Where a second gradient of the head takes more than whole logits do, there are no chunks.
    """
    from torch.nn import LinearCrossEntropyOptions
    from torch.nn.functional import linear_cross_entropy

    if not head.linear or not chunks_spare(head, len(hidden), len(hidden)):
        return summed(partial(chunk_nll, head), head, hidden, next_ids)
    vocabulary, width = head.weight.shape
    options = LinearCrossEntropyOptions()
    if vocabulary > WIDE * width:
        options = LinearCrossEntropyOptions(batch_chunk_size=WIDE_ROWS, chunking_method=None)
    bias = None if head.bias is None else head.bias.float()
    scale = head.finish.scale
    return linear_cross_entropy(
        hidden.float() if scale == 1.0 else hidden.float() * scale,
        head.weight.float(),
        next_ids,
        linear_bias=bias,
        reduction="sum",
        options=options,
    )
