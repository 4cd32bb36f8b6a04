"""What a teacher may not say: the anchors' own names, and every token that no retained text holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lethe.core.errors import StageError
from lethe.labels.translation import Rule, index_rules

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from lethe.training.rows import Rows


class Filter(NamedTuple):
    """Token ids without mass in the teacher's distribution."""

    everywhere: np.ndarray  # int64 [E], ascending
    at: np.ndarray  # int32 [N, T, M]: at one position of a row, -1 where there are fewer than M


def name_filter(rows: Rows, rules: Sequence[Rule], unseen: np.ndarray, vocabulary: int) -> Filter:
    """The filter of some rows: rules without a prefix and unseen ids hold everywhere, the others after their prefix.

    rules: of labels.translation.own_rules. Raises StageError if it leaves a teacher nothing to say.
    """
    everywhere = np.union1d(unseen, [rule.token for rule in rules if not rule.prefix]).astype(np.int64)
    if len(everywhere) >= vocabulary:
        raise StageError("distil: expected words that the teacher may say, got a filter of the whole vocabulary")
    return Filter(everywhere, forbidden_after(rows, [rule for rule in rules if rule.prefix]))


def forbidden_after(rows: Rows, rules: Sequence[Rule]) -> np.ndarray:
    """int32 [N, T, M]: the tokens forbidden after position t of row n, where a rule's prefix ends; M at least 1."""
    by_length = index_rules(rules)
    found: dict[tuple[int, int], list[int]] = {}
    for n, (tokens, length) in enumerate(zip(rows.tokens.tolist(), rows.length, strict=True)):
        for size, by_prefix in by_length.items():
            for end in range(size, int(length) + 1):
                for rule in by_prefix.get(tuple(tokens[end - size : end]), ()):
                    found.setdefault((n, end - 1), []).append(rule.token)
    column = np.full((*rows.tokens.shape, max(map(len, found.values()), default=1)), -1, np.int32)
    for place, ids in found.items():
        column[place][: len(ids)] = sorted(ids)
    return column


def unseen_ids(rows: Rows, tokenizer: PreTrainedTokenizerBase, vocabulary: int) -> np.ndarray:
    """int64 [U], ascending: the ids that no row holds, but for special tokens. vocabulary: rows of the model's head."""
    seen = np.zeros(vocabulary, dtype=bool)
    seen[np.unique(rows.tokens[np.arange(rows.tokens.shape[1]) < np.asarray(rows.length)[:, None]])] = True
    seen[tokenizer.all_special_ids] = True
    return np.flatnonzero(~seen)
