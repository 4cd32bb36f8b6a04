"""Membership inference by hand: four tokens, four passages."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pytest

from lethe.metrics import membership
from lethe.metrics.token_scores import Tokenwise


def passage(chosen: list[float], expected: Any = 0.0, deviation: Any = 1.0) -> Tokenwise:
    size = len(chosen)
    full = [np.broadcast_to(np.asarray(value, dtype=np.float32), size) for value in (chosen, expected, deviation)]
    return Tokenwise(*full, np.zeros(size, dtype=bool))


FOUR = [-1.0, -4.0, -2.0, -9.0]


def test_loss_and_reference() -> None:
    assert membership.loss_score(passage(FOUR)) == -4.0  # -(1 + 4 + 2 + 9) / 4
    assert membership.reference_score(passage(FOUR), passage([-5.0] * 4)) == 1.0  # -4 - -5


def test_zlib_divides_by_the_compressed_bytes() -> None:
    text = "abab" * 50
    size = len(zlib.compress(text.encode()))
    assert size < 200  # it repeats itself
    assert membership.zlib_score(passage(FOUR), text) == pytest.approx(-4.0 / size)


def test_min_k_takes_the_least_likely() -> None:
    # half of four tokens: the two lowest, (-9 - 4) / 2; a tenth of them is none, and one is taken
    assert membership.min_k_score(passage(FOUR), 0.5) == -6.5
    assert membership.min_k_score(passage(FOUR), 0.1) == -9.0


def test_min_k_plus_measures_in_deviations() -> None:
    # (-1 + 3) / 2 = 1, (-4 + 3) / 1 = -1, (-2 + 3) / 4 = 0.25, (-9 + 3) / 3 = -2; the lower two: -1.5
    found = passage(FOUR, expected=-3.0, deviation=[2.0, 1.0, 4.0, 3.0])
    assert membership.min_k_plus_score(found, 0.5) == pytest.approx(-1.5)
    # a model that is sure has no deviation: 0.001 stands for it, the score stays a number
    assert membership.min_k_plus_score(passage([-0.002], deviation=0.0), 1.0) == pytest.approx(-2.0)


def test_privleak_by_hand() -> None:
    # a retrained model tells nothing: auc 0.5. One that betrays all: ((1 - 1) - 0.5) / 0.5 = -1; half of it: -0.5
    assert membership.privleak(1.0, 0.5) == -1.0
    assert membership.privleak(0.75, 0.5) == -0.5
    assert membership.privleak(0.25, 0.5) == 0.5  # too much: forget passages stand out by being disliked
    # relative to the actual reference, which is no constant: ((1 - 0.75) - (1 - 0.6)) / 0.4 = -0.375
    assert membership.privleak(0.75, 0.6) == pytest.approx(-0.375)


def test_privleak_draws_a_passage_with_both_its_scores() -> None:
    scores = np.random.default_rng(0).normal(size=(2, 40))
    same = membership.privleak_interval(scores[0], scores[1], [(scores[0], scores[1])])
    assert (same.value, same.low, same.high, same.items) == (0.0, 0.0, 0.0, 40)  # the reference itself, in every draw
    louder = membership.privleak_interval(scores[0] + 2, scores[1], [(scores[0], scores[1])])
    assert -1 < louder.low < louder.value < louder.high < 0


def test_privleak_is_absent_where_the_reference_tells_all() -> None:
    assert membership.privleak_interval([1.0, 2.0], [0.0, 3.0], [([5.0, 6.0], [1.0, 2.0])]) is None


def test_privleak_of_several_references_is_relative_to_their_mean() -> None:
    # AUC of the model: 1 of 4 pairs lower, 0.75; of the references 0.5 and 0.25: (0.25 - 0.625) / 0.625
    references = [([3.0, 0.0], [2.0, 1.0]), ([0.0, 2.5], [1.0, 3.0])]
    found = membership.privleak_interval([3.0, 1.0], [2.0, 0.0], references)
    assert found.value == pytest.approx(-0.6)
