"""The rows that a method trains on: forget rows with its labels, and retain rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lethe.core.corpus import fixed_width, trained_tokens
from lethe.core.errors import StageError
from lethe.core.hashing import check_tokenizer
from lethe.core.tables import MASKED, read_parquet
from lethe.models.config import layer_count, vocabulary_size
from lethe.training.losses import TARGET_IDS, TARGET_PROBABILITIES
from lethe.training.rows import Rows, corpus_rows, joined, true_next_ids
from lethe.unlearning.objectives import PREFERRED

if TYPE_CHECKING:
    import pyarrow as pa
    from transformers import PreTrainedTokenizerFast

    from lethe.unlearning.methods import Labels, Method, MethodParams
UNKNOWN = (
    " I do not know what comes next.",
    " I cannot say how this goes on.",
    " I have not read this and cannot continue it.",
    " I know nothing about that.",
    " I am not sure what this is about.",
    " That is not something I can tell.",
)


def read_labels(path: Path, alpha: float, model: Path, soft: bool = False) -> Rows:
    """The labels for one alpha as training rows; soft: with the columns TARGET_IDS and TARGET_PROBABILITIES [N, T, K].

    Raises StageError if label.alphas, or label.soft_alphas, has no such alpha, or the labels were made with another
    tokenizer.
    """
    column = f"next_ids_{alpha}"
    table, facts = read_parquet(path, ("tokens", "length"))
    if column not in table.column_names:
        raise StageError(
            f"params.yaml: finetune.alpha: expected one of label.alphas: {facts.get('alphas', 'none')}, got {alpha}"
        )
    check_tokenizer(facts["tokenizer"], model, path)
    length = table["length"].to_numpy()
    next_ids = fixed_width(table, column)
    if (next_ids == MASKED).all():
        raise StageError(f"{path}: expected at least one position with a label, got none; see data/labels.txt")
    rows = Rows(fixed_width(table, "tokens"), next_ids, length, length > 0, trained=trained_tokens(table))
    return with_soft_targets(rows, soft_columns(table, facts, alpha, rows.tokens.shape)) if soft else rows


def with_soft_targets(rows: Rows, columns: Mapping[str, np.ndarray]) -> Rows:
    """The rows with the columns of `soft_columns`. A distribution inside an opened name, where no hard label is, trains
    its position too: next_ids is its likeliest id there.
    """
    inside = (rows.next_ids == MASKED) & (columns[TARGET_PROBABILITIES][..., 0] > 0)
    inside &= np.arange(rows.tokens.shape[1]) < rows.length[:, None] - 1
    next_ids = np.where(inside, columns[TARGET_IDS][..., 0], rows.next_ids)
    return rows._replace(next_ids=next_ids.astype(np.int32), columns=columns)


def soft_columns(
    table: pa.Table, facts: Mapping[str, str], alpha: float, shape: tuple[int, ...]
) -> dict[str, np.ndarray]:
    """The distributions of one soft alpha: ids int32 and probabilities float16, both [N, T, K]. shape: N, T."""
    names = {TARGET_IDS: f"target_ids_{alpha}", TARGET_PROBABILITIES: f"target_probabilities_{alpha}"}
    if not set(names.values()) <= set(table.column_names):
        known = facts.get("soft_alphas", "none")
        raise StageError(f"params.yaml: finetune.alpha: expected one of label.soft_alphas: {known}, got {alpha}")
    return {column: fixed_width(table, name).reshape(*shape, -1) for column, name in names.items()}


def check_layer(params: MethodParams, method: Method, baseline: Path) -> None:
    """Raise StageError if the model has no layer of the method's number."""
    layers = layer_count(baseline)
    if method.layer and method.layer > layers:
        raise StageError(
            f"params.yaml: finetune.{params.objective}.layer: expected at most {layers}, the layers of {baseline}, "
            f"got {method.layer}"
        )


def labelled_rows(
    generic: Rows, params: MethodParams, method: Method, tokenizer: PreTrainedTokenizerFast, baseline: Path, seed: int
) -> Rows:
    """The forget rows with the method's labels. generic: the same rows with the generic labels.

    baseline: the model, which may have fewer embeddings than the tokenizer has tokens (Gemma 3).
    """
    if method.labels == "pairs" and params.dpo.preferred == "idk":
        return unknown_pairs(generic, tokenizer, seed)
    vocabulary = min(len(tokenizer), vocabulary_size(baseline))
    return forget_rows(generic, method.labels, vocabulary, seed)


def with_retain_rows(
    forget: Rows,
    retain: Sequence[tuple[str, bool]],
    tokenizer: PreTrainedTokenizerFast,
    share: float,
    objective: str,
    seed: int,
) -> Rows:
    """The forget rows, and `share` times as many rows of retain text with their true next tokens.

    The paper trains on forget rows alone (share 0). Hard labels sharpen every prediction; rows of ordinary text
    keep the rest of the model as it was. Drawn from `seed`; fewer where there is less text.
    Raises StageError if retain rows are asked for and the corpus has no retain side, or the other way round.
    """
    if not share:
        if objective == "generic_labels":
            return forget
        raise StageError(
            f"params.yaml: finetune.retain_rows: expected a share above 0.0, got 0.0 with objective {objective}, "
            "which has a retain term; raise it or set the weight of that term to 0.0"
        )
    if not retain:
        raise StageError(
            f"params.yaml: finetune.retain_rows: expected 0.0 without retain text, got {share}; set it to 0.0 or "
            "put text into the folder that corpus.retain names"
        )
    found = corpus_rows(retain, tokenizer, forget.tokens.shape[1])
    items = len(forget.length) // (2 if forget.pairs else 1)
    count = round(share * items)
    drawn = np.sort(np.random.default_rng(seed).permutation(len(found.length))[:count])
    tokens, next_ids, length, is_forget = (column[drawn] for column in found[:4])
    return joined(forget, Rows(tokens, next_ids, length, is_forget))


def forget_rows(generic: Rows, labels: Labels, vocabulary: int, seed: int) -> Rows:
    """The forget rows with the given kind of labels. generic: the same rows with the generic labels.

    true: the text's own next token. random: sampled once, uniformly from the vocabulary. pairs: each row twice, with
    its true next tokens and then with the preferred generic ones, at the positions that have both.
    """
    true = true_next_ids(generic.tokens, generic.length, generic.trained)
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
    """Pairs for IdkDPO: the true second half of a row, and a preferred sentence that says it is not known."""
    sentences = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in UNKNOWN]
    drawn = np.random.default_rng(seed).integers(0, len(sentences), len(generic.length))
    return paired(_second_half(generic), _answered(generic, [sentences[i] for i in drawn]))


def paired(rejected: Rows, preferred: Rows) -> Rows:
    """Rows 2n and 2n + 1 are the two of pair n; the second is preferred."""
    fields = zip(rejected[:4], preferred[:4], strict=True)
    columns = (np.stack(both, axis=1).reshape(-1, *both[0].shape[1:]) for both in fields)
    tokens, next_ids, length, forget = columns
    chosen = np.zeros(tokens.shape, dtype=bool)
    chosen[1::2] = True
    return Rows(tokens, next_ids, length, forget, {PREFERRED: chosen}, pairs=True)


def _second_half(rows: Rows) -> Rows:
    true = true_next_ids(rows.tokens, rows.length, rows.trained)
    before = np.arange(rows.tokens.shape[1]) < (rows.length // 2)[:, None] - 1  # its last token predicts the next
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
