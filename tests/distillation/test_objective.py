"""The filtered distillation loss, by hand and against its definition."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lethe.distillation.objective import FORBIDDEN, SPARED, filtered_distillation
from lethe.models.output_head import Head
from lethe.training.losses import BASE_HIDDEN, Items, Positions

NOTHING = np.array([], dtype=np.int64)


def head(rows: list[list[float]]) -> Head:
    return Head(SimpleNamespace(weight=torch.tensor(rows, requires_grad=True), bias=None))  # type: ignore[arg-type]


def retained(hidden: list[list[float]], base: list[list[float]], forbidden: list[list[int]]) -> Positions:
    count = len(hidden)
    columns = {BASE_HIDDEN: torch.tensor(base), FORBIDDEN: torch.tensor(forbidden, dtype=torch.int32)}
    own = torch.tensor(hidden, requires_grad=True)
    return Positions(own, torch.zeros(count).long(), torch.zeros(count).bool(), torch.arange(count), columns)


def items(retain: int) -> Items:
    return Items(torch.tensor(0), torch.tensor(retain), torch.tensor(0))


# logits are log 1, log 2, log 5 for a hidden state of 1: probabilities 1/8, 2/8, 5/8
SCORES = [[0.0], [math.log(2)], [math.log(5)]]


def test_a_student_that_says_the_same_has_no_loss() -> None:
    at = retained([[1.0], [2.0]], [[1.0], [2.0]], [[-1], [-1]])
    loss = filtered_distillation(at, head(SCORES), items(2), head(SCORES), NOTHING)
    assert loss.item() == pytest.approx(0.0, abs=1e-6)


def test_what_is_banned_everywhere_has_no_mass() -> None:
    at = retained([[1.0]], [[1.0]], [[-1]])
    loss = filtered_distillation(at, head(SCORES), items(1), head(SCORES), np.array([2]))
    # the teacher says 1/3 and 2/3 of what is left, the student 1/8 and 2/8 of all: KL = log(8/3)
    assert loss.item() == pytest.approx(math.log(8 / 3), rel=1e-5)


def test_what_the_text_itself_says_is_spared() -> None:
    at = retained([[1.0], [1.0]], [[1.0], [1.0]], [[-1], [-1]])
    columns = {**at.columns, SPARED: torch.tensor([-1, 2], dtype=torch.int32)}
    loss = filtered_distillation(at._replace(columns=columns), head(SCORES), items(2), head(SCORES), np.array([2]))
    # as above at the first position; at the second the teacher says what the student says
    assert loss.item() == pytest.approx(math.log(8 / 3) / 2, rel=1e-5)


def test_what_a_rule_forbids_has_no_mass_at_its_position_alone() -> None:
    at = retained([[1.0], [1.0]], [[1.0], [1.0]], [[1, 2], [-1, -1]])
    loss = filtered_distillation(at, head(SCORES), items(2), head(SCORES), NOTHING)
    # at the first position only id 0 is left: KL = log 8; at the second nothing is forbidden. Mean of the two
    assert loss.item() == pytest.approx(math.log(8) / 2, rel=1e-5)


def test_the_teacher_gets_no_gradient_and_the_student_does() -> None:
    at, student, teacher = retained([[1.0]], [[2.0]], [[0]]), head(SCORES), head(SCORES)
    filtered_distillation(at, student, items(1), teacher, NOTHING).backward()
    assert teacher.weight.grad is None
    assert student.weight.grad is not None
    # softmax of the student minus the teacher's 0, 2^2 / (2^2 + 5^2), 5^2 / (2^2 + 5^2), times the hidden state 1
    expected = torch.tensor([[1 / 8], [2 / 8 - 4 / 29], [5 / 8 - 25 / 29]])
    torch.testing.assert_close(student.weight.grad, expected)
