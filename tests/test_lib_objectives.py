"""Objectives: by hand on three tokens, against float64, and independent of how a step is cut."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch import nn

from stages.lib import objectives
from stages.lib.models import Head
from stages.lib.objectives import Items, Positions, cross_entropy, spul, summed_kl, summed_nll


def head(weight: torch.Tensor, bias: torch.Tensor | None = None) -> Head:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.weight = nn.Parameter(weight)
    if bias is not None:
        layer.bias = nn.Parameter(bias)
    return Head(layer)


def items(forget: int, retain: int, rows: int = 1) -> Items:
    return Items(torch.tensor(forget), torch.tensor(retain), torch.tensor(rows))


def at(
    hidden: torch.Tensor,
    next_ids: list[int] | torch.Tensor,
    forget: list[bool] | torch.Tensor,
    row: list[int] | None = None,
    **columns: torch.Tensor,
) -> Positions:
    row_ids = torch.tensor(row if row is not None else [0] * len(hidden))
    return Positions(hidden, torch.as_tensor(next_ids), torch.as_tensor(forget), row_ids, columns)


def test_cross_entropy_by_hand() -> None:
    # logits [ln 1, ln 2, ln 1] -> p = [1/4, 1/2, 1/4]; wanted 1 and 0: (ln 2 + ln 4) / 2 = 1.5 ln 2
    weight = torch.tensor([[0.0], [math.log(2)], [0.0]])
    loss = cross_entropy(at(torch.ones(2, 1), [1, 0], [True, False]), head(weight), items(1, 1))
    assert loss.item() == pytest.approx(1.5 * math.log(2))


def test_spul_by_hand() -> None:
    # p = [1/4, 1/2, 1/4] everywhere. Forget wants 1: ln 2. Two retain positions want 0: ln 4 each, their mean ln 4.
    # The base's logits are twice ours, [0, 2 ln 2, 0]: [1/6, 4/6, 1/6]; KL(base || ours)
    # = 1/6 ln(4/6) + 4/6 ln(8/6) + 1/6 ln(4/6) = 2/3 ln(4/3) - 1/3 ln(3/2)
    weight, hidden = torch.tensor([[0.0], [math.log(2)], [0.0]]), torch.ones(3, 1)
    here = at(hidden, [1, 0, 0], [True, False, False], base_hidden=2 * hidden)
    kl = 2 / 3 * math.log(4 / 3) - 1 / 3 * math.log(3 / 2)
    loss = spul(here, head(weight), items(1, 2), alpha=0.5, beta=2.0)
    assert loss.item() == pytest.approx(math.log(2) + 0.5 * math.log(4) + 2 * kl, rel=1e-6)
    only_retain = here.where(~here.forget)
    assert spul(only_retain, head(weight), items(0, 2), alpha=1.0, beta=0.0).item() == pytest.approx(math.log(4))


def test_kl_has_a_direction() -> None:
    # base [3/4, 1/4], ours [1/2, 1/2]: KL(base || ours) = 3/4 ln(3/2) + 1/4 ln(1/2) = 0.130812; the other way 0.143841
    base = head(torch.tensor([[math.log(3)], [0.0]]))
    ours = head(torch.zeros(2, 1))
    one = torch.ones(1, 1)
    assert summed_kl(one, ours, one, base).item() == pytest.approx(0.75 * math.log(1.5) - 0.25 * math.log(2))
    assert summed_kl(one, ours, one, ours).item() == 0


def test_summed_kl_equals_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objectives, "LOGITS", 70 * 13)  # 13 rows at a time
    torch.manual_seed(0)
    hidden, base_hidden = torch.randn(50, 8, requires_grad=True), torch.randn(50, 8)
    ours, base = torch.randn(70, 8), torch.randn(70, 8)
    summed_kl(hidden, head(ours), base_hidden, head(base)).backward()
    exact = hidden.detach().double().requires_grad_(True)
    q = (base_hidden.double() @ base.double().T).log_softmax(-1)
    (q.exp() * (q - (exact @ ours.double().T).log_softmax(-1))).sum().backward()
    torch.testing.assert_close(hidden.grad.double(), exact.grad, rtol=1e-4, atol=1e-5)


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
    here = at(torch.randn(10, 4), torch.randint(0, 50, (10,)), torch.arange(10) < 3, base_hidden=torch.randn(10, 4))
    for objective in (cross_entropy, partial(spul, alpha=0.7, beta=0.3)):
        whole = objective(here, output, items(3, 7))
        cuts = (torch.arange(10) < 2, torch.arange(10) >= 2)
        parts = sum(objective(here.where(cut), output, items(3, 7)) for cut in cuts)
        assert whole.item() == pytest.approx(parts.item(), rel=1e-6)
