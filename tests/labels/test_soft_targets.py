"""Soft generic labels: the formula by hand, and the hard label as their likeliest id."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from lethe.labels.exact_argmax import Forbidden
from lethe.labels.generic_labels import label_chunk
from lethe.labels.soft_targets import soft_targets
from lethe.models.output_head import Head

FREE = Forbidden(torch.tensor([], dtype=torch.long), torch.tensor([], dtype=torch.long), torch.tensor([]).long())


def head(weight: torch.Tensor) -> Head:
    return Head(SimpleNamespace(weight=weight, bias=None))  # type: ignore[arg-type]


def identity(vocabulary: int) -> tuple[Head, Head]:
    """Heads whose logits are the hidden states themselves."""
    return head(torch.eye(vocabulary)), head(torch.eye(vocabulary))


def test_the_formula_by_hand() -> None:
    # token:                     Hogwarts     school       bank
    baseline = torch.tensor([[math.log(6), math.log(4), math.log(1)]])
    reinforced = torch.tensor([[math.log(18), math.log(2), math.log(1)]])
    # alpha 1: log 6 - (log 18 - log 6) = log 2; school was lowered and stays log 4; bank log 1: 2/7, 4/7, 1/7
    found = soft_targets(baseline, reinforced, identity(3), FREE, 1.0, 3, 100)
    assert found.ids.tolist() == [[1, 0, 2]]
    assert found.probabilities[0].tolist() == pytest.approx([4 / 7, 2 / 7, 1 / 7])
    # of the two largest alone: 4/6, 2/6
    assert soft_targets(baseline, reinforced, identity(3), FREE, 1.0, 2, 100).probabilities[
        0
    ].tolist() == pytest.approx([2 / 3, 1 / 3])


def test_forbidden_ids_have_no_probability() -> None:
    logits = torch.log(torch.tensor([[1.0, 2.0, 5.0], [1.0, 2.0, 5.0]]))
    forbidden = Forbidden(torch.tensor([1]), torch.tensor([1]), torch.tensor([2]))
    found = soft_targets(logits, logits, identity(3), forbidden, 1.0, 3, 3)  # a row at a time
    by_id = [dict(zip(*row, strict=True)) for row in zip(found.ids.tolist(), found.probabilities.tolist(), strict=True)]
    assert by_id[0] == pytest.approx({0: 1 / 3, 1: 2 / 3, 2: 0.0})
    assert by_id[1] == pytest.approx({0: 1.0, 1: 0.0, 2: 0.0})


@pytest.mark.parametrize("alpha", [0.0, 1.0, 5.0])
def test_the_likeliest_id_is_the_hard_label(alpha: float) -> None:
    torch.manual_seed(0)
    hidden, other = torch.randn(50, 8), torch.randn(50, 8)
    heads = head(torch.randn(40, 8)), head(torch.randn(40, 8))
    soft = soft_targets(hidden, other, heads, FREE, alpha, 4, 200)
    hard = label_chunk(heads[0](hidden), heads[1](other), FREE, [alpha])
    assert soft.ids[:, 0].tolist() == hard.ids[0].tolist()
    torch.testing.assert_close(soft.probabilities.sum(dim=1), torch.ones(50))
