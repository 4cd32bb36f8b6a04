"""How far one more retrained model may lie from the others, by hand."""

from __future__ import annotations

import math

import pytest

from lethe.gate.spread import left_out, mean_of, reach


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
