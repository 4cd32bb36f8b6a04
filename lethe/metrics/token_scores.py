"""What a model says of every token of a text, from one forward pass that serves every metric of that text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from lethe.inference.batching import BATCH_TOKENS, batches, pad_right
from lethe.inference.kv_cache import check_finite
from lethe.inference.scoring import LOGITS
from lethe.models.distributed import shared
from lethe.models.output_head import Head, headless

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor
    from transformers import PreTrainedModel


class Tokenwise(NamedTuple):
    """One passage under one model; every token but the first, whose turn comes after no other."""

    chosen: np.ndarray  # float32 [T] log-probability of the true token, nats
    expected: np.ndarray  # float32 [T] mean of the log-probability over the model's own distribution: minus its entropy
    deviation: np.ndarray  # float32 [T] standard deviation of the same
    hit: np.ndarray  # bool [T] the true token is the likeliest


def tokenwise(model: PreTrainedModel, passages: Sequence[Sequence[int]]) -> list[Tokenwise]:
    """The numbers of every passage (token ids, at least two each).

    Raises StageError where logits are not numbers.
    """
    import torch

    with headless(model) as head, torch.inference_mode():

        def numbered(batch: list[int]) -> dict[int, Tokenwise]:
            tokens, mask = pad_right([passages[i] for i in batch], model.device)
            hidden = model(input_ids=tokens, use_cache=False).logits  # [B, T, d]; padding comes after, unseen
            read = mask[:, 1:].bool()  # positions whose next token is a real one
            numbers = _numbers(head, hidden[:, :-1][read], tokens[:, 1:][read]).cpu()  # [4, N], one copy per batch
            check_finite(model, bool(numbers.isfinite().all()))
            parts = numbers.split([len(passages[i]) - 1 for i in batch], dim=1)
            rows = zip(batch, (part.numpy() for part in parts), strict=True)
            return {
                i: Tokenwise(chosen, expected, deviation, hit > 0) for i, (chosen, expected, deviation, hit) in rows
            }

        found = shared(list(batches([len(passage) for passage in passages], BATCH_TOKENS)), numbered)
    return [found[i] for i in range(len(passages))]


def _numbers(head: Head, hidden: Tensor, next_ids: Tensor) -> Tensor:
    """float32 [4, N]: chosen, expected, deviation and hit; [N, V] never exists as a whole."""
    import torch

    rows = max(1, LOGITS // head.weight.shape[0])
    parts = []
    for part, ids in zip(hidden.split(rows), next_ids.split(rows), strict=True):
        logs = head(part).float().log_softmax(dim=-1)  # [rows, V]
        weighted = logs.exp() * logs
        expected = weighted.sum(dim=-1)
        variance = weighted.mul_(logs).sum(dim=-1) - expected**2
        chosen = logs.gather(1, ids.unsqueeze(1)).squeeze(1)
        parts.append(torch.stack([chosen, expected, variance.clamp(min=0).sqrt(), logs.argmax(dim=-1).eq(ids).float()]))
    return torch.cat(parts, dim=1)
