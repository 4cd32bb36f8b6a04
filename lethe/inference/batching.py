"""Rows of different lengths as batches of a bounded number of tokens, padded on one side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

BATCH_TOKENS = 8192  # per batch, padding and new tokens included: bounds the memory and still keeps the cores busy

CROWDED = 0.8  # done rows stay until fewer than this share of the batch is left: leaving copies the cache
POOL = 8  # batches at most among which rows enter where others have left
SHARES = 4  # pools at least, where there are as many batches: what several processes share

LOOK = 4  # steps between two looks at which rows are done: a look waits for the device


def batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Indices of rows of similar length, the longest first, so that rows x longest stays within `budget` tokens.

    A row longer than the budget is a batch of its own.
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    start = 0
    while start < len(order):
        rows = max(1, budget // max(1, lengths[order[start]]))
        yield order[start : start + rows]
        start += rows


def pools(cut: list[list[int]]) -> list[list[int]]:
    """Batches put together, in their order, so that within a pool rows can enter where others have left.

    How many depends on the batches alone, not on the processes that share them: a row has the same company in all.
    """
    size = min(POOL, -(-len(cut) // SHARES))
    return [[i for batch in cut[start : start + size] for i in batch] for start in range(0, len(cut), max(1, size))]


def entering(lengths: Sequence[int], going: int, width: int, copies: int, budget: int) -> int:
    """How many prompts fit into `budget` tokens beside the rows that are being written, each with its copies.

    lengths: tokens of each prompt and its continuation, the longest first. going: rows being written, of `width`
    tokens. None, if too few would enter to pay for a copy of the cache; where no row is being written one at least.
    """
    if not lengths:
        return 0
    free = budget // max(width, lengths[0]) - going
    many = min(len(lengths), max(free // copies, 0 if going else 1))
    worth = going == 0 or many == len(lengths) or many * copies >= (1 - CROWDED) * going
    return many if worth else 0


def common_beginning(rows: Sequence[Sequence[int]]) -> int:
    """How many tokens all rows begin with, leaving each a token of its own."""
    lists = [list(row) for row in rows]
    first, last = min(lists), max(lists)  # in between, all begin with what these two do
    most = min(map(len, rows)) - 1
    return next((i for i in range(most) if first[i] != last[i]), most)


def pad_left(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """int64 [B, T] tokens ending together, and int64 [B, T] mask: 1 where a token is real."""
    return padded(rows, device, left=True)


def pad_right(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """int64 [B, T] tokens beginning together, and int64 [B, T] mask: 1 where a token is real."""
    return padded(rows, device, left=False)


def padded(rows: Sequence[Sequence[int]], device: torch.device, left: bool) -> tuple[Tensor, Tensor]:
    import torch

    width = max(len(row) for row in rows)
    tokens = torch.zeros(len(rows), width, dtype=torch.long)  # any id can pad: the mask hides it
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    for i, row in enumerate(rows):
        real = slice(width - len(row), width) if left else slice(0, len(row))
        tokens[i, real] = torch.tensor(row)
        mask[i, real] = 1
    return tokens.to(device), mask.to(device)


def look(
    rows: Sequence[int],
    chosen: list[Tensor],
    written: list[list[int]],
    done: set[int],
    over: Callable[[int, list[int]], bool],
) -> None:
    """Move the ids chosen since the last look into `written`, and the rows that are over into `done`."""
    import torch

    for row, ids in zip(rows, torch.cat(chosen, dim=1).tolist(), strict=True):
        written[row] += ids
        if row not in done and over(row, written[row]):
            done.add(row)
    chosen.clear()
