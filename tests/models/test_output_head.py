"""Output head: every architecture's logits, losses and labels are what its own forward pass gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy as plain_cross_entropy

from lethe.core.errors import StageError
from lethe.labels.exact_argmax import Forbidden, settle
from lethe.labels.generic_labels import Settings, label_rows, label_unsettled_rows
from lethe.models.checkpoints import load_model
from lethe.models.output_head import Finish, Head, check_head, decoder_layers, finish_of, headless, tapped
from lethe.training.forward import loss_at_head
from lethe.training.losses import Items, Positions, cross_entropy, token_nll
from tests.families import FAMILIES

CPU = torch.device("cpu")
CAUSAL = [kind for kind in FAMILIES if kind != "bert"]
Folder = Callable[[str], Path]


@pytest.mark.parametrize("kind", CAUSAL)
def test_loss_and_gradient_are_those_of_the_models_own_logits(family: Folder, kind: str) -> None:
    model = load_model(family(kind), CPU)
    ids = torch.randint(3, 300, (2, 9), generator=torch.Generator().manual_seed(0))
    wanted = ids.roll(-1, 1)
    logits = model(input_ids=ids, use_cache=False).logits.float()
    loss = plain_cross_entropy(logits.flatten(0, 1), wanted.flatten())
    parameter = next(decoder_layers(model)[0].parameters())
    (gradient,) = torch.autograd.grad(loss, parameter)

    def loss_of(hidden: torch.Tensor, head: Head) -> torch.Tensor:
        rows = torch.zeros(ids.numel(), dtype=torch.long)
        at = Positions(hidden.flatten(0, 1), wanted.flatten(), rows == 0, rows)
        count = Items(torch.tensor(ids.numel()), torch.tensor(0), torch.tensor(2))
        assert token_nll(*at[:2], head).mean().item() == pytest.approx(loss.item(), abs=1e-4)
        return cross_entropy(at, head, count)

    batch = {"tokens": ids, "attention_mask": torch.ones_like(ids)}
    found = loss_at_head(model, model, batch, None, loss_of)
    # the same numbers in another order of sums; a forgotten scale or cap moves the loss by 0.1 and more
    assert found.item() == pytest.approx(loss.item(), abs=1e-4)
    torch.testing.assert_close(torch.autograd.grad(found, parameter)[0], gradient, rtol=1e-3, atol=1e-5)
    with torch.no_grad(), headless(model) as head:
        torch.testing.assert_close(head(model(input_ids=ids, use_cache=False).logits), logits, rtol=0, atol=1e-4)
    with torch.no_grad(), tapped(model, 2) as taken:
        model(input_ids=ids, use_cache=False)
    assert taken[0].shape == (2, 9, 32)  # and not of a part that reads images
    assert torch.equal(model(input_ids=ids, use_cache=False).logits.float(), logits)  # all is as before


def test_scales_and_caps_are_found(family: Folder) -> None:
    found = {kind: finish_of(load_model(family(kind), CPU)) for kind in ("llama", "granite", "cohere2", "gemma2")}
    wanted = [Finish(), Finish(scale=0.125), Finish(scale=0.25), Finish(cap=5.0)]
    assert list(found.values()) == wanted
    # 5 tanh(2 * 3 / 5) = 4.168273
    assert float(Finish(2.0, 5.0)(torch.tensor(3.0))) == pytest.approx(4.168273, abs=1e-6)


@pytest.mark.parametrize("name", ["granite", "gemma2"])
def test_a_finish_under_another_name_is_refused(family: Folder, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lethe.models.output_head.DIVIDED", ())
    monkeypatch.setattr("lethe.models.output_head.CAPS", {"logits_soft_cap": 2.0**100})
    with pytest.raises(StageError, match=f"{name}: expected logits that are a linear function of the last hidden"):
        load_model(family(name), CPU)


def test_a_model_that_sees_what_follows_is_refused(family: Folder) -> None:
    with pytest.raises(StageError, match="bert: expected a causal language model"):
        load_model(family("bert"), CPU)


def test_a_model_that_cannot_read_text_is_one_line(family: Folder) -> None:
    model: Any = load_model(family("llama"), CPU)
    model.model.layers[0].mlp.gate_proj.weight = torch.nn.Parameter(torch.ones(3, 3))
    with pytest.raises(StageError, match="llama: expected logits after a few ids, got RuntimeError: mat1 and mat2"):
        check_head(model)


@pytest.mark.parametrize("finish", [Finish(), Finish(scale=0.125), Finish(scale=0.5, cap=1.5)])
def test_labels_of_a_finished_head_are_those_of_all_its_logits(finish: Finish) -> None:
    chance = torch.Generator().manual_seed(0)
    weights = [torch.randn(4000, 16, generator=chance) for _ in range(2)]
    first, second = (Head(SimpleNamespace(weight=weight, bias=None), finish) for weight in weights)
    hidden = torch.randn(40, 16, generator=chance), torch.randn(40, 16, generator=chance)
    nothing = torch.empty(0, dtype=torch.long)
    banned = Forbidden(nothing, nothing, torch.tensor([7, 9]))
    settings = Settings([0.0, 2.0], False, 1, 1 << 20)
    found = label_rows(*hidden, (first, second), banned, settings)
    assert torch.equal(found.ids, label_unsettled_rows(*hidden, (first, second), banned, settings).ids)
    settled = settle(*hidden, (first, second), banned, [0.0, 2.0], 40, exact=True).rows
    assert bool(settled.any()) == (finish.cap is None)  # a bound for linear heads says nothing of a cap
