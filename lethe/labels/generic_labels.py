"""The two forward passes of generic labels and their difference: baseline on translated, reinforced on original blocks.

Each of several processes labels its share of the batches. Where the two models do not fit, the passes run in turn.

Axes: B blocks of a batch, T tokens, d hidden size, V vocabulary, R rows (positions that train), P forbidden (row, id)
pairs, E ids that are forbidden in every row, A alphas.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lethe.core.stage import need_disk
from lethe.core.tables import MASKED
from lethe.inference.batching import batches
from lethe.labels.exact_argmax import TILE, Forbidden, settle
from lethe.labels.on_disk import let_go, zeros
from lethe.labels.positions import Rows, forbidden_in, inside_of, parts_of, rows_of
from lethe.labels.soft_targets import SoftTargets, soft_targets
from lethe.labels.translation import NEVER, OwnRules, Spliced
from lethe.models.config import Shape, shape, shape_of
from lethe.models.device import SPREAD, STATE, free_memory, gpus, local_processes
from lethe.models.distributed import processes, shared
from lethe.models.folders import weight_count, weight_files
from lethe.models.output_head import Head, frozen_head, headless

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PreTrainedModel

ROOM = 1.1  # memory of a model relative to its weights: buffers, fragmentation


class Settings(NamedTuple):
    """Only `alphas` and `bfloat16` affect a label; the rest is memory and speed."""

    alphas: Sequence[float]
    bfloat16: bool  # forward passes under autocast
    batch_tokens: int  # of one forward pass, padding included
    chunk_logits: int  # float32 logits of one model at a time
    soft_alphas: Sequence[float] = ()  # whose whole distributions are kept too
    soft_top: int = 0  # how many ids of each
    soft_inside: bool = True  # also at the positions inside an opened name
    folder: Path | None = None  # holds the soft labels until they are written; None: memory does


class Labels(NamedTuple):
    """The labels of all blocks, and how often forbidding decided them."""

    next_ids: np.ndarray  # int32 [A, blocks, T], already shifted; MASKED where nothing is trained
    avoided: np.ndarray  # int64 [A]: positions whose best id, had nothing been forbidden, was a forbidden one
    taught: np.ndarray  # int64 [A]: positions whose label is a forbidden id after all
    target_ids: np.ndarray  # int32 [S, blocks, T, K]: the likeliest ids of each soft alpha's distribution
    target_probabilities: np.ndarray  # float16 [S, blocks, T, K]; 0 where nothing is trained, also inside names it is


class RowLabels(NamedTuple):
    """`Labels` of some rows."""

    ids: Tensor  # int32 [A, R]
    avoided: Tensor  # int64 [A]
    taught: Tensor  # int64 [A]
    soft: Sequence[SoftTargets] = ()  # S of them


Watch = Callable[[list[list[int]]], Iterable[list[int]]]
Load = Callable[[Path], "PreTrainedModel"]


def label_blocks(
    tokens: np.ndarray,
    length: np.ndarray,
    spliced: Sequence[Spliced],
    models: tuple[PreTrainedModel, PreTrainedModel],
    settings: Settings,
    watch: Watch,
    everywhere: Sequence[int] = (),
    loose: Sequence[int] = (),
    opened: OwnRules | None = None,
) -> Labels:
    """Labels of blocks int32 [N, T] with `length` [N] real tokens each, given their translations.

    models: the baseline and the reinforced one; watch: wraps the batches; everywhere: ids that no label may be; loose:
    ids that none may be but where the text itself goes on with them; opened: of `inside_rules`, for soft labels.
    """
    import torch

    labels = unlabelled(tokens, settings)
    with torch.inference_mode(), headless(models[0]) as baseline_head, headless(models[1]) as reinforced_head:

        def labelled(batch: list[int]) -> dict[int, None]:
            rows, inside = both_rows(batch, spliced, tokens, opened, settings)
            translated = baseline_rows(models[0], batch, rows, inside, spliced, tokens, settings)
            original = original_rows(models[1], batch, (rows, inside), tokens, length, settings)
            heads = baseline_head, reinforced_head
            return write_all(translated, original, heads, batch, (rows, inside), (everywhere, loose), settings, labels)

        shared(planned(length, spliced, settings), labelled, watch)
    return gather_labels(labels)


def label_one_model_at_a_time(
    tokens: np.ndarray,
    length: np.ndarray,
    spliced: Sequence[Spliced],
    folders: tuple[Path, Path],
    load: Load,
    settings: Settings,
    watch: Watch,
    everywhere: Sequence[int],
    work: Path,
    loose: Sequence[int] = (),
    opened: OwnRules | None = None,
) -> Labels:
    """The same labels with one model in memory at a time, in two passes.

    The first pass leaves what the second needs of the baseline: in the folder `work` its hidden states for the trained
    positions, one file a batch, and in memory its head. Raises StageError if the disk is too small for them.
    """
    import torch
    from safetensors.torch import load_file, save_file

    labels, plan = unlabelled(tokens, settings), planned(length, spliced, settings)
    model = load(folders[0])
    need_disk(work, stored_bytes(spliced, model, settings), "what label keeps of the baseline, which fits only alone")

    def read(batch: list[int]) -> dict[int, None]:
        rows, inside = both_rows(batch, spliced, tokens, opened, settings)
        states = baseline_rows(model, batch, rows, inside, spliced, tokens, settings)
        save_file({"states": states.cpu().contiguous()}, work / f"baseline-{batch[0]}.safetensors")
        return {}

    with torch.inference_mode(), headless(model):
        shared(plan, read, watch)
    baseline_head = frozen_head(model)
    del model
    free_memory()
    model = load(folders[1])
    with torch.inference_mode(), headless(model) as reinforced_head:

        def labelled(batch: list[int]) -> dict[int, None]:
            rows, inside = both_rows(batch, spliced, tokens, opened, settings)
            translated = load_file(work / f"baseline-{batch[0]}.safetensors")["states"].to(model.device)
            original = original_rows(model, batch, (rows, inside), tokens, length, settings)
            heads = baseline_head, reinforced_head
            return write_all(translated, original, heads, batch, (rows, inside), (everywhere, loose), settings, labels)

        shared(plan, labelled, watch)
    return gather_labels(labels)


def planned(length: np.ndarray, spliced: Sequence[Spliced], settings: Settings) -> list[list[int]]:
    """The blocks in batches, the same for any number of processes and passes."""
    longest = [max(int(real), len(block.translated)) for real, block in zip(length, spliced, strict=True)]
    return list(batches(longest, settings.batch_tokens))


def both_rows(
    batch: Sequence[int], spliced: Sequence[Spliced], tokens: np.ndarray, opened: OwnRules | None, settings: Settings
) -> tuple[Rows, Rows]:
    """The trained positions of a batch, and those inside an opened name, which only soft labels train."""
    own = [spliced[index] for index in batch]
    opening = own if settings.soft_alphas and settings.soft_inside else []
    return rows_of(own, tokens[batch]), inside_of(opening, tokens[batch], opened or {})


def baseline_rows(
    model: PreTrainedModel,
    batch: Sequence[int],
    rows: Rows,
    inside: Rows,
    spliced: Sequence[Spliced],
    tokens: np.ndarray,
    settings: Settings,
) -> Tensor:
    """[R + I, d]: the baseline's states for the trained positions, and for the I inside a name: those where the name
    itself is read, so not on the translated but on the original blocks, up to the last such position.
    """
    import torch

    translated = translated_rows(model, batch, rows, spliced, settings)
    if not len(inside.block):
        return translated
    blocks, number = np.unique(inside.block, return_inverse=True)
    read = tokens[np.asarray(batch)[blocks], : inside.original.max() + 1]
    states = hidden_states(model, read, settings.bfloat16)
    block, at = (torch.from_numpy(column).to(states.device) for column in (number, inside.original))
    return torch.cat([translated, states[block, at]])


def translated_rows(
    model: PreTrainedModel, batch: Sequence[int], rows: Rows, spliced: Sequence[Spliced], settings: Settings
) -> Tensor:
    """[R, d]: the baseline's states on the translated blocks, at the counterparts of the trained positions."""
    import torch

    states = hidden_states(model, padded([spliced[i].translated for i in batch]), settings.bfloat16)
    block, answered_by = (torch.from_numpy(column).to(states.device) for column in (rows.block, rows.translated))
    return states[block, answered_by]


def original_rows(
    model: PreTrainedModel,
    batch: list[int],
    both: tuple[Rows, Rows],
    tokens: np.ndarray,
    length: np.ndarray,
    settings: Settings,
) -> Tensor:
    """[R + I, d]: the reinforced model's states on the original blocks, at the positions of `both_rows`."""
    import torch

    states = hidden_states(model, tokens[batch, : length[batch].max()], settings.bfloat16)
    block, at = (
        torch.from_numpy(np.concatenate(columns)).to(states.device)
        for columns in zip(*((rows.block, rows.original) for rows in both), strict=True)
    )
    return states[block, at]


def unlabelled(tokens: np.ndarray, settings: Settings) -> Labels:
    """No labels yet for blocks int32 [N, T]. Raises StageError if the disk is too small for the soft ones."""
    alphas, soft = len(settings.alphas), (len(settings.soft_alphas), *tokens.shape, settings.soft_top)
    next_ids = np.full((alphas, *tokens.shape), MASKED, np.int32)
    counts = np.zeros(alphas, int), np.zeros(alphas, int)
    return Labels(next_ids, *counts, *(zeros(soft, dtype, settings.folder) for dtype in (np.int32, np.float16)))


def write_all(
    translated: Tensor,
    reinforced: Tensor,
    heads: tuple[Head, Head],
    batch: Sequence[int],
    both: tuple[Rows, Rows],
    banned: tuple[Sequence[int], Sequence[int]],
    settings: Settings,
    labels: Labels,
) -> dict[int, None]:
    """Write the labels of a batch from the states [R + I, d] of both models; returns nothing.

    both: of `both_rows`; banned: the ids forbidden everywhere, and those forbidden where the text does not say them.
    """
    rows, inside = both
    count = len(rows.block)
    for chosen, part, never in parts_of(rows, *banned):
        states = translated[:count][chosen], reinforced[:count][chosen]
        write_batch(all_labels(*states, heads, forbidden_in(part, never, translated), settings), batch, part, labels)
    if len(inside.block):
        forbidden = forbidden_in(inside, np.union1d(*banned).astype(np.int64).tolist(), translated)
        write_soft(
            soft_labels(translated[count:], reinforced[count:], heads, forbidden, settings), batch, inside, labels
        )
    let_go(labels.target_ids, labels.target_probabilities)
    return {}


def write_batch(found: RowLabels, batch: Sequence[int], rows: Rows, labels: Labels) -> None:
    """Write the labels of some rows of a batch into the result."""
    labels.next_ids[:, np.asarray(batch)[rows.block], rows.original] = found.ids.cpu().numpy()
    write_soft(found.soft, batch, rows, labels)
    labels.avoided[:] += found.avoided.cpu().numpy()
    labels.taught[:] += found.taught.cpu().numpy()


def write_soft(found: Sequence[SoftTargets], batch: Sequence[int], rows: Rows, labels: Labels) -> None:
    """Write the distributions of some rows of a batch into the result."""
    at = np.asarray(batch)[rows.block], rows.original
    for number, target in enumerate(found):
        width = target.ids.shape[1]  # a vocabulary may have fewer than K ids
        labels.target_ids[number, *at, :width] = target.ids.cpu().numpy()
        labels.target_probabilities[number, *at, :width] = target.probabilities.cpu().numpy()


def gather_labels(labels: Labels) -> Labels:
    """The labels of all processes merged. What a process did not label is MASKED, less than any id."""
    if processes() == 1:
        return labels
    parts = shared(range(processes()), lambda rank: {rank: labels}).values()
    next_ids, avoided, taught, ids, probabilities = zip(*parts, strict=True)
    counts = np.add.reduce(avoided), np.add.reduce(taught)
    return Labels(np.maximum.reduce(next_ids), *counts, np.maximum.reduce(ids), np.maximum.reduce(probabilities))


def both_fit(folders: Sequence[Path], device: torch.device, dtype: torch.dtype | None, settings: Settings) -> bool:
    """Whether all these models and one batch fit the device's free memory together.

    dtype: of the weights in memory; None: the dtype on disk. A process has its share of main memory.
    """
    weights = sum(model_bytes(folder, dtype.itemsize if dtype else None) for folder in folders)
    return free_bytes(device) >= ROOM * weights + batch_bytes(shape(folders[0]), settings)


def model_bytes(folder: Path, itemsize: int | None) -> int:
    """Of a folder's weights in memory, from its files' headers."""
    if itemsize is None:
        return sum(path.stat().st_size for path in weight_files(folder))
    return itemsize * weight_count(folder)


def batch_bytes(shape: Shape, settings: Settings) -> int:
    """Of one batch at its largest, in float32: per token the residual, its norm, q, k, v and the attention's output (6
    hidden widths), gate, up and their product (3 intermediate ones); per chunk of logits both models' and four more.
    """
    per_token = 6 * shape.hidden + 3 * shape.inner
    return 4 * (settings.batch_tokens * per_token + 6 * settings.chunk_logits)


def free_bytes(device: torch.device) -> float:
    """Memory that a process may use, of the card, of all cards where models are spread, or of main memory."""
    if STATE[SPREAD]:
        return sum(gpus().values())
    if device.type == "cuda":
        import torch

        return torch.cuda.mem_get_info(device)[0]
    import psutil

    return psutil.virtual_memory().available / local_processes()


def stored_bytes(spliced: Sequence[Spliced], model: PreTrainedModel, settings: Settings) -> int:
    """Upper bound on the hidden states, float32, that the first of two passes leaves on disk."""
    rows = sum(int((np.asarray(block.map) != NEVER).sum()) for block in spliced)
    rows += sum(block.interior for block in spliced) if settings.soft_alphas and settings.soft_inside else 0
    return rows * shape_of(model.config).hidden * 4


def padded(sequences: Sequence[Sequence[int]]) -> np.ndarray:
    """Token ids with zeros on the right, int64 [B, T]."""
    ids = np.zeros((len(sequences), max(map(len, sequences))), np.int64)
    for row, sequence in zip(ids, sequences, strict=True):
        row[: len(sequence)] = sequence
    return ids


def hidden_states(model: PreTrainedModel, ids: np.ndarray, bfloat16: bool) -> Tensor:
    """The last hidden states [B, T, d] of token ids [B, T], from a model whose head is off.

    Padding is on the right, where a causal model's real positions do not see it: so no attention mask is needed, which
    would select a slower attention.
    """
    import torch

    with torch.autocast(model.device.type, torch.bfloat16, enabled=bfloat16):
        return model(input_ids=torch.from_numpy(ids).long().to(model.device), use_cache=False).logits


def all_labels(
    translated: Tensor, reinforced: Tensor, heads: tuple[Head, Head], forbidden: Forbidden, settings: Settings
) -> RowLabels:
    """Hard labels of rows from their hidden states [R, d] in both models, and the soft ones that are asked for."""
    given = translated, reinforced, heads, forbidden, settings
    return label_rows(*given)._replace(soft=soft_labels(*given))


def soft_labels(
    translated: Tensor, reinforced: Tensor, heads: tuple[Head, Head], forbidden: Forbidden, settings: Settings
) -> list[SoftTargets]:
    """The distributions of rows from their hidden states [R, d] in both models, one of each soft alpha."""
    given, size = (translated, reinforced, heads, forbidden), (settings.soft_top, settings.chunk_logits)
    return [soft_targets(*given, alpha, *size) for alpha in settings.soft_alphas]


def label_rows(
    translated: Tensor, reinforced: Tensor, heads: tuple[Head, Head], forbidden: Forbidden, settings: Settings
) -> RowLabels:
    """Labels of rows from their hidden states [R, d] in both models: from a few likely ids where those suffice."""
    import torch

    at_once = max(1, 4 * settings.chunk_logits // TILE)  # rows, of one bfloat16 logit each
    found = settle(translated, reinforced, heads, forbidden, settings.alphas, at_once, exact=not settings.bfloat16)
    left, avoided = ~found.rows, found.avoided[:, found.rows].sum(dim=1)
    if not left.any():
        return RowLabels(found.ids, avoided, torch.zeros_like(avoided))  # a likely id is never a forbidden one
    rest = label_unsettled_rows(translated[left], reinforced[left], heads, forbidden.of(left), settings)
    found.ids[:, left] = rest.ids
    return RowLabels(found.ids, avoided + rest.avoided, rest.taught)


def label_unsettled_rows(
    translated: Tensor, reinforced: Tensor, heads: tuple[Head, Head], forbidden: Forbidden, settings: Settings
) -> RowLabels:
    """`label_rows` from the logits of the whole vocabulary, a chunk of rows at a time.

    The logits are float32 whatever the dtype of the states: the row mean and alpha amplify bfloat16 noise, and argmax
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
    """The likeliest next id, per alpha, after lowering whatever reinforcement raised.

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
