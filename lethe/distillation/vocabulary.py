"""What a teacher may not say: the anchors' own names, dropped ones, and every token that no retained text holds."""

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
    spared: np.ndarray | None = None  # int32 [N, T]: the one id of `everywhere` that has mass at a position, or -1


def name_filter(
    rows: Rows, rules: Sequence[Rule], unseen: np.ndarray, vocabulary: int, loose: Sequence[Rule] = ()
) -> Filter:
    """The filter of some rows: rules without a prefix and unseen ids hold everywhere, the others after their prefix.

    rules, loose: of labels.translation.own_rules and dropped_rules; a loose one does not hold where the row goes on
    with its token. Raises StageError if the filter leaves a teacher nothing to say.
    """
    strict = np.union1d(unseen, [rule.token for rule in rules if not rule.prefix]).astype(np.int64)
    unless_said = np.setdiff1d([rule.token for rule in loose if not rule.prefix], strict).astype(np.int64)
    everywhere = np.union1d(strict, unless_said)
    if len(everywhere) >= vocabulary:
        raise StageError("distil: expected words that the teacher may say, got a filter of the whole vocabulary")
    spared = np.where(np.isin(rows.next_ids, unless_said), rows.next_ids, -1) if len(unless_said) else None
    prefixed, unless = ([rule for rule in group if rule.prefix] for group in (rules, loose))
    return Filter(everywhere, forbidden_after(rows, prefixed, unless), spared)


def forbidden_after(rows: Rows, rules: Sequence[Rule], loose: Sequence[Rule] = ()) -> np.ndarray:
    """int32 [N, T, M]: the tokens forbidden after position t of row n, where a rule's prefix ends; M at least 1.

    loose: rules that do not hold where the row goes on with their token.
    """
    by_length, unless_said = index_rules([*rules, *loose]), set(loose) - set(rules)
    found: dict[tuple[int, int], list[int]] = {}
    for n, (tokens, length) in enumerate(zip(rows.tokens.tolist(), rows.length, strict=True)):
        for size, by_prefix in by_length.items():
            for end in range(size, int(length) + 1):
                for rule in by_prefix.get(tuple(tokens[end - size : end]), ()):
                    if end < length and tokens[end] == rule.token and rule in unless_said:
                        continue
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
