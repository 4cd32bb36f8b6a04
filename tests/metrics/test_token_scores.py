"""Numbers per token: by hand through a head of three words, and against the whole logits of a model."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from lethe.core.errors import StageError
from lethe.metrics import token_scores as module
from lethe.metrics.token_scores import tokenwise
from lethe.models.checkpoints import load_model
from lethe.models.output_head import Head
from tests.conftest import tiny_model


def test_numbers_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    head = Head(SimpleNamespace(weight=torch.eye(3), bias=None))
    hidden = torch.tensor([[0.5, 0.25, 0.25]] * 3).log()  # the logits: a head of ones changes nothing
    # log p = (-0.6931, -1.3863, -1.3863); expected = 0.5 x -0.6931 + 0.5 x -1.3863 = -1.0397
    # mean of squares = 0.5 x 0.4805 + 0.5 x 1.9218 = 1.2011; deviation = sqrt(1.2011 - 1.0810) = 0.3466
    monkeypatch.setattr(module, "LOGITS", 6)  # two rows at a time, then one
    found = module._numbers(head, hidden, torch.tensor([1, 0, 2]))
    assert found.T[0].tolist() == pytest.approx([-1.3863, -1.0397, 0.3466, 0.0], abs=1e-4)
    assert found.T[1].tolist() == pytest.approx([-0.6931, -1.0397, 0.3466, 1.0], abs=1e-4)
    assert found.T[2].tolist() == pytest.approx(found.T[0].tolist(), abs=1e-4)  # one row at a time may round otherwise


def test_same_as_the_whole_logits_whatever_stands_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model(tiny_model(tmp_path), torch.device("cpu"))
    passages = [[0, 7, 9, 30, 31], [0, 12], [0, 5, 5, 80, 41, 2, 77]]
    monkeypatch.setattr(module, "BATCH_TOKENS", 14)  # two batches, the first of two rows
    for passage, found in zip(passages, tokenwise(model, passages), strict=True):
        with torch.inference_mode():
            logs = model(input_ids=torch.tensor([passage])).logits[0, :-1].double().log_softmax(dim=-1)
        true = torch.tensor(passage[1:])
        assert found.chosen.tolist() == pytest.approx(logs[range(len(true)), true].tolist(), abs=1e-4)
        assert found.expected.tolist() == pytest.approx((logs.exp() * logs).sum(dim=-1).tolist(), abs=1e-4)
        spread = ((logs.exp() * logs**2).sum(dim=-1) - (logs.exp() * logs).sum(dim=-1) ** 2).sqrt()
        assert found.deviation.tolist() == pytest.approx(spread.tolist(), abs=1e-3)
        assert found.hit.tolist() == (logs.argmax(dim=-1) == true).tolist()


def test_nan_anywhere_is_one_line(tmp_path: Path) -> None:
    model = load_model(tiny_model(tmp_path), torch.device("cpu"))
    model.model.embed_tokens.weight.data[80] = float("nan")  # one word only: two tokens would not show it
    with pytest.raises(StageError) as caught:
        tokenwise(model, [[0, 5], [0, 80, 5]])
    assert str(caught.value) == f"{tmp_path}: expected finite logits, got NaN; train it with a lower learning rate"


def test_nothing_to_read(tmp_path: Path) -> None:
    assert tokenwise(load_model(tiny_model(tmp_path), torch.device("cpu")), []) == []
