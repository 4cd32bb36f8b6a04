"""Rows cut into batches and padded."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lethe.inference import batching

CPU = torch.device("cpu")


def test_batches_by_hand() -> None:
    # longest first; 5+5 <= 12, then 4 rows of 3 fit but only three are left; equal lengths keep their order
    assert list(batching.batches([3, 5, 3, 5, 1], 12)) == [[1, 3], [0, 2, 4]]
    assert list(batching.batches([20, 3], 12)) == [[0], [1]]
    assert list(batching.batches([], 12)) == []


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(1, 120))
def test_batches_hold_every_row_once_and_keep_the_budget(lengths: list[int], budget: int) -> None:
    found = list(batching.batches(lengths, budget))
    assert sorted(i for batch in found for i in batch) == list(range(len(lengths)))
    for batch in found:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget


def test_padding_by_hand() -> None:
    tokens, mask = batching.pad_left([[5, 6], [7]], CPU)
    assert tokens.tolist() == [[5, 6], [0, 7]]
    assert mask.tolist() == [[1, 1], [0, 1]]
    tokens, mask = batching.pad_right([[5, 6], [7]], CPU)
    assert tokens.tolist() == [[5, 6], [7, 0]]
    assert mask.tolist() == [[1, 1], [1, 0]]


def test_pools_depend_on_the_batches_alone() -> None:
    cut = [[3], [1, 2], [0], [4], [5]]
    assert batching.pools(cut) == [[3, 1, 2], [0, 4], [5]]
    assert batching.pools(cut[:4]) == cut[:4]
    assert [len(pool) for pool in batching.pools([[i] for i in range(100)])] == [8] * 12 + [4]
    assert batching.pools([]) == []


@pytest.mark.parametrize(
    ("lengths", "going", "width", "copies", "many"),
    [
        ([20, 10, 10], 0, 0, 1, 3),
        ([20] * 9, 0, 0, 1, 5),
        ([200], 0, 0, 1, 1),  # longer than the budget: alone
        ([20] * 9, 0, 0, 2, 2),
        ([20] * 9, 3, 25, 1, 1),  # four of 25 tokens
        ([20] * 9, 4, 25, 1, 0),
        ([10] * 90, 9, 10, 1, 0),  # one beside nine does not pay
        ([10], 9, 10, 1, 1),  # but the last one may enter
        ([], 3, 10, 1, 0),
    ],
)
def test_prompts_enter_where_they_fit(lengths: list[int], going: int, width: int, copies: int, many: int) -> None:
    assert batching.entering(lengths, going, width, copies, 100) == many
