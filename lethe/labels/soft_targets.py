"""Soft generic labels: the whole distribution of a model that never read the text, not only its likeliest id.

target = softmax(v_baseline - alpha relu(v_reinforced - v_baseline)), forbidden ids at minus infinity; v are the logits
of "Who's Harry Potter?" (arXiv 2310.02238, section 2.2), which takes the argmax. Kept are the K largest probabilities
of a position, of sum 1: what lies beyond them would take V numbers a token.

Axes: R rows (positions that train), d hidden size, V vocabulary, K ids of a row, P forbidden (row, id) pairs, E ids
that are forbidden in every row.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from lethe.labels.exact_argmax import TILE, Forbidden

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

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
    width = min(vocabulary, TILE)
    step = max(1, chunk_logits // width)
    edges = torch.arange(0, len(translated) + step, step, device=translated.device)
    pairs = torch.searchsorted(forbidden.rows, edges).tolist()
    ids, probabilities = [], []
    for start, first, end in zip(edges.tolist(), pairs, pairs[1:], strict=False):
        banned = Forbidden(forbidden.rows[first:end] - start, forbidden.ids[first:end], forbidden.everywhere)
        hidden = translated[start : start + step].float(), reinforced[start : start + step].float()
        tiles = [
            likeliest(hidden, heads, banned, alpha, top, slice(at, at + width)) for at in range(0, vocabulary, width)
        ]
        values, found = (torch.cat(column, dim=1) for column in zip(*tiles, strict=True))
        best, place = values.topk(min(top, vocabulary), dim=-1)
        ids.append(found.gather(1, place).int())
        probabilities.append(best.softmax(dim=-1))
    return SoftTargets(torch.cat(ids), torch.cat(probabilities))


def likeliest(
    hidden: Sequence[Tensor], heads: Sequence[Head], forbidden: Forbidden, alpha: float, top: int, tile: slice
) -> tuple[Tensor, Tensor]:
    """The largest adjusted logits of rows among the ids of a tile of the vocabulary, and those ids: [R, K] at most.

    A tile at a time, for as many rows as fit: a few rows times the whole head would wait for memory.
    """
    import torch
    from torch.nn.functional import linear

    g, r = (
        linear(states, head.weight[tile].float(), None if head.bias is None else head.bias[tile].float())
        for states, head in zip(hidden, heads, strict=True)
    )
    adjusted = g.sub_(r.sub_(g).relu_(), alpha=alpha)
    end = tile.start + adjusted.shape[1]
    own = ((forbidden.ids >= tile.start) & (forbidden.ids < end)).nonzero()[:, 0]
    adjusted[forbidden.rows[own], forbidden.ids[own] - tile.start] = -torch.inf
    everywhere = forbidden.everywhere
    adjusted[:, everywhere[(everywhere >= tile.start) & (everywhere < end)] - tile.start] = -torch.inf
    values, columns = largest(adjusted, min(top, adjusted.shape[1]))
    return values, columns + tile.start


def largest(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` largest values of each row [R, C] in descending order, and their columns.

    They lie in the `count` strided groups with the largest members: topk looks at the groups, then at those members,
    which are a fraction of the row.
    """
    import torch
    from torch.nn.functional import pad

    size = math.isqrt(values.shape[1] // count)  # members of a group
    if size < 2:
        return values.topk(count, dim=-1)
    size = 1 << (size.bit_length() - 1)  # a power of 2, as most vocabularies are a multiple of: no copy for padding
    groups = -(-values.shape[1] // size)
    if groups * size > values.shape[1]:
        values = pad(values, (0, groups * size - values.shape[1]), value=-torch.inf)
    grouped = values.view(len(values), size, groups)
    chosen = grouped.amax(dim=1).topk(count, dim=-1, sorted=False).indices  # [R, count]
    members = grouped.gather(2, chosen[:, None].expand(-1, size, -1)).flatten(1)  # [R, size * count]
    found, flat = members.topk(count, dim=-1)
    return found, flat // count * groups + chosen.gather(1, flat % count)
