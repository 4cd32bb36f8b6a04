"""Intervals: by hand where the bootstrap has few outcomes, and the laws that make them believable."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lethe.evaluation.intervals import Interval, auc, bootstrap, difference, mean_interval, rate_interval


def test_mean_of_two_items_by_hand() -> None:
    # resamples of (0, 1) have the means 0 (1/4), 1/2 (1/2), 1 (1/4): the 2.5th percentile is 0, the 97.5th is 1
    assert mean_interval([0.0, 1.0]) == Interval(0.5, 0.0, 1.0, 2)


def test_the_interval_of_a_mean_is_as_wide_as_theory_says() -> None:
    values = np.random.default_rng(3).normal(10.0, 2.0, size=400)
    found = mean_interval(values.tolist())
    # the standard error is 2 / sqrt(400) = 0.1, the interval 2 x 1.96 x 0.1 = 0.392 wide
    assert found.value == pytest.approx(values.mean())
    assert found.high - found.low == pytest.approx(0.392, rel=0.1)


def test_samples_are_drawn_together_only_if_paired() -> None:
    def difference(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
        return a.mean(axis=axis) - b.mean(axis=axis)

    a = [1.0, 5.0, 9.0, 2.0]
    b = [value - 1 for value in a]
    # each item differs by exactly 1, so together they never differ by anything else; apart they do
    assert bootstrap(difference, a, b, paired=True) == Interval(1.0, 1.0, 1.0, 4)
    apart = bootstrap(difference, a, b)
    assert apart.value == 1.0
    assert apart.low < -1 < 3 < apart.high


def test_rate_of_none_in_a_hundred_is_not_certain() -> None:
    # Wilson, k = 0: high = z^2 / (n + z^2) = 3.8415 / 103.8415 = 0.036994
    found = rate_interval([False] * 100)
    assert (found.value, found.low, found.items) == (0.0, 0.0, 100)
    assert found.high == pytest.approx(0.036994, abs=1e-6)


def test_rate_by_hand() -> None:
    # k = 1, n = 4, z = 1.95996: centre (0.25 + z^2/8) / (1 + z^2/4) = 0.73018 / 1.96036 = 0.37247
    # half width z / 1.96036 x sqrt(0.25 x 0.75 / 4 + z^2 / 64) = 0.99980 x 0.32697 = 0.32690
    found = rate_interval([True, False, False, False])
    assert found.value == 0.25
    assert found[1:3] == pytest.approx((0.04557, 0.69937), abs=2e-4)


def test_one_item_has_no_interval_and_none_has_no_number() -> None:
    assert mean_interval([0.3]) == Interval(0.3, None, None, 1)
    with pytest.raises(ValueError, match="without items"):
        mean_interval([])
    with pytest.raises(ValueError, match="without items"):
        rate_interval([])


def test_a_draw_without_a_value_leaves_no_interval() -> None:
    def relative(a: np.ndarray, axis: int) -> np.ndarray:
        with np.errstate(divide="ignore"):
            return 1 / a.mean(axis=axis)  # infinite where only zeros are drawn

    assert bootstrap(relative, [0.0, 1.0]) == Interval(2.0, None, None, 2)


def test_row_is_rounded() -> None:
    assert Interval(1 / 3, None, 2e-9 / 3, 5).row() == {"value": 0.333333, "low": None, "high": 6.66667e-10, "items": 5}


@settings(deadline=None, max_examples=20)
@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=30))
def test_law_of_the_mean(values: list[float]) -> None:
    found = mean_interval(values)
    assert min(values) - 1e-6 <= found.low <= found.high <= max(values) + 1e-6
    assert found.low - 1e-6 <= found.value <= found.high + 1e-6 or len(values) < 10
    assert mean_interval(values) == found  # the same every time


def test_auc_by_hand() -> None:
    # pairs: 3 > 2, 3 > 0, 1 < 2, 1 > 0: three of four; a tie counts half
    assert auc([3.0, 1.0], [2.0, 0.0]) == 0.75
    assert auc([1.0, 1.0], [1.0, 0.0]) == 0.75
    assert auc([5.0], [5.0]) == 0.5


def test_auc_of_several_rows_at_once() -> None:
    rows = np.array([[3.0, 1.0], [0.0, 0.0]]), np.array([[2.0, 0.0], [1.0, 1.0]])
    assert auc(*rows, axis=-1).tolist() == [0.75, 0.0]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=12), st.lists(st.integers(0, 9), min_size=1, max_size=12))
def test_auc_is_the_share_of_pairs(members: list[int], others: list[int]) -> None:
    pairs = [1.0 if member > other else 0.5 if member == other else 0.0 for member in members for other in others]
    assert auc(members, others) == pytest.approx(np.mean(pairs))


def test_difference_by_hand() -> None:
    one, other = Interval(0.5, 0.2, 0.9, 10), Interval(0.3, 0.0, 0.6, 8)
    # below: the root of (0.5 - 0.2)^2 + (0.6 - 0.3)^2 = 0.18; above: of (0.9 - 0.5)^2 + (0.3 - 0.0)^2 = 0.25
    found = difference(one, other)
    assert found == pytest.approx((0.2, 0.2 - math.sqrt(0.18), 0.2 + 0.5, 8))
    assert difference(one, Interval(0.3, None, None, 1)) == (0.2, None, None, 1)
