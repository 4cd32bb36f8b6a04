"""Generic labels from a few likely ids a row: exact among them, and a proof that no other id can be the label.

A label maximises g - alpha relu(r - g), which is at most g. So once some id's value reaches the largest g of all ids not
looked at, none of those can win: the reinforced model's head is needed at a few ids a row, not at the whole vocabulary.
The list comes from bfloat16 logits, the values on it are float32. Axes as in `passes`; K ids on the list of a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

    from stages.lib.models import Head

LOOKED_AT = (4, 16)  # so many ids of a row first, then so many of the rows where those did not do
TILE = 8192  # columns of the vocabulary at once: what is held does not grow with it
GROUPS = 256  # columns of a tile are compared in so many groups first: the largest ids lie in the largest groups
GATHERED = 1 << 22  # float32 numbers of the head's weight copied out at once
NOISE = 1 / 64  # of a bfloat16 logit: which forbidden ids are worth a float32 one


class Shortlist(NamedTuple):
    """The ids of the largest logits of each row, forbidden ones left out."""

    logits: Tensor  # bfloat16 [R, K + 1], descending; the last bounds all ids that are not on the list
    ids: Tensor  # int64 [R, K + 1]
    of_pairs: Tensor  # bfloat16 [P], the logits of the forbidden (row, id) pairs
    of_columns: Tensor  # bfloat16 [R, E], of the ids forbidden everywhere
    mean: Tensor  # float32 [R], of the whole row's logits, forbidden ones and all


class Settled(NamedTuple):
    """Labels of the rows that a list has settled; what stands at the others means nothing."""

    rows: Tensor  # bool [R]
    ids: Tensor  # int32 [A, R]
    avoided: Tensor  # bool [A, R]: a forbidden id would have won


def settle(
    translated: Tensor,
    reinforced: Tensor,
    heads: tuple[Head, Head],
    pairs: tuple[Tensor, Tensor],
    columns: Tensor,
    alphas: Sequence[float],
) -> Settled:
    """Labels from hidden states [R, d] of both models. pairs: forbidden rows and ids, int64 [P]; columns: int64 [E]."""
    import torch

    found = shortlist(translated, heads[0], pairs, columns, LOOKED_AT[-1])
    hidden, count = (translated.float(), reinforced.float()), len(translated)
    best = torch.full((len(alphas), count), -torch.inf, device=translated.device)  # float32 [A, R]
    ids = torch.zeros((len(alphas), count), dtype=torch.int32, device=translated.device)
    settled = torch.zeros(count, dtype=torch.bool, device=translated.device)
    for looked_at in LOOKED_AT:
        rows = (~settled).nonzero()[:, 0]
        listed = found.ids[rows, :looked_at]  # int64 [left, K]
        values = adjusted([part[rows] for part in hidden], heads, listed, alphas)  # float32 [A, left, K]
        best[:, rows], place = values.max(dim=-1)
        ids[:, rows] = listed.expand(len(alphas), -1, -1).gather(2, place[..., None])[..., 0].int()
        beyond = torch.maximum(found.logits[rows, looked_at].float(), found.mean[rows])  # a forbidden id has the mean
        settled[rows] = (best[:, rows] > beyond).all(dim=0)
    return Settled(settled, ids, avoided(hidden, heads, found, best, pairs, columns, alphas))


def shortlist(hidden: Tensor, head: Head, pairs: tuple[Tensor, Tensor], columns: Tensor, size: int) -> Shortlist:
    """The `size` ids of largest bfloat16 logit and the next one, of hidden states [R, d], a tile of ids at a time."""
    import torch
    from torch.nn.functional import linear

    rough, (rows, ids) = hidden.bfloat16(), pairs
    order = ids.argsort()
    sides = [torch.searchsorted(ids[order], edge).tolist() for edge in _edges(head, ids)]
    best = rough.new_full((len(hidden), size + 1), -torch.inf), ids.new_zeros((len(hidden), size + 1))
    of_pairs, of_columns = rough.new_zeros(len(ids)), rough.new_zeros((len(hidden), len(columns)))
    weight_sum, bias_sum = hidden.new_zeros(hidden.shape[1], dtype=torch.float32), 0.0
    for tile, (first_pair, end_pair) in enumerate(zip(sides, sides[1:], strict=False)):
        first = tile * TILE
        weight = head.weight[first : first + TILE]
        bias = None if head.bias is None else head.bias[first : first + TILE]
        logits = linear(rough, weight.bfloat16(), None if bias is None else bias.bfloat16())  # bfloat16 [R, tile]
        weight_sum += weight.sum(dim=0, dtype=torch.float32)
        bias_sum += 0.0 if bias is None else bias.sum(dtype=torch.float32)
        own = order[first_pair:end_pair]
        at = rows[own], ids[own] - first
        of_pairs[own] = logits[at]
        here = ((columns >= first) & (columns < first + TILE)).nonzero()[:, 0]
        of_columns[:, here] = logits[:, columns[here] - first]
        logits[at] = -torch.inf
        logits[:, columns[here] - first] = -torch.inf
        best = _merged(best, _largest(logits, size + 1), first)
    mean = (hidden.float() @ weight_sum + bias_sum) / len(head.weight)
    return Shortlist(*best, of_pairs, of_columns, mean)


def adjusted(hidden: Sequence[Tensor], heads: Sequence[Head], ids: Tensor, alphas: Sequence[float]) -> Tensor:
    """g - alpha relu(r - g) at ids int64 [R, K]: float32 [A, R, K]. hidden: float32 [R, d] of both models."""
    import torch

    g, r = (logits_at(head, states, ids) for head, states in zip(heads, hidden, strict=True))
    raised = (r - g).relu_()
    return torch.stack([g - alpha * raised for alpha in alphas])


def logits_at(head: Head, hidden: Tensor, ids: Tensor) -> Tensor:
    """float32 [R, K]: the logits of ids int64 [R, K] after hidden states float32 [R, d], some rows at a time."""
    import torch

    step = max(1, GATHERED // (hidden.shape[1] * ids.shape[1]))
    parts = zip(hidden.split(step), ids.split(step), strict=True)
    found = torch.cat([(head.weight[own].float() @ states[:, :, None])[..., 0] for states, own in parts])
    return found if head.bias is None else found + head.bias[ids].float()


def avoided(
    hidden: Sequence[Tensor],
    heads: Sequence[Head],
    found: Shortlist,
    best: Tensor,
    pairs: tuple[Tensor, Tensor],
    columns: Tensor,
    alphas: Sequence[float],
) -> Tensor:
    """bool [A, R]: rows where a forbidden id, had it been free, would have more than the label's value in `best`."""
    import torch

    least = best.amin(dim=0)  # [R]
    rows, ids = pairs
    near = found.of_pairs.float() + found.of_pairs.float().abs() * NOISE > least[rows]
    wide = found.of_columns.float()
    row, column = (wide + wide.abs() * NOISE > least[:, None]).nonzero(as_tuple=True)
    row, ids = torch.cat([rows[near], row]), torch.cat([ids[near], columns[column]])
    better = torch.zeros_like(best, dtype=torch.bool)
    if len(row):
        free = adjusted([part[row] for part in hidden], heads, ids[:, None], alphas)[..., 0]  # [A, pairs]
        for number, values in enumerate(free):
            better[number, row[values > best[number, row]]] = True
    return better


def _edges(head: Head, ids: Tensor) -> list[Tensor]:
    vocabulary = head.weight.shape[0]
    return [ids.new_tensor(min(edge, vocabulary)) for edge in range(0, vocabulary + TILE, TILE)]


def _largest(logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` largest of each row of [R, C] and their columns, by way of groups of columns."""
    import torch
    from torch.nn.functional import pad

    groups = max(GROUPS, count)
    if logits.shape[1] % groups:
        logits = pad(logits, (0, -logits.shape[1] % groups), value=-torch.inf)
    grouped = logits.view(len(logits), -1, groups)  # column = place * groups + group
    group = grouped.amax(dim=1).topk(count, dim=1, sorted=False).indices  # int64 [R, count]
    columns = (torch.arange(grouped.shape[1], device=logits.device)[:, None] * groups + group[:, None]).flatten(1)
    values, place = logits.gather(1, columns).topk(count, dim=1)
    return values, columns.gather(1, place)


def _merged(best: tuple[Tensor, Tensor], more: tuple[Tensor, Tensor], first: int) -> tuple[Tensor, Tensor]:
    import torch

    values, ids = torch.cat([best[0], more[0]], dim=1), torch.cat([best[1], more[1] + first], dim=1)
    values, place = values.topk(best[0].shape[1], dim=1)
    return values, ids.gather(1, place)
