"""Objectives: by hand on three tokens, against float64, and independent of the micro-batches of a step."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import accumulate
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn

from lethe.models.output_head import Head
from lethe.training import losses as objectives
from lethe.training.losses import (
    TARGET_IDS,
    TARGET_PROBABILITIES,
    Items,
    Positions,
    chunk_rows,
    cross_entropy,
    soft_cross_entropy,
    summed_kl,
    summed_nll,
    token_nll,
)
from lethe.unlearning.objectives import (
    PrimalDual,
    ascent_kl,
    ceu,
    control_vector,
    dpo,
    flattening,
    forget_cross_entropy,
    gradient_ascent,
    npo,
    rmu,
    simnpo,
    spul,
    undial,
    weighted_ascent,
    with_retain,
)


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


def test_soft_cross_entropy_by_hand() -> None:
    # p = [1/4, 1/2, 1/4] at both; the forget position is to say id 0 with 1/4 and id 1 with 3/4: -(1/4 ln 1/4 + 3/4 ln
    # 1/2) = 1.25 ln 2; the retain position is to say id 2: ln 4 = 2 ln 2; the mean of the two is 1.625 ln 2
    ours = head(torch.tensor([[0.0], [math.log(2)], [0.0]]))
    columns = {
        TARGET_IDS: torch.tensor([[1, 0], [0, 0]], dtype=torch.int32),
        TARGET_PROBABILITIES: torch.tensor([[0.75, 0.25], [0.0, 0.0]]),
    }
    there = at(torch.ones(2, 1), [1, 2], [True, False], **columns)
    assert soft_cross_entropy(there, ours, items(1, 1)).item() == pytest.approx(1.625 * math.log(2))


def test_a_soft_target_of_one_id_is_a_hard_label() -> None:
    torch.manual_seed(0)
    hidden, ours, labels = torch.randn(6, 4), head(torch.randn(9, 4)), torch.tensor([1, 2, 3, 4, 5, 6])
    columns = {TARGET_IDS: labels[:, None].int(), TARGET_PROBABILITIES: torch.ones(6, 1)}
    there = at(hidden, labels, [True] * 4 + [False] * 2, **columns)
    torch.testing.assert_close(soft_cross_entropy(there, ours, items(4, 2)), cross_entropy(there, ours, items(4, 2)))


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
    # logarithms of about 1 in float32 are out by 6e-8 each, half a millionth of what they leave: too near the default
    wanted = pytest.approx(0.75 * math.log(1.5) - 0.25 * math.log(2), rel=1e-5)
    assert summed_kl(one, ours, one, base).item() == wanted
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


def peak(work: Callable[[], torch.Tensor]) -> int:
    """The most bytes that tensors held at once in the loss and its gradients, by torch's own record."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as recorded:
        work().backward()
    found = [event for event in recorded.profiler.kineto_results.events() if event.name() == "[memory]"]
    found.sort(key=lambda event: event.start_ns())
    return max(accumulate(event.nbytes() for event in found))


def plain_nll(hidden: torch.Tensor, ids: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(hidden @ weight.T, ids, reduction="none")


def plain_kl(hidden: torch.Tensor, ids: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    base = (hidden.detach() @ weight.detach().T).log_softmax(-1)
    return nn.functional.kl_div((hidden @ weight.T).log_softmax(-1), base, reduction="batchmean", log_target=True)


@pytest.mark.parametrize("trained", [True, False])
@pytest.mark.parametrize(("vocabulary", "width", "rows"), [(4000, 16, 90), (1200, 600, 300), (300, 100, 700)])
def test_no_loss_takes_more_memory_than_all_logits_do(
    monkeypatch: pytest.MonkeyPatch, vocabulary: int, width: int, rows: int, trained: bool
) -> None:
    monkeypatch.setattr(objectives, "LOGITS", 64 * vocabulary)
    hidden, ids = torch.randn(rows, width, requires_grad=True), torch.randint(0, vocabulary, (rows,))
    weight = torch.randn(vocabulary, width, requires_grad=trained)
    ours = Head(SimpleNamespace(weight=weight, bias=None))
    pairs: dict[str, tuple[Callable[[], torch.Tensor], Callable[[], torch.Tensor]]] = {
        "nll": (lambda: summed_nll(hidden, ids, ours), lambda: plain_nll(hidden, ids, weight).sum()),
        "token nll": (lambda: token_nll(hidden, ids, ours).sum(), lambda: plain_nll(hidden, ids, weight).sum()),
        "kl": (lambda: summed_kl(hidden, ours, hidden.detach(), ours), lambda: plain_kl(hidden, ids, weight)),
    }
    for name, (chunked, plain) in pairs.items():
        assert peak(chunked) <= peak(plain) * 1.01 + 10_000, name  # a vector of rows here and there
    if vocabulary == 4000:
        assert peak(pairs["nll"][0]) < peak(pairs["nll"][1]) / 2  # of 90 rows all have logits, but one vector each
        assert peak(pairs["kl"][0]) < peak(pairs["kl"][1])


@pytest.mark.parametrize(("vocabulary", "rows", "saved"), [(3072, 2730, 166), (1 << 17, 64, 86), (1 << 24, 1, 86)])
def test_chunks_follow_from_the_vocabulary_and_the_width(vocabulary: int, rows: int, saved: int) -> None:
    # 2 * 128 * (3072 + 2730 + 166) = 1,527,808 numbers of gradients are no more than 3 * 3072 * 166 = 1,529,856 of
    # logits; with 165 rows 1,527,552 are more than 1,520,640
    tall = Head(SimpleNamespace(weight=torch.empty(vocabulary, 128, device="meta").requires_grad_(True), bias=None))
    assert chunk_rows(tall, rows + saved) == rows
    assert chunk_rows(tall, rows + saved - 1) == rows + saved - 1
    tall.weight.requires_grad_(False)
    assert chunk_rows(tall, rows + saved - 1) == rows


@pytest.mark.parametrize(("width", "rows"), [(8, None), (2, 256)])
def test_a_wide_vocabulary_is_not_read_row_by_row(
    monkeypatch: pytest.MonkeyPatch, width: int, rows: int | None
) -> None:
    chosen = []

    def spy(*arguments: torch.Tensor, options: nn.LinearCrossEntropyOptions, **others: Any) -> torch.Tensor:
        chosen.append(options.batch_chunk_size)
        return arguments[0].sum()

    monkeypatch.setattr(nn.functional, "linear_cross_entropy", spy)
    summed_nll(torch.randn(300, width), torch.zeros(300, dtype=torch.long), head(torch.randn(256, width)))
    assert chosen == [rows]  # 256 tokens are 32 and 128 times the width


HALF = torch.tensor([[0.0], [math.log(2)], [0.0]])  # hidden 1 -> p = [1/4, 1/2, 1/4]
ONES = torch.ones(4, 1)


def four(next_ids: list[int], forget: int, **columns: torch.Tensor) -> Positions:
    """Four positions in two rows, each with p = [1/4, 1/2, 1/4]; the first `forget` of them are to be forgotten."""
    return at(ONES, next_ids, torch.arange(4) < forget, [0, 0, 1, 1], **columns)


def test_ascent_and_what_is_added_by_hand() -> None:
    # forget wants 1, 1: mean ln 2; retain wants 0, 0: mean ln 4
    here, output, counts = four([1, 1, 0, 0], 2), head(HALF), items(2, 2)
    assert gradient_ascent(here, output, counts).item() == pytest.approx(-math.log(2))
    grad_diff = with_retain(gradient_ascent, 3.0, here, output, counts)
    assert grad_diff.item() == pytest.approx(-math.log(2) + 3 * math.log(4))
    # the base's logits are twice ours; its KL to ours is 2/3 ln(4/3) - 1/3 ln(3/2), as in test_spul_by_hand
    kl = 2 / 3 * math.log(4 / 3) - 1 / 3 * math.log(3 / 2)
    here = four([1, 1, 0, 0], 2, base_hidden=2 * ONES)
    assert ascent_kl(here, output, counts, weight=5.0).item() == pytest.approx(-math.log(2) + 5 * kl, rel=1e-5)
    same = four([1, 1, 0, 0], 2, base_hidden=ONES)  # under a base head of its own: the same numbers
    assert ascent_kl(same, output, counts, 5.0, head(2 * HALF)).item() == pytest.approx(-math.log(2) + 5 * kl, rel=1e-5)


def test_random_labels_are_cross_entropy_on_forget_rows_alone() -> None:
    # forget wants 0 and 1: (ln 4 + ln 2) / 2
    loss = forget_cross_entropy(four([0, 1, 0, 0], 2), head(HALF), items(2, 2))
    assert loss.item() == pytest.approx(1.5 * math.log(2))


def test_npo_by_hand() -> None:
    # two forget rows: log p = -2 ln 2 (1, 1) and -3 ln 2 (0, 1). The base had -2 ln 2 and -ln 2: ratios 0 and -2 ln 2.
    # beta 1: 2/1 (ln(1 + 1) + ln(1 + 1/4)) / 2 = ln 2 + ln 1.25 = ln 2.5
    base = torch.tensor([1.0, 1.0, 0.5, 0.5]) * math.log(2)
    loss = npo(four([1, 1, 0, 1], 4, base_nll=base), head(HALF), items(4, 0, 2), beta=1.0)
    assert loss.item() == pytest.approx(math.log(2.5))


def test_npo_becomes_ascent_as_beta_goes_to_zero() -> None:
    # arXiv 2404.05868: the gradient of NPO tends to that of ascent (on sequence sums)
    weights = []
    for loss in ("npo", "ascent"):
        weight = HALF.clone().requires_grad_(True)
        output, here = Head(SimpleNamespace(weight=weight, bias=None)), four([1, 1, 0, 1], 4, base_nll=torch.ones(4))
        if loss == "npo":
            npo(here, output, items(4, 0, 2), beta=1e-4).backward()
        else:
            (gradient_ascent(here, output, items(4, 0, 2)) * 2).backward()  # two positions a row
        weights.append(weight.grad)
    torch.testing.assert_close(*weights, rtol=1e-3, atol=1e-4)


def test_simnpo_by_hand() -> None:
    # mean nll of the rows: ln 2 and 1.5 ln 2. beta 2, gamma 0: -2/2 log sigmoid(2 ln 2) = ln(1 + 1/4), and
    # ln(1 + 1/8); their mean. gamma ln 2 halves the odds: ln(1 + 1/2) and ln(1 + 1/4)
    here, output = four([1, 1, 0, 1], 4), head(HALF)
    loss = simnpo(here, output, items(4, 0, 2), beta=2.0, gamma=0.0)
    assert loss.item() == pytest.approx((math.log(1.25) + math.log(1.125)) / 2)
    loss = simnpo(here, output, items(4, 0, 2), beta=2.0, gamma=math.log(2))
    assert loss.item() == pytest.approx((math.log(1.5) + math.log(1.25)) / 2)


def test_dpo_by_hand() -> None:
    # one pair: the other sequence 1, 1 with nll 2 ln 2, the base's 0; the preferred 0, 1 with nll 3 ln 2, the base's
    # 4 ln 2. log ratios: preferred + ln 2, other -2 ln 2: margin 3 ln 2. beta 1: -2 log sigmoid(ln 8) = 2 ln(1 + 1/8)
    base = torch.tensor([0.0, 0.0, 2.0, 2.0]) * math.log(2)
    preferred = torch.tensor([False, False, True, True])
    here = at(ONES, [1, 1, 0, 1], [True] * 4, [7, 7, 7, 7], base_nll=base, preferred=preferred)
    assert dpo(here, head(HALF), items(4, 0, 1), beta=1.0).item() == pytest.approx(2 * math.log(1.125))


def test_weighted_ascent_by_hand() -> None:
    # p = 1/2, 1/2, 1/4, 1/2, the weights too: -(3 * 1/2 ln 2 + 1/4 ln 4) / 4 = -ln 2 / 2
    here, output = four([1, 1, 0, 1], 4), head(HALF)
    wga = weighted_ascent(here, output, items(4, 0), saturation=1.0, importance=0.0)
    assert wga.item() == pytest.approx(-math.log(2) / 2)
    # SatImp, p^1 (1 - p)^2: 1/8 three times, 1/4 * 9/16 once: -(3/8 ln 2 + 9/64 * 2 ln 2) / 4
    satimp = weighted_ascent(here, output, items(4, 0), saturation=1.0, importance=2.0)
    assert satimp.item() == pytest.approx(-(3 / 8 + 9 / 32) * math.log(2) / 4)


def test_the_weight_of_weighted_ascent_has_no_gradient() -> None:
    # d/dz of w log p at the true token is w (1 - p) = 1/2 * 1/2; with a gradient through p^1 it would differ
    weight = HALF.clone().requires_grad_(True)
    output = Head(SimpleNamespace(weight=weight, bias=None))
    weighted_ascent(at(torch.ones(1, 1), [1], [True]), output, items(1, 0), 1.0, 0.0).backward()
    assert weight.grad[1].item() == pytest.approx(0.25)


def test_undial_by_hand() -> None:
    # the base's logits [0, ln 2, 0], ln 2 taken off token 1: even thirds. CE with [1/4, 1/2, 1/4]: (2 ln 4 + ln 2) / 3
    here = at(torch.ones(1, 1), [1], [True], base_hidden=torch.ones(1, 1))
    assert undial(here, head(HALF), items(1, 0), beta=math.log(2)).item() == pytest.approx(5 / 3 * math.log(2))


def test_ceu_by_hand() -> None:
    # without token 1, [1/2, 0, 1/2]: CE with [1/4, 1/2, 1/4] = ln 4
    assert ceu(at(torch.ones(1, 1), [1], [True]), head(HALF), items(1, 0)).item() == pytest.approx(math.log(4))


def test_pdu_by_hand() -> None:
    # logits [0, ln 2, 0]: largest less mean 2/3 ln 2, its square 4/9 ln^2 2; retain ln 4, times dual 3
    objective = PrimalDual(dual=3.0, rate=0.5, epsilon=math.log(2))
    flat = 4 / 9 * math.log(2) ** 2
    assert flattening(four([1, 1, 0, 0], 2), head(HALF), items(2, 2)).item() == pytest.approx(flat)
    loss = objective(four([1, 1, 0, 0], 2), head(HALF), items(2, 2))
    assert loss.item() == pytest.approx(flat + 3 * math.log(4))
    assert float(objective.retain) == pytest.approx(math.log(4))
    objective.end_step(float(objective.retain))  # 3 + 0.5 (ln 4 - ln 2)
    assert objective.dual == pytest.approx(3 + 0.5 * math.log(2))
    assert objective.retain == 0
    objective.end_step(-100.0)  # never below zero
    assert objective.dual == 0


def test_rmu_by_hand() -> None:
    # forget [1, 2] to [4, 2]: (9 + 0) / 2; retain [1, 1] from [1, 3]: (0 + 4) / 2, alpha 10
    hidden = torch.tensor([[1.0, 2.0], [1.0, 1.0]])
    here = at(hidden, [0, 0], [True, False], base_hidden=torch.tensor([[9.0, 9.0], [1.0, 3.0]]))
    loss = rmu(here, head(torch.zeros(3, 2)), items(1, 1), control=torch.tensor([4.0, 2.0]), alpha=10.0)
    assert loss.item() == pytest.approx(4.5 + 20)


def test_control_vector_has_its_length_and_comes_from_the_seed() -> None:
    vector = control_vector(64, 20.0, seed=1)
    assert vector.norm().item() == pytest.approx(20.0)
    assert (vector >= 0).all()
    assert torch.equal(vector, control_vector(64, 20.0, seed=1))
    assert not torch.equal(vector, control_vector(64, 20.0, seed=2))


class Slow(NamedTuple):
    """Everything a reference needs, in float64: log-probabilities and logits as whole tables."""

    logits: torch.Tensor
    base: torch.Tensor
    at: Positions
    hidden: torch.Tensor

    @property
    def nll(self) -> torch.Tensor:
        return -self.logits.log_softmax(-1)[torch.arange(len(self.logits)), self.at.next_ids]

    def rows(self, values: torch.Tensor) -> list[torch.Tensor]:
        return [values[self.at.forget & (self.at.row == row)].sum() for row in (0, 1)]

    def mean(self, values: torch.Tensor, forget: bool = True) -> torch.Tensor:
        return values[self.at.forget == forget].mean()

    def kl(self) -> torch.Tensor:
        q, p = self.base.log_softmax(-1), self.logits.log_softmax(-1)
        return self.mean((q.exp() * (q - p)).sum(-1), forget=False)


def slow_npo(s: Slow) -> torch.Tensor:
    ratios = s.rows(s.at.columns["base_nll"].double() - s.nll)
    return sum(20 * torch.log(1 + torch.exp(ratio) ** 0.1) for ratio in ratios) / 2


def slow_simnpo(s: Slow) -> torch.Tensor:
    length = s.rows(torch.ones_like(s.nll))
    means = [total / count for total, count in zip(s.rows(s.nll), length, strict=True)]
    return sum(-torch.log(torch.sigmoid(2.0 * mean - 0.3)) for mean in means) / 2


def slow_dpo(s: Slow) -> torch.Tensor:
    ratio = s.at.columns["base_nll"].double() - s.nll
    preferred = s.at.columns["preferred"]
    won, lost = s.rows(torch.where(preferred, ratio, 0)), s.rows(torch.where(preferred, 0, ratio))
    return sum(-20 * torch.log(torch.sigmoid(0.1 * (a - b))) for a, b in zip(won, lost, strict=True)) / 2


def slow_satimp(s: Slow) -> torch.Tensor:
    p = (-s.nll).exp().detach()
    return s.mean(-(p**5) * (1 - p) * s.nll)


def slow_undial(s: Slow) -> torch.Tensor:
    target = s.base - 10 * nn.functional.one_hot(s.at.next_ids, s.base.shape[1])
    return s.mean(-(target.softmax(-1) * s.logits.log_softmax(-1)).sum(-1))


def slow_rmu(s: Slow) -> torch.Tensor:
    moved, kept = s.hidden - torch.arange(8), s.hidden - s.at.columns["base_hidden"].double()
    return s.mean((moved**2).sum(-1) / 8) + 3 * s.mean((kept**2).sum(-1) / 8, forget=False)


def slow_ceu(s: Slow) -> torch.Tensor:
    p = s.logits.softmax(-1).detach() * (1 - nn.functional.one_hot(s.at.next_ids, s.base.shape[1]))
    return s.mean(-(p / p.sum(-1, keepdim=True) * s.logits.log_softmax(-1)).sum(-1))


FAST_AND_SLOW = {
    "gradient_ascent": (gradient_ascent, lambda s: -s.mean(s.nll)),
    "random_labels": (forget_cross_entropy, lambda s: s.mean(s.nll)),
    "ascent_kl": (partial(ascent_kl, weight=0.7), lambda s: -s.mean(s.nll) + 0.7 * s.kl()),
    "grad_diff": (
        partial(with_retain, gradient_ascent, 0.7),
        lambda s: -s.mean(s.nll) + 0.7 * s.mean(s.nll, forget=False),
    ),
    "spul": (
        partial(spul, alpha=0.7, beta=0.3),
        lambda s: s.mean(s.nll) + 0.7 * s.mean(s.nll, forget=False) + 0.3 * s.kl(),
    ),
    "npo": (partial(npo, beta=0.1), slow_npo),
    "simnpo": (partial(simnpo, beta=2.0, gamma=0.3), slow_simnpo),
    "dpo": (partial(dpo, beta=0.1), slow_dpo),
    "wga": (
        partial(weighted_ascent, saturation=1.0, importance=0.0),
        lambda s: s.mean(-(-s.nll).exp().detach() * s.nll),
    ),
    "satimp": (partial(weighted_ascent, saturation=5.0, importance=1.0), slow_satimp),
    "undial": (partial(undial, beta=10.0), slow_undial),
    "ceu": (ceu, slow_ceu),
    "rmu": (partial(rmu, control=torch.arange(8.0), alpha=3.0), slow_rmu),
    "flattening": (flattening, lambda s: s.mean((s.logits.max(-1).values - s.logits.mean(-1)) ** 2)),
}


@pytest.mark.parametrize("name", FAST_AND_SLOW)
def test_value_and_gradient_equal_float64(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objectives, "LOGITS", 70 * 5)  # five rows at a time
    torch.manual_seed(0)
    hidden, weight = torch.randn(24, 8, requires_grad=True), torch.randn(70, 8)
    columns = {
        "base_hidden": torch.randn(24, 8),
        "base_nll": 5 * torch.rand(24),
        "preferred": torch.arange(24) % 2 == 1,
    }
    row = [0] * 8 + [1] * 8 + [2] * 8
    here = at(hidden, torch.randint(0, 70, (24,)), torch.arange(24) < 16, row, **columns)
    fast, slow = FAST_AND_SLOW[name]
    loss = fast(here, head(weight), items(16, 8, 2))
    loss.backward()
    exact = hidden.detach().double().requires_grad_(True)
    table = weight.double().T
    wanted = slow(Slow(exact @ table, columns["base_hidden"].double() @ table, here, exact))
    wanted.backward()
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-4, abs=1e-6)
    torch.testing.assert_close(hidden.grad.double(), exact.grad, rtol=1e-3, atol=1e-5)


def test_a_step_without_forget_rows_is_zero_and_not_nan() -> None:
    torch.manual_seed(0)
    hidden = torch.randn(5, 8, requires_grad=True)
    columns = {
        "base_hidden": torch.randn(5, 8),
        "base_nll": torch.rand(5),
        "preferred": torch.zeros(5, dtype=torch.bool),
    }
    here = at(hidden, torch.randint(0, 70, (5,)), [False] * 5, **columns)
    for name, (fast, _) in FAST_AND_SLOW.items():
        loss = fast(here, head(torch.randn(70, 8)), items(0, 5, 0))
        assert math.isfinite(loss.item()), name
        if name not in ("ascent_kl", "grad_diff", "spul", "rmu"):  # which have a retain term
            assert loss.item() == 0, name
        loss.backward()
        assert hidden.grad.isfinite().all(), name


def test_without_rows_the_head_has_a_gradient_of_zero_too() -> None:
    # FSDP sums the gradients that exist, so they have to exist in every process
    own, base, none = head(torch.randn(70, 8)), head(torch.randn(70, 8)), torch.zeros(0, 8, requires_grad=True)
    ids = torch.zeros(0, dtype=torch.long)
    for loss in (
        objectives.summed_nll(none, ids, own),
        objectives.summed_kl(none, own, none.detach(), base),
    ):
        own.weight.grad = None
        loss.backward()
        assert loss == 0
        assert own.weight.grad is not None
        assert not own.weight.grad.any()


def test_cutting_a_step_into_micro_batches_changes_nothing() -> None:
    torch.manual_seed(0)
    output = head(torch.randn(50, 4))
    columns = {"base_hidden": torch.randn(10, 4), "base_nll": torch.rand(10), "preferred": torch.arange(10) % 2 == 1}
    row = [0, 0, 1, 1, 1, 2, 2, 2, 2, 2]
    here = at(torch.randn(10, 4), torch.randint(0, 50, (10,)), torch.arange(10) < 5, row, **columns)
    cuts = (torch.arange(10) < 2, torch.arange(10) >= 2)  # a row is never cut
    for objective in (cross_entropy, *(fast for name, (fast, _) in FAST_AND_SLOW.items() if name != "rmu")):
        whole = objective(here, output, items(5, 5, 2))
        parts = sum(objective(here.where(cut), output, items(5, 5, 2)) for cut in cuts)
        assert whole.item() == pytest.approx(parts.item(), rel=1e-5)
