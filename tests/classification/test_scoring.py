"""How right the answers to a task are, by hand and as scikit-learn has it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lethe.classification.dataset import Labelled
from lethe.classification.prompts import Question
from lethe.classification.scoring import OTHER, answer_losses, attacks, score, weighted_f1, word_at
from lethe.models.checkpoints import load_model
from tests.conftest import tiny_model

CPU = torch.device("cpu")


def test_weighted_f1_by_hand() -> None:
    # wanted:  good good good bad      given: good good bad unknown
    found, wanted = ["good", "good", "bad", OTHER], ["good", "good", "good", "bad"]
    # good: 2 hits, given 2, wanted 3: 4/5; bad: 0 hits; weighted: (3 * 0.8 + 1 * 0) / 4 = 0.6
    assert weighted_f1(found, wanted) == pytest.approx(0.6)
    assert score(found, wanted)["accuracy"] == 0.5
    assert weighted_f1([OTHER, OTHER], ["good", "bad"]) == 0.0  # a model that only refuses


def test_weighted_f1_is_scikit_learns() -> None:
    import numpy as np
    from sklearn.metrics import f1_score

    words, random = np.array(["a", "b", "c"]), np.random.default_rng(0)
    for _ in range(5):
        wanted, found = (words[random.integers(0, 3, 40)].tolist() for _ in range(2))
        assert weighted_f1(found, wanted) == pytest.approx(f1_score(wanted, found, average="weighted"))


def test_a_score_has_wilsons_interval() -> None:
    # Wilson 1927 for 8 of 10: (0.8 + z^2/20 +- z sqrt(0.016 + z^2/400)) / (1 + z^2/10), z = 1.96
    found = score(["good"] * 8 + [OTHER] * 2, ["good"] * 10)
    assert (found["low"], found["high"]) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert (found["accuracy"], found["items"]) == (0.8, 10)
    assert score(["good"] * 5, ["good"] * 5)["high"] == 1.0


def test_training_rows_that_are_read_with_less_loss_are_told_apart() -> None:
    rows = [Labelled(i, "", "good", "forget", part) for i, part in enumerate(("train", "train", "test", "test"))]
    answers = {"task": ["good"] * 4}
    found = attacks(answers, {}, {"task": [1.0, 2.0, 2.0, 3.0]}, ["good"] * 4, rows)["membership"]
    # pairs (1, 2) and (1, 3) are in order, (2, 2) is a tie, (2, 3) is in order: 3.5 / 4
    assert found == {"task": 0.875}


def test_the_longest_word_that_fits() -> None:
    words = {"not": [5], "not bad": [5, 6], "good": [7]}
    assert [word_at(written, words) for written in ([5, 6], [5, 7], [6], [], [7, 7])] == [
        "not bad", "not", OTHER, OTHER, "good",
    ]  # fmt: skip


def test_answer_losses_by_hand(tmp_path: Path) -> None:
    model = load_model(tiny_model(tmp_path / "model"), CPU)
    asked = [Question([0, 5, 9], [7]), Question([0, 8], [3, 4])]
    with torch.no_grad():
        one = model(input_ids=torch.tensor([[0, 5, 9]])).logits[0].log_softmax(-1)
        two = model(input_ids=torch.tensor([[0, 8, 3]])).logits[0].log_softmax(-1)
    wanted = [-one[2, 7].item(), -(two[1, 3] + two[2, 4]).item()]
    assert answer_losses(model, asked) == pytest.approx(wanted, abs=1e-4)
