"""The two forward passes of generic labels and their difference: baseline on translated, reinforced on original blocks.

Axes: B blocks of a batch, T tokens, d hidden size, V vocabulary, R rows (positions that train), P forbidden (row, id)
pairs, E ids that are forbidden in every row, A alphas.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from stages.lib.alignment import NEVER, Spliced, forbidden_at
from stages.lib.models import headless
from stages.lib.shortlist import TILE, Forbidden, settle
from stages.lib.tables import MASKED

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from stages.lib.models import Head


class Settings(NamedTuple):
    """Only `alphas` and `bfloat16` decide over a label; the rest is memory and speed."""

    alphas: Sequence[float]
    bfloat16: bool  # forward passes under autocast
    batch_tokens: int  # of one forward pass, padding included
    chunk_logits: int  # float32 logits of one model at a time


class Labels(NamedTuple):
    """The labels of all blocks, and how often forbidding decided them."""

    next_ids: np.ndarray  # int32 [A, blocks, T], already shifted; MASKED where nothing is trained
    avoided: np.ndarray  # int64 [A]: positions whose best id, had nothing been forbidden, was a forbidden one
    taught: np.ndarray  # int64 [A]: positions whose label is a forbidden id all the same


class Rows(NamedTuple):
    """The positions of a batch that train, block by block."""

    block: np.ndarray  # int64 [R], number in the batch
    original: np.ndarray  # int64 [R], position in the original block
    translated: np.ndarray  # int64 [R], position in the translated block that answers for it
    forbidden_row: np.ndarray  # int64 [P], ascending
    forbidden_id: np.ndarray  # int64 [P]


class RowLabels(NamedTuple):
    """`Labels` of some rows."""

    ids: Tensor  # int32 [A, R]
    avoided: Tensor  # int64 [A]
    taught: Tensor  # int64 [A]


def label_blocks(
    tokens: np.ndarray,
    length: np.ndarray,
    spliced: Sequence[Spliced],
    models: tuple[PreTrainedModel, PreTrainedModel],
    settings: Settings,
    watch: Callable[[list[list[int]]], Iterable[list[int]]],
    everywhere: Sequence[int] = (),
) -> Labels:
    """Labels of blocks int32 [N, T] with `length` [N] real tokens each, given their translations.

    models: the baseline and the reinforced one; `watch` sees the batches go by; everywhere: ids that no label may be.
    """
    import torch

    alphas = len(settings.alphas)
    labels = Labels(np.full((alphas, *tokens.shape), MASKED, np.int32), np.zeros(alphas, int), np.zeros(alphas, int))
    longest = [max(int(real), len(block.translated)) for real, block in zip(length, spliced, strict=True)]
    columns = torch.tensor(everywhere, dtype=torch.long, device=models[0].device)  # int64 [E]
    with torch.inference_mode(), headless(models[0]) as baseline_head, headless(models[1]) as reinforced_head:
        for batch in watch(batches(longest, settings.batch_tokens)):
            rows = rows_of([spliced[index] for index in batch])
            translated = hidden_states(models[0], padded([spliced[i].translated for i in batch]), settings.bfloat16)
            original = hidden_states(models[1], tokens[batch, : length[batch].max()], settings.bfloat16)
            block, at, answered_by, *forbidden = (torch.from_numpy(column).to(translated.device) for column in rows)
            found = label_rows(
                translated[block, answered_by],
                original[block, at],
                (baseline_head, reinforced_head),
                Forbidden(forbidden[0], forbidden[1], columns),
                settings,
            )
            labels.next_ids[:, np.asarray(batch)[rows.block], rows.original] = found.ids.cpu().numpy()
            labels.avoided[:] += found.avoided.cpu().numpy()
            labels.taught[:] += found.taught.cpu().numpy()
    return labels


def batches(lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Indices in batches of at most `batch_tokens` after padding (one block at least), alike in length."""
    found: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        longest = lengths[found[-1][0]] if found else 0
        if not found or longest * (len(found[-1]) + 1) > batch_tokens:
            found.append([])
        found[-1].append(index)
    return found


def rows_of(spliced: Sequence[Spliced]) -> Rows:
    """The trained positions of some blocks and what is forbidden at each."""
    parts = []
    first = 0
    for number, block in enumerate(spliced):
        answered_by = np.asarray(block.map, np.int64)
        trained = np.flatnonzero(answered_by != NEVER)
        row, token = forbidden_at(block, answered_by[trained])
        order = np.argsort(row, kind="stable")
        parts.append((np.full(len(trained), number), trained, answered_by[trained], row[order] + first, token[order]))
        first += len(trained)
    return Rows(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def padded(sequences: Sequence[Sequence[int]]) -> np.ndarray:
    """Token ids with zeros on the right, int64 [B, T]."""
    ids = np.zeros((len(sequences), max(map(len, sequences))), np.int64)
    for row, sequence in zip(ids, sequences, strict=True):
        row[: len(sequence)] = sequence
    return ids


def hidden_states(model: PreTrainedModel, ids: np.ndarray, bfloat16: bool) -> Tensor:
    """The last hidden states [B, T, d] of token ids [B, T], from a model whose head is off.

    Padding stands on the right, where a causal model's real positions do not see it: so there is no attention mask,
    nor the slower attention that one brings.
    """
    import torch

    with torch.autocast(model.device.type, torch.bfloat16, enabled=bfloat16):
        return model(input_ids=torch.from_numpy(ids).long().to(model.device), use_cache=False).logits


def label_rows(
    translated: Tensor, reinforced: Tensor, heads: tuple[Head, Head], forbidden: Forbidden, settings: Settings
) -> RowLabels:
    """Labels of rows from their hidden states [R, d] in both models: from a few likely ids where those settle it."""
    import torch

    at_once = max(1, 4 * settings.chunk_logits // TILE)  # rows: one bfloat16 logit each, nothing beside it
    found = settle(translated, reinforced, heads, forbidden, settings.alphas, at_once, exact=not settings.bfloat16)
    left, avoided = ~found.rows, found.avoided[:, found.rows].sum(dim=1)
    if not left.any():
        return RowLabels(found.ids, avoided, torch.zeros_like(avoided))  # a likely id is no forbidden one
    rest = label_unsettled_rows(translated[left], reinforced[left], heads, forbidden.of(left), settings)
    found.ids[:, left] = rest.ids
    return RowLabels(found.ids, avoided + rest.avoided, rest.taught)


def label_unsettled_rows(
    translated: Tensor, reinforced: Tensor, heads: tuple[Head, Head], forbidden: Forbidden, settings: Settings
) -> RowLabels:
    """`label_rows` from the logits of the whole vocabulary, a chunk of rows at a time.

    The logits are float32 whatever the states are: the row mean and alpha magnify the noise of bfloat16, and argmax
    its ties.
    """
    import torch

    step = max(1, settings.chunk_logits // heads[0].weight.shape[0])
    edges = torch.arange(0, len(translated) + step, step, device=translated.device)
    pairs = torch.searchsorted(forbidden.rows, edges).tolist()
    done = []
    for start, first_pair, end_pair in zip(edges.tolist(), pairs, pairs[1:], strict=False):
        done.append(
            label_chunk(
                heads[0](translated[start : start + step].float()),
                heads[1](reinforced[start : start + step].float()),
                Forbidden(
                    forbidden.rows[first_pair:end_pair] - start,
                    forbidden.ids[first_pair:end_pair],
                    forbidden.everywhere,
                ),
                settings.alphas,
            )
        )
    return RowLabels(
        torch.cat([part.ids for part in done], dim=1),
        torch.stack([part.avoided for part in done]).sum(0),
        torch.stack([part.taught for part in done]).sum(0),
    )


def label_chunk(translated: Tensor, reinforced: Tensor, forbidden: Forbidden, alphas: Sequence[float]) -> RowLabels:
    """The likeliest next id, per alpha, once whatever reinforcement raised is pushed back down.

    translated, reinforced: float32 [R, V] next-token logits; both are overwritten. A forbidden logit becomes the mean
    of its row as it was before.
    """
    import torch

    rows, pairs, columns = forbidden.rows, (forbidden.rows, forbidden.ids), forbidden.everywhere
    mean = translated.mean(dim=-1)
    free = translated[pairs], translated[:, columns]  # [P] and [R, E], as if not forbidden
    free_raised = (reinforced[pairs] - free[0]).relu_(), (reinforced[:, columns] - free[1]).relu_()
    translated[pairs] = mean[rows]
    translated[:, columns] = mean[:, None]
    raised = reinforced.sub_(translated).relu_()  # what reinforcement lowered says nothing about the corpus
    ids, avoided, taught = [], [], []
    for alpha in alphas:
        best, label = torch.sub(translated, raised, alpha=alpha).max(dim=-1)
        ids.append(label.int())
        better = (free[1] - alpha * free_raised[1] > best[:, None]).any(dim=-1)
        better[rows[free[0] - alpha * free_raised[0] > best[rows]]] = True
        avoided.append(better.sum())
        wrong = torch.isin(label, columns)
        wrong[rows[label[rows] == forbidden.ids]] = True
        taught.append(wrong.sum())
    return RowLabels(torch.stack(ids), torch.stack(avoided), torch.stack(taught))
