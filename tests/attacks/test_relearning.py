"""Training as an attack: sampled passages, a curve, and the model as it was afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lethe.attacks.relearning import curve, passage_rows, restored
from lethe.core.errors import StageError
from lethe.core.params import read_params
from lethe.models.checkpoints import load_model
from tests.conftest import TINY_TEXT, tiny_model, tiny_tokenizer

STEPS = [1, 3]


def recipe(tuning: str) -> Any:
    from lethe.attacks.suite import recipe
    from stages.attack import Params

    params = read_params("attack", Params)
    return recipe(params, params.lora if tuning == "lora" else params.relearn, 2)


def test_passages_are_whole_and_fewer_are_among_more() -> None:
    found = [passage_rows(tiny_tokenizer(), [TINY_TEXT * 3], 16, count, "forget", 0) for count in (2, 5)]
    assert [rows.tokens.shape for rows in found] == [(2, 16), (5, 16)]
    assert found[1].tokens[:2].tolist() == found[0].tokens.tolist()
    assert found[0].length.tolist() == [16, 16]
    assert found[0].forget.all()
    assert not passage_rows(tiny_tokenizer(), [TINY_TEXT], 16, 1, "retain", 0).forget.any()


def test_too_few_passages() -> None:
    with pytest.raises(StageError) as caught:
        passage_rows(tiny_tokenizer(), ["Orla went to Harrow Hill."], 4, 64, "forget", 0)
    assert str(caught.value).startswith("params.yaml: attack: expected 64 forget passages of 4 tokens, got ")
    assert str(caught.value).endswith("; lower passages or training.passage_tokens")


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_curve_changes_the_model_and_puts_it_back(project: Path, tuning: str) -> None:
    model = load_model(tiny_model(project / "model"), torch.device("cpu"))
    ids = torch.tensor([[0, 70, 71, 72]])

    def logits() -> torch.Tensor:
        assert not model.training
        with torch.inference_mode():
            return model(ids).logits.clone()

    before, names = logits(), [name for name, _ in model.named_parameters()]
    rows = passage_rows(tiny_tokenizer(), [TINY_TEXT], 16, 2, "forget", 0)
    found = curve(model, rows, recipe(tuning), STEPS, logits, project / "work", "test")
    assert list(found) == STEPS
    assert not torch.equal(found[1], before)
    assert not torch.equal(found[3], found[1])
    assert torch.equal(logits(), before)
    assert [name for name, _ in model.named_parameters()] == names  # no adapter is left
    assert all(weight.grad is None for weight in model.parameters())
    early = curve(model, rows, recipe(tuning), [1], logits, project / "work", "test")
    assert torch.equal(early[1], found[1])  # a point of the curve is an attack of so many steps


def test_restored_after_an_error(project: Path) -> None:
    model = load_model(tiny_model(project / "model"), torch.device("cpu"))
    before = model.lm_head.weight.clone()
    with pytest.raises(ZeroDivisionError), restored(model):  # noqa: PT012 -- what happens before it raises is the test
        model.lm_head.weight.data.zero_()
        model.lm_head.weight = torch.nn.Parameter(torch.ones_like(before))
        model.forward = lambda: None
        raise ZeroDivisionError
    assert torch.equal(model.lm_head.weight, before)
    assert "forward" not in vars(model)
