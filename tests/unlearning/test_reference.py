"""Reference: the rows a method wants, and what the base says of them, computed once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lethe.core.tables import MASKED
from lethe.models.checkpoints import load_model
from lethe.training.losses import BASE_HIDDEN, cross_entropy
from lethe.training.rows import Rows, true_next_ids
from lethe.unlearning import reference
from lethe.unlearning.methods import Method
from lethe.unlearning.objectives import BASE_NLL
from tests.conftest import tiny_model

CPU = torch.device("cpu")


def some_rows(count: int = 6, width: int = 8) -> Rows:
    generator = np.random.default_rng(0)
    tokens = generator.integers(3, 200, (count, width), dtype=np.int32)
    length = generator.integers(4, width + 1, count, dtype=np.int32)
    return Rows(tokens, true_next_ids(tokens, length), length, np.arange(count) < count // 2)


@pytest.mark.parametrize("layer", [None, 1, 2])
def test_base_hidden_is_the_models_own_of_one_side(tmp_path: Path, layer: int | None) -> None:
    model, rows = load_model(tiny_model(tmp_path / "m"), CPU), some_rows()
    method = Method(cross_entropy, "true", True, base_hidden="retain", layer=layer)
    column = reference.with_base(model, rows, method, bfloat16=False, folder=tmp_path).columns[BASE_HIDDEN]
    assert (column[:3] == 0).all()  # forget rows
    for i in range(3, 6):
        ids = torch.tensor(rows.tokens[i, : rows.length[i]]).unsqueeze(0)
        with torch.no_grad():
            states = model.model(input_ids=ids, output_hidden_states=True)
            # transformers' last hidden state is normed, as the head gets it; layer 2's own output is not
            wanted = states.last_hidden_state if layer is None else plain_layer(model, ids, layer)
        torch.testing.assert_close(torch.tensor(column[i, : rows.length[i]]), wanted[0], rtol=1e-4, atol=1e-5)


def plain_layer(model: torch.nn.Module, ids: torch.Tensor, layer: int) -> torch.Tensor:
    taken = []
    hook = model.model.layers[layer - 1].register_forward_hook(lambda module, inputs, output: taken.append(output))
    model(input_ids=ids)
    hook.remove()
    return taken[0]


def test_base_nll_by_plain_cross_entropy_and_read_back_the_second_time(tmp_path: Path) -> None:
    model, rows = load_model(tiny_model(tmp_path / "m"), CPU), some_rows()
    method = Method(cross_entropy, "true", False, base_nll=True)
    column = reference.with_base(model, rows, method, bfloat16=False, folder=tmp_path).columns[BASE_NLL]
    for i in range(3):
        ids = torch.tensor(rows.tokens[i, : rows.length[i]], dtype=torch.long).unsqueeze(0)
        with torch.no_grad():
            logits = model(input_ids=ids).logits[0, :-1]
        wanted = torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="none")
        torch.testing.assert_close(torch.tensor(column[i, : len(wanted)]), wanted, rtol=1e-4, atol=1e-5)
    assert (column[3:] == 0).all()
    again = reference.with_base(None, rows, method, bfloat16=False, folder=tmp_path)  # type: ignore[arg-type]
    assert (again.columns[BASE_NLL] == column).all()


def test_a_method_without_reference_computes_and_writes_nothing(tmp_path: Path) -> None:
    rows = some_rows()
    found = reference.with_base(None, rows, Method(cross_entropy, "true", True), False, tmp_path)  # type: ignore[arg-type]
    assert dict(found.columns) == {}
    assert not list(tmp_path.iterdir())


def test_at_answers_by_hand() -> None:
    column = reference.AtAnswers(np.array([[MASKED, 5, 6], [7, MASKED, MASKED]]), (1,))
    column.values[:] = [[1.0], [2.0], [3.0]]
    assert column[0].tolist() == [[0.0], [1.0], [2.0]]
    assert column[1].tolist() == [[3.0], [0.0], [0.0]]
