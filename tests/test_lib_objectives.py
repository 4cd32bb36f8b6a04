"""Objectives: by hand on three tokens, against float64, and independent of how a step is cut."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from stages.lib.models import Head
from stages.lib.objectives import Items, cross_entropy, summed_nll


def head(weight: torch.Tensor, bias: torch.Tensor | None = None) -> Head:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.weight = nn.Parameter(weight)
    if bias is not None:
        layer.bias = nn.Parameter(bias)
    return Head(layer)


def test_cross_entropy_by_hand() -> None:
    # logits [ln 1, ln 2, ln 1] -> p = [1/4, 1/2, 1/4]; wanted 1 and 0: (ln 2 + ln 4) / 2 = 1.5 ln 2
    weight = torch.tensor([[0.0], [math.log(2)], [0.0]])
    hidden = torch.ones(2, 1)
    items = Items(torch.tensor(1), torch.tensor(1))
    loss = cross_entropy(hidden, torch.tensor([1, 0]), torch.tensor([True, False]), head(weight), items)
    assert loss.item() == pytest.approx(1.5 * math.log(2))


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("rows", [3, 500])
def test_summed_nll_equals_float64(rows: int, with_bias: bool) -> None:
    torch.manual_seed(0)
    hidden = torch.randn(rows, 8, requires_grad=True)
    weight, bias = torch.randn(700, 8), torch.randn(700) if with_bias else None
    wanted = torch.randint(0, 700, (rows,))
    loss = summed_nll(hidden, wanted, head(weight, bias))
    loss.backward()
    exact = hidden.detach().double().requires_grad_(True)
    logits = exact @ weight.double().T + (0 if bias is None else bias.double())
    slow = nn.functional.cross_entropy(logits, wanted, reduction="sum")
    slow.backward()
    assert loss.item() == pytest.approx(slow.item(), rel=1e-5)
    torch.testing.assert_close(hidden.grad.double(), exact.grad, rtol=1e-4, atol=1e-5)


def test_cutting_a_step_into_micro_batches_changes_nothing() -> None:
    torch.manual_seed(0)
    output = head(torch.randn(50, 4))
    hidden, wanted, forget = torch.randn(10, 4), torch.randint(0, 50, (10,)), torch.arange(10) < 3
    items = Items(torch.tensor(3), torch.tensor(7))
    whole = cross_entropy(hidden, wanted, forget, output, items)
    parts = sum(
        cross_entropy(hidden[part], wanted[part], forget[part], output, items) for part in (slice(0, 2), slice(2, 10))
    )
    assert whole.item() == pytest.approx(parts.item(), rel=1e-6)
