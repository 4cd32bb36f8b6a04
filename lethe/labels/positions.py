"""Which positions of a batch of blocks get a label, and what may not be said at each.

Axes: B blocks of a batch, T tokens, R rows (positions that train), P forbidden (row, id) pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lethe.labels.exact_argmax import Forbidden
from lethe.labels.translation import NEVER, OwnRules, Spliced, forbidden_at, forbidden_inside

if TYPE_CHECKING:
    from torch import Tensor


class Rows(NamedTuple):
    """The positions of a batch that train, block by block."""

    block: np.ndarray  # int64 [R], number in the batch
    original: np.ndarray  # int64 [R], position in the original block
    translated: np.ndarray  # int64 [R], its counterpart in the translated block
    forbidden_row: np.ndarray  # int64 [P], ascending
    forbidden_id: np.ndarray  # int64 [P]
    following: np.ndarray  # int64 [R], the token with which the original block goes on; -1: not known

    def of(self, chosen: np.ndarray) -> Rows:
        """The same of the chosen rows alone, bool [R], numbered anew."""
        own = chosen[self.forbidden_row]
        pairs = (np.cumsum(chosen) - 1)[self.forbidden_row[own]], self.forbidden_id[own]
        return Rows(self.block[chosen], self.original[chosen], self.translated[chosen], *pairs, self.following[chosen])


def rows_of(spliced: Sequence[Spliced], originals: np.ndarray | None = None) -> Rows:
    """The trained positions of some blocks and what is forbidden at each.

    originals: the blocks' tokens, int32 [B, T]; without them a loose rule holds whatever the text says.
    """
    parts = []
    first = 0
    for number, block in enumerate(spliced):
        answered_by = np.asarray(block.map, np.int64)
        trained = np.flatnonzero(answered_by != NEVER)
        following = np.full(len(answered_by), -1)
        if originals is not None:
            following[:-1] = originals[number, 1 : len(answered_by)]
        row, token = forbidden_at(block, answered_by[trained], following[trained])
        order = np.argsort(row, kind="stable")
        pairs = row[order] + first, token[order]
        parts.append((np.full(len(trained), number), trained, answered_by[trained], *pairs, following[trained]))
        first += len(trained)
    return Rows(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def inside_of(spliced: Sequence[Spliced], originals: np.ndarray, rules: OwnRules) -> Rows:
    """The positions of some blocks inside an opened name and what is forbidden at each; they have no counterpart.

    originals: the blocks' tokens, int32 [B, T]; rules: of `inside_rules`.
    """
    positions: list[tuple[int, ...]] = []
    pairs: list[tuple[int, ...]] = []
    for number, block in enumerate(spliced):
        for at, ids in forbidden_inside(block, originals[number], rules):
            pairs += [(len(positions), token) for token in sorted(ids)]
            positions.append((number, at, NEVER, int(originals[number, at + 1])))
    columns = [np.array(found, np.int64).reshape(-1, width).T for found, width in ((positions, 4), (pairs, 2))]
    (blocks, original, translated, following), (row, token) = map(np.ascontiguousarray, columns)
    return Rows(blocks, original, translated, row, token, following)


def parts_of(
    rows: Rows, everywhere: Sequence[int], loose: Sequence[int]
) -> Iterator[tuple[np.ndarray | slice, Rows, Sequence[int]]]:
    """The rows in parts, each with its place and the ids that are forbidden in all of it.

    A row whose text goes on with a loose id has every other one forbidden by itself: there are few such rows.
    """
    never = np.union1d(everywhere, loose).astype(np.int64)
    unless_said = np.setdiff1d(loose, everywhere)
    said = np.isin(rows.following, unless_said)
    if not said.any():
        yield slice(None), rows, never.tolist() if len(unless_said) else everywhere
        return
    yield np.flatnonzero(~said), rows.of(~said), never.tolist()
    own = rows.of(said)
    row, number = np.nonzero(own.following[:, None] != never)
    row, ids = np.concatenate([own.forbidden_row, row]), np.concatenate([own.forbidden_id, never[number]])
    order = np.argsort(row, kind="stable")
    yield np.flatnonzero(said), own._replace(forbidden_row=row[order], forbidden_id=ids[order]), []


def forbidden_in(rows: Rows, everywhere: Sequence[int], states: Tensor) -> Forbidden:
    """The ids that no label of the rows may be, on the device of their states."""
    import torch

    row, ids = (torch.from_numpy(column).to(states.device) for column in (rows.forbidden_row, rows.forbidden_id))
    return Forbidden(row, ids, torch.tensor(everywhere, dtype=torch.long, device=states.device))
