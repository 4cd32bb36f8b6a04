"""Soft generic labels: the whole distribution of a model that never read the text, not only its likeliest id.

target = softmax(v_baseline - alpha relu(v_reinforced - v_baseline)), forbidden ids at minus infinity; v are the logits
of "Who's Harry Potter?" (arXiv 2310.02238, section 2.2), which takes the argmax. Kept are the K largest probabilities
of a position, of sum 1: what lies beyond them would take V numbers a token.

Axes: R rows (positions that train), d hidden size, V vocabulary, K ids of a row, P forbidden (row, id) pairs, E ids
that are forbidden in every row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

    from lethe.labels.exact_argmax import Forbidden
    from lethe.models.output_head import Head


class SoftTargets(NamedTuple):
    """The likeliest ids of some rows and their probabilities; a row with fewer than K allowed ids ends in zeros."""

    ids: Tensor  # int32 [R, K], the likeliest first
    probabilities: Tensor  # float32 [R, K], of sum 1


def soft_targets(
    translated: Tensor,
    reinforced: Tensor,
    heads: tuple[Head, Head],
    forbidden: Forbidden,
    alpha: float,
    top: int,
    chunk_logits: int,
) -> SoftTargets:
    """The targets of rows, from their hidden states [R, d] in the baseline (on translated text) and the reinforced one.

    chunk_logits: float32 logits of one model at a time, so that [R, V] never exists as a whole.
    """
    import torch

    vocabulary = heads[0].weight.shape[0]
    step, top = max(1, chunk_logits // vocabulary), min(top, vocabulary)
    edges = torch.arange(0, len(translated) + step, step, device=translated.device)
    pairs = torch.searchsorted(forbidden.rows, edges).tolist()
    ids, probabilities = [], []
    for start, first, end in zip(edges.tolist(), pairs, pairs[1:], strict=False):
        g = heads[0](translated[start : start + step].float())
        raised = heads[1](reinforced[start : start + step].float()).sub_(g).relu_()
        adjusted = g.sub_(raised, alpha=alpha)
        adjusted[forbidden.rows[first:end] - start, forbidden.ids[first:end]] = -torch.inf
        adjusted[:, forbidden.everywhere] = -torch.inf
        values, likeliest = adjusted.topk(top, dim=-1)
        ids.append(likeliest.int())
        probabilities.append(values.softmax(dim=-1))
    return SoftTargets(torch.cat(ids), torch.cat(probabilities))
