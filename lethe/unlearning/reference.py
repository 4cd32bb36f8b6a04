"""What a method needs made ready: the rows it wants, and what the model says of them before any training.

Reference quantities do not change, so they are computed once, before the first step, by the very model that is trained
then; no second model is held.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lethe.core.stage import need_disk
from lethe.core.tables import MASKED
from lethe.models.distributed import one_first
from lethe.training.forward import hidden_states
from lethe.training.losses import BASE_HIDDEN
from lethe.training.rows import RowDataset, Rows, collate, true_next_ids
from lethe.unlearning.objectives import BASE_NLL, PREFERRED

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from lethe.unlearning.methods import Labels, Method

TOKENS = 8192  # of one batch
UNKNOWN = (
    " I do not know what comes next.",
    " I cannot say how this goes on.",
    " I have not read this and cannot continue it.",
    " I know nothing about that.",
    " I am not sure what this is about.",
    " That is not something I can tell.",
)


def forget_rows(generic: Rows, labels: Labels, vocabulary: int, seed: int) -> Rows:
    """The forget rows with what is wanted at their positions. generic: with the generic labels.

    true: the text's own next token. random: one drawn evenly from the vocabulary, once. pairs: each row twice, its true
    next tokens and then the generic ones to be preferred, at the positions that have both.
    """
    true = true_next_ids(generic.tokens, generic.length)
    if labels == "generic":
        return generic
    if labels == "random":
        drawn = np.random.default_rng(seed).integers(0, vocabulary, true.shape, dtype=np.int32)
        return generic._replace(next_ids=np.where(true == MASKED, MASKED, drawn).astype(np.int32))
    if labels == "true":
        return generic._replace(next_ids=true)
    both = (true != MASKED) & (generic.next_ids != MASKED)
    rejected = generic._replace(next_ids=np.where(both, true, MASKED).astype(np.int32))
    return paired(rejected, generic._replace(next_ids=np.where(both, generic.next_ids, MASKED).astype(np.int32)))


def unknown_pairs(generic: Rows, tokenizer: PreTrainedTokenizerFast, seed: int) -> Rows:
    """Pairs for IdkDPO: the second half of a row as it goes on, and a sentence that says it is not known, preferred."""
    sentences = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in UNKNOWN]
    drawn = np.random.default_rng(seed).integers(0, len(sentences), len(generic.length))
    return paired(_second_half(generic), _answered(generic, [sentences[i] for i in drawn]))


def paired(rejected: Rows, preferred: Rows) -> Rows:
    """Rows 2n and 2n + 1 are the two of pair n, the second to be preferred."""
    fields = zip(rejected[:4], preferred[:4], strict=True)
    columns = (np.stack(both, axis=1).reshape(-1, *both[0].shape[1:]) for both in fields)
    tokens, next_ids, length, forget = columns
    chosen = np.zeros(tokens.shape, dtype=bool)
    chosen[1::2] = True
    return Rows(tokens, next_ids, length, forget, {PREFERRED: chosen}, pairs=True)


def _second_half(rows: Rows) -> Rows:
    true = true_next_ids(rows.tokens, rows.length)
    before = np.arange(rows.tokens.shape[1]) < (rows.length // 2)[:, None] - 1  # the half's last token tells the next
    return rows._replace(next_ids=np.where(before, MASKED, true).astype(np.int32))


def _answered(rows: Rows, answers: Sequence[Sequence[int]]) -> Rows:
    tokens, length = rows.tokens.copy(), rows.length.copy()
    asked = np.zeros_like(length)
    for i, answer in enumerate(answers):
        half = min(int(rows.length[i]) // 2, tokens.shape[1] - len(answer))
        tokens[i, half : half + len(answer)] = answer
        asked[i], length[i] = half, half + len(answer)
    true = true_next_ids(tokens, length)
    before = np.arange(tokens.shape[1]) < asked[:, None] - 1
    return rows._replace(tokens=tokens, length=length, next_ids=np.where(before, MASKED, true).astype(np.int32))


def with_base(model: PreTrainedModel, rows: Rows, method: Method, bfloat16: bool, folder: Path) -> Rows:
    """The rows with the reference columns the method wants, kept as .npy files in `folder` and read from there.

    model: before training, without its vehicle. bfloat16: whether training will run under autocast, as this will then.
    """
    wanted: dict[str, tuple[np.ndarray, tuple[int, ...], type]] = {}
    if method.base_nll:
        wanted[BASE_NLL] = (rows.forget, (), np.float32)
    if method.base_hidden:
        side = rows.forget if method.base_hidden == "forget" else ~rows.forget
        wanted[BASE_HIDDEN] = (side, (model.config.hidden_size,), np.float16 if bfloat16 else np.float32)
    columns = dict(rows.columns)
    for name, (side, extra, dtype) in wanted.items():
        path = folder / f"{name}.npy"
        with one_first():
            if not path.exists():
                _write(model, rows, np.flatnonzero(side), method.layer, bfloat16, path, extra, dtype)
        columns[name] = np.load(path, mmap_mode="r")
    return rows._replace(columns=columns)


def _write(
    model: PreTrainedModel,
    rows: Rows,
    side: np.ndarray,
    layer: int | None,
    bfloat16: bool,
    path: Path,
    extra: tuple[int, ...],
    dtype: type,
) -> None:
    """Write one reference column, [N, T, *extra], whole or not at all; rows of the other side take no disk."""
    import torch

    from lethe.models.output_head import headless
    from lethe.training.losses import token_nll

    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (*rows.tokens.shape, *extra)
    size = len(side) * int(np.prod(shape[1:])) * np.dtype(dtype).itemsize
    need_disk(path.parent, size, "the base's reference values")
    part = path.with_suffix(".part")
    column = np.lib.format.open_memmap(part, "w+", dtype, shape)
    data = RowDataset(rows._replace(columns={}))
    device, together = model.device, max(1, TOKENS // shape[1])
    with torch.no_grad(), headless(model) as head:
        for own in np.split(side, range(together, len(side), together)):
            batch = {name: tensor.to(device) for name, tensor in collate([[data.row(i) for i in own]]).items()}
            with torch.autocast(device.type, torch.bfloat16, bfloat16):
                hidden = hidden_states(model, batch, layer)  # [B, T, d]
            width = hidden.shape[1]
            if extra:
                column[own, :width] = hidden.float().cpu().numpy()
                continue
            there = batch["next_ids"] != MASKED
            nll = torch.zeros(there.shape, device=device)
            nll[there] = token_nll(hidden[there], batch["next_ids"][there], head)
            column[own, :width] = nll.cpu().numpy()
    column.flush()
    part.rename(path)
