"""How far one more retrained model may lie from the others, by hand."""

from __future__ import annotations

import math

import pytest

from lethe.gate.spread import left_out, mean_of, reach, reach_either_way


def test_reach_by_hand() -> None:
    # mean 0.2, s = 0.1; Student's 95 % quantile with 2 degrees of freedom is 2.920; sqrt(1 + 1/3) = 1.1547
    assert reach([0.1, 0.2, 0.3]) == pytest.approx(0.2 + 2.920 * 0.1 * math.sqrt(4 / 3), abs=1e-3)
    assert reach([0.2, 0.2]) == 0.2
    assert reach([0.2]) is None
    assert reach([]) is None


def test_each_reference_is_compared_with_the_others() -> None:
    values = {"a": 0.5, "b": 0.1, "c": 0.3}

    def above(model: str, others: list[str]) -> float:
        return values[model] - (mean_of(values, others) or 0.0)

    # 0.5 - (0.1 + 0.3)/2, 0.1 - (0.5 + 0.3)/2, 0.3 - (0.5 + 0.1)/2
    assert left_out(above, list(values)) == pytest.approx([0.3, -0.3, 0.0])
    assert left_out(above, ["a"]) == []
    assert mean_of({}, ["a"]) is None


def test_one_more_model_of_the_same_kind_lies_within_reach() -> None:
    # 95 % by construction: of many models drawn from one normal distribution so many may lie beyond it
    import numpy as np

    drawn = np.random.default_rng(0).normal(size=(4000, 4))
    beyond = sum(float(model[3]) > (reach([float(value) for value in model[:3]]) or 0.0) for model in drawn)
    assert 0.04 < beyond / len(drawn) < 0.06


def test_reach_to_either_side_by_hand() -> None:
    # of 0.1, 0.0, -0.1 the deviations from the mean of the others are 0.15, 0, -0.15; s = 0.1; t = 4.303
    assert reach_either_way([0.15, 0.0, -0.15]) == pytest.approx(4.303 * 0.1 * math.sqrt(4 / 3), abs=1e-3)
    assert reach_either_way([0.0, 0.0]) == 0.0
    assert reach_either_way([0.1]) is None


def test_one_more_model_lies_within_reach_on_either_side() -> None:
    import numpy as np

    drawn = np.random.default_rng(0).normal(size=(4000, 4))
    deviations = 1.5 * (drawn[:, :3] - drawn[:, :3].mean(axis=1, keepdims=True))  # from the mean of the two others
    allowed = np.array([reach_either_way(row) for row in deviations.tolist()])
    beyond = np.abs(drawn[:, 3] - drawn[:, :3].mean(axis=1)) > allowed
    assert 0.04 < beyond.mean() < 0.06
