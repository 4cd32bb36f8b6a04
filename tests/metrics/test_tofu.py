"""TOFU's measures by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lethe.metrics import tofu


def test_probability_is_per_token() -> None:
    # an answer of two tokens with p = 0.5 and 0.125: (0.0625) ** (1/2) = 0.25
    assert tofu.probability((math.log(0.5) + math.log(0.125)) / 2) == pytest.approx(0.25)


def test_probability_among_the_answers_on_offer() -> None:
    assert tofu.chosen_probability(0.3, [0.1, 0.2]) == pytest.approx(0.5)  # 0.3 / 0.6


def test_answers_that_no_float_can_hold_have_ratios() -> None:
    none, some = tofu.probability(-800.0), tofu.probability(math.log(0.5))
    assert tofu.truth_ratio(none, [none, none]) == 1.0
    assert tofu.chosen_probability(none, [none]) == 0.5
    assert tofu.truth_ratio(none, [some]) > 1e100
    assert tofu.ignorance(tofu.truth_ratio(none, [some])) == pytest.approx(0.0)


def test_truth_ratio() -> None:
    ratio = tofu.truth_ratio(0.4, [0.1, 0.3])
    assert ratio == pytest.approx(0.5)  # (0.1 + 0.3) / 2 / 0.4
    assert tofu.ignorance(ratio) == pytest.approx(0.5)
    assert tofu.ignorance(4.0) == 0.25  # wrong ones four times as likely: that is told too
    assert tofu.ignorance(0.0) == 0.0
    assert tofu.knowledge(ratio) == pytest.approx(0.5)
    assert tofu.knowledge(4.0) == 0.0


def test_forget_quality_by_hand() -> None:
    # largest gap between the two staircases: all of one below all of the other, D = 1. Of the C(8, 4) = 70 orders of
    # eight ratios two are as extreme: p = 2 / 70
    assert tofu.forget_quality([1, 2, 3, 4], [5, 6, 7, 8]) == pytest.approx(2 / 70)
    assert tofu.forget_quality([1, 2, 3, 4], [1, 2, 3, 4]) == 1.0


def test_model_utility_by_hand() -> None:
    # means 0.5, 0.25 and 1.0: 3 / (2 + 4 + 1) = 3/7
    found = tofu.model_utility([[[0.4, 0.6], [0.25, 0.25], [1.0, 1.0]]])
    assert found.value == pytest.approx(3 / 7)
    assert found.items == 2
    # a second group of one measure, mean 0.125: 4 / (7 + 8)
    two = tofu.model_utility([[[0.4, 0.6], [0.25, 0.25], [1.0, 1.0]], [[0.125, 0.125, 0.125]]])
    assert two.value == pytest.approx(4 / 15)
    assert tofu.model_utility([[[0.5, 0.5], [0.0, 0.0]]]).value == 0.0


def test_model_utility_draws_a_question_with_all_its_measures() -> None:
    values = np.random.default_rng(1).uniform(0.2, 0.8, size=200)
    # two measures that add up to 1 question by question: drawn together, their means add up to 1 in every draw
    found = tofu.model_utility([[values.tolist(), (1 - values).tolist()]])
    # hmean(m, 1 - m) = 2 m (1 - m), flat around m = 0.5: hardly any width; drawn apart it would be ten times as wide
    assert found.high - found.low < 0.01
