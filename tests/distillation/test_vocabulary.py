"""What the teacher may not say."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lethe.core.errors import StageError
from lethe.distillation.vocabulary import forbidden_after, name_filter, unseen_ids
from lethe.labels.translation import Rule
from lethe.training.rows import Rows, true_next_ids


def rows(*tokens: list[int]) -> Rows:
    width = max(map(len, tokens))
    padded = np.array([row + [0] * (width - len(row)) for row in tokens], dtype=np.int32)
    length = np.array([len(row) for row in tokens], dtype=np.int32)
    return Rows(padded, true_next_ids(padded, length), length, np.zeros(len(tokens), bool))


def test_a_rule_holds_where_its_prefix_ends() -> None:
    found = forbidden_after(rows([4, 5, 4], [5, 4]), [Rule(7, (4,)), Rule(8, (5, 4)), Rule(6, (4,))])
    # after a 4 neither 6 nor 7, after 5 4 not 8 either; the padding of the second row has no rule
    assert found.tolist() == [[[6, 7, -1], [-1, -1, -1], [6, 7, 8]], [[-1, -1, -1], [6, 7, 8], [-1, -1, -1]]]
    assert forbidden_after(rows([4, 5]), []).tolist() == [[[-1], [-1]]]


def test_the_filter_bans_unseen_ids_and_rules_without_a_prefix() -> None:
    found = name_filter(rows([4, 5]), [Rule(3, ()), Rule(7, (4,))], np.array([2, 6]), 8)
    assert found.everywhere.tolist() == [2, 3, 6]
    assert found.at.tolist() == [[[7], [-1]]]


def test_a_loose_rule_does_not_hold_where_the_row_itself_goes_on_so() -> None:
    loose = [Rule(5, ()), Rule(2, ()), Rule(7, (4,))]
    found = name_filter(rows([4, 5, 4, 7]), [Rule(3, ())], np.array([2, 6]), 9, loose)
    assert found.everywhere.tolist() == [2, 3, 5, 6]
    # after the first 4 the row says 5, which is spared, and 7 is forbidden; after the second 4 it says 7 itself
    assert found.spared is not None
    assert found.spared.tolist() == [[5, -1, -1, -1]]
    assert found.at.tolist() == [[[7], [-1], [-1], [-1]]]
    assert name_filter(rows([4, 5]), [Rule(3, ())], np.array([2, 6]), 9).spared is None


def test_a_filter_of_everything_is_refused() -> None:
    with pytest.raises(
        StageError, match=r"^distil: expected words that the teacher may say, got a filter of the whole"
    ):
        name_filter(rows([1]), [Rule(0, ())], np.array([1, 2]), 3)


def test_unseen_ids_are_in_no_row_and_no_padding_counts() -> None:
    tokenizer: Any = SimpleNamespace(all_special_ids=[1])
    assert unseen_ids(rows([4, 5, 4], [5]), tokenizer, 7).tolist() == [0, 2, 3, 6]
