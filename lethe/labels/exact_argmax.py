"""Exact argmax of generic labels from a few likely ids a row, with a bound that rules out all other ids.

A label maximises g - alpha relu(r - g), which is at most g. So once some id's value exceeds the largest g of all ids
not considered, none of those can win: the reinforced model's head is needed at a few ids a row, not at the whole
vocabulary. The list comes from bfloat16 logits, the values on it are float32.

Axes as in `generic_labels`; K ids on a row's list. The vocabulary is read in tiles; the ids of a tile form strided
groups, and only the groups with the largest members are examined.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from lethe.models.output_head import Head

SIZES = (3, 15)  # ids on the list of a row, and on that of a row which the first does not settle
TILE = 8192  # columns of the vocabulary at once: memory does not grow with it
GROUPS_PER_ID = 64  # groups in a tile for each group examined: topk is fastest then
GATHERED = 1 << 20  # float32 numbers of a head's weight copied out at once
ROUNDING = 2.0**-9  # of each bfloat16 number: hidden state, weight, mean weight, their difference, and logit


class Forbidden(NamedTuple):
    """The ids that no label of some rows may be."""

    rows: Tensor  # int64 [P], ascending
    ids: Tensor  # int64 [P]
    everywhere: Tensor  # int64 [E], different

    def of(self, chosen: Tensor) -> Forbidden:
        """The same of the chosen rows alone, bool [R], numbered anew."""
        own = chosen[self.rows]
        return Forbidden((chosen.cumsum(dim=0) - 1)[self.rows[own]], self.ids[own], self.everywhere)


class Shortlist(NamedTuple):
    """The ids of the largest logits of each row, forbidden ones left out; a forbidden id has the row's mean instead.

    All logits here are minus the mean of their row: those that are not positive need not be distinguished.
    """

    ids: Tensor  # int64 [R, K]
    likely: Tensor  # bool [R, K]: the id is there, allowed and above the mean
    beyond: Tensor  # float32 [R]: no other id has a larger bfloat16 logit
    mean: Tensor  # float32 [R], subtracted
    slack: Tensor  # float32 [R]: how far a bfloat16 logit may lie from the float32 one
    of_pairs: Tensor  # bfloat16 [P], the logits of the forbidden (row, id) pairs
    of_everywhere: Tensor  # bfloat16 [R, E], of the ids forbidden in every row


class Settled(NamedTuple):
    """Labels of the rows that a list has settled; values in other rows are undefined."""

    rows: Tensor  # bool [R]
    ids: Tensor  # int32 [A, R]
    avoided: Tensor  # bool [A, R]: a forbidden id, had it been free, would have won


def settle(
    translated: Tensor,
    reinforced: Tensor,
    heads: tuple[Head, Head],
    forbidden: Forbidden,
    alphas: Sequence[float],
    rows_at_once: int,
    exact: bool,
) -> Settled:
    """Labels of rows from their hidden states [R, d] in both models.

    exact: only labels that float32 logits would give too; else bfloat16 rounding of a logit may decide between two ids.
    A head that caps its logits settles none: the bound holds for a linear one.
    """
    import torch

    shape, device = (len(alphas), len(translated)), translated.device
    settled = torch.zeros(shape[1], dtype=torch.bool, device=device)
    labels = torch.zeros(shape, dtype=torch.int32, device=device)
    free = torch.zeros(shape, dtype=torch.bool, device=device)
    for size in SIZES if all(head.linear for head in heads) else ():
        left = ~settled
        rows, banned = left.nonzero()[:, 0], forbidden.of(left)
        if not len(rows) or len(heads[0].weight) < GROUPS_PER_ID * (size + 1):
            break  # of so few ids none needs to be left out
        hidden = scaled(translated[rows], heads[0]), scaled(reinforced[rows], heads[1])
        found = shortlist(hidden[0], heads[0], banned, size, rows_at_once)
        values = adjusted(hidden, heads, found.ids, alphas).masked_fill_(~found.likely, -torch.inf)
        best, place = values.max(dim=-1)  # [A, rows]
        labels[:, rows] = found.ids.expand(len(alphas), -1, -1).gather(2, place[..., None])[..., 0].int()
        free[:, rows] = avoided(hidden, heads, found, banned, best, alphas)
        settled[rows] = (best > found.mean + found.beyond + found.slack * exact).all(dim=0)
    return Settled(settled, labels, free)


def scaled(hidden: Tensor, head: Head) -> Tensor:
    """Hidden states [R, d] in float32, by which head.weight gives the head's logits as they are."""
    return hidden.float() if head.finish.scale == 1.0 else hidden.float() * head.finish.scale


def shortlist(hidden: Tensor, head: Head, forbidden: Forbidden, size: int, rows_at_once: int) -> Shortlist:
    """The `size` ids of largest bfloat16 logit after hidden states float32 [R, d]."""
    import torch
    from torch.nn.functional import linear

    dtype, count, groups = rough_dtype(hidden.device), len(head.weight), GROUPS_PER_ID * (size + 1)
    rough, width = hidden.to(dtype), min(TILE, -(-count // groups) * groups)
    edges = torch.arange(0, len(hidden) + rows_at_once, rows_at_once, device=hidden.device)
    pairs = torch.searchsorted(forbidden.rows, edges).tolist()
    of_pairs = rough.new_zeros(len(forbidden.ids))
    of_everywhere = rough.new_zeros((len(hidden), len(forbidden.everywhere)))
    parts: list[list[tuple[Tensor, ...]]] = [[] for _ in pairs[1:]]
    centre, offset = mean_row(head)
    longest = centre.norm()
    for first in range(0, count, width):
        weight = head.weight[first : first + width]
        tile = weight.to(dtype, copy=True).sub_(centre.to(dtype))  # a copy: the weight may have this dtype already
        bias = None if head.bias is None else (head.bias[first : first + width] - offset).to(dtype)
        longest = torch.maximum(longest, torch.linalg.vector_norm(weight, dim=1).max().float())
        here = ((forbidden.everywhere >= first) & (forbidden.everywhere < first + width)).nonzero()[:, 0]
        columns = forbidden.everywhere[here] - first
        for number, (start, end) in enumerate(pairwise(pairs)):
            rows = slice(number * rows_at_once, (number + 1) * rows_at_once)
            logits = linear(rough[rows], tile, bias)  # [rows, width]
            ids = forbidden.ids[start:end] - first
            own = ((ids >= 0) & (ids < width)).nonzero()[:, 0]
            at = forbidden.rows[start:end][own] - rows.start, ids[own]
            of_pairs[start + own] = logits[at]
            logits[at] = -torch.inf
            if len(here):
                of_everywhere[rows, here] = logits[:, columns]
                logits[:, columns] = -torch.inf
            parts[number].append(largest_groups(logits, width, groups, size))
    found = (members(part, width, groups, size) for part in parts)
    ids, values = (torch.cat(column) for column in zip(*found, strict=True))
    beyond = values[:, size].float()
    slack = ROUNDING * (6 * hidden.norm(dim=1) * longest + beyond)  # |h . w| <= |h| |w|, |w - c| <= |w| + |c|
    return Shortlist(
        ids.clamp_(max=count - 1),
        values[:, :size] > 0,
        beyond,
        hidden @ centre + offset,
        slack,
        of_pairs,
        of_everywhere,
    )


def mean_row(head: Head) -> tuple[Tensor, Tensor]:
    """The mean over the vocabulary of the head's weight, float32 [d], and of its bias, float32 []."""
    weight = head.weight
    mean = (weight.new_ones(len(weight)) @ weight).float() / len(weight)
    return mean, mean.new_zeros(()) if head.bias is None else head.bias.float().mean()


def rough_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the hardware supports it, else float32: the list differs, the labels do not."""
    import torch

    fast = device.type != "cpu" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.bfloat16 if fast else torch.float32


def largest_groups(logits: Tensor, width: int, groups: int, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of a tile [R, C], C at most `width`: its `size` groups with the largest members and the largest logit elsewhere.

    A column's group is column % groups. Returns members [R, places, size], groups int64 [R, size], the rest's [R].
    Logits are compared as integers of the same bits, which is several times faster: for positive ones the order is
    the same, and all others are below those.
    """
    import torch
    from torch.nn.functional import pad

    if logits.shape[1] < width:
        logits = pad(logits, (0, width - logits.shape[1]), value=-torch.inf)
    bits = logits.view(torch.int16 if logits.dtype == torch.bfloat16 else torch.int32)
    grouped = bits.view(len(bits), -1, groups)
    largest, group = grouped.amax(dim=1).topk(size + 1, dim=1)
    chosen = group[:, :size]
    inside = grouped.gather(2, chosen[:, None].expand(-1, grouped.shape[1], -1))
    return inside.clamp_(min=0).view(logits.dtype), chosen, largest[:, size].clamp(min=0).view(logits.dtype)


def members(tiles: Sequence[tuple[Tensor, ...]], width: int, groups: int, size: int) -> tuple[Tensor, Tensor]:
    """The `size` largest ids of some rows, int64 [R, size], their logits and the largest of all others [R, size + 1].

    What is not positive counts as 0.
    """
    import torch
    from torch.nn.functional import pad

    inside, group, rest = (torch.stack(column, dim=1) for column in zip(*tiles, strict=True))
    padded = pad(inside.flatten(1), (0, 1))  # [R, tiles * places * size + 1]
    values, flat = padded.topk(size + 1, dim=1)
    flat = flat[:, :size].clamp(max=padded.shape[1] - 2)
    tile, place, slot = flat // (inside.shape[2] * size), flat // size % inside.shape[2], flat % size
    values[:, size] = torch.maximum(values[:, size], rest.amax(dim=1))
    return tile * width + place * groups + group.flatten(1).gather(1, tile * size + slot), values


def adjusted(hidden: Sequence[Tensor], heads: Sequence[Head], ids: Tensor, alphas: Sequence[float]) -> Tensor:
    """g - alpha relu(r - g) at ids int64 [R, K]: float32 [A, R, K]. hidden: float32 [R, d] of both models."""
    import torch

    g, r = (logits_at(head, states, ids) for head, states in zip(heads, hidden, strict=True))
    raised = (r - g).relu_()
    return torch.stack([g - alpha * raised for alpha in alphas])


def logits_at(head: Head, hidden: Tensor, ids: Tensor) -> Tensor:
    """float32 [R, K]: the logits of ids int64 [R, K] after hidden states float32 [R, d], some rows at a time."""
    import torch
    from torch.nn.functional import embedding

    step = max(1, GATHERED // (hidden.shape[1] * ids.shape[1]))
    parts = zip(hidden.split(step), ids.split(step), strict=True)
    found = torch.cat([(embedding(own, head.weight).float() * states[:, None]).sum(dim=-1) for states, own in parts])
    return found if head.bias is None else found + head.bias[ids].float()


def avoided(
    hidden: Sequence[Tensor],
    heads: Sequence[Head],
    found: Shortlist,
    forbidden: Forbidden,
    best: Tensor,
    alphas: Sequence[float],
) -> Tensor:
    """bool [A, R]: rows where a forbidden id, had it been free, would have had more than `best`, float32 [A, R]."""
    import torch

    least = best.amin(dim=0) - found.mean - found.slack  # no float32 logit is needed of what lies below
    near = found.of_pairs > least[forbidden.rows]
    row, column = (found.of_everywhere > least[:, None]).nonzero(as_tuple=True)
    row = torch.cat([forbidden.rows[near], row])
    ids = torch.cat([forbidden.ids[near], forbidden.everywhere[column]])
    better = torch.zeros_like(best, dtype=torch.bool)
    free = adjusted([states[row] for states in hidden], heads, ids[:, None], alphas)[..., 0]  # float32 [A, ids]
    for number, values in enumerate(free):
        better[number, row[values > best[number, row]]] = True
    return better
