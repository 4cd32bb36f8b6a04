"""Reference: the rows a method wants, and what the base says of them, computed once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lethe.core.tables import MASKED
from lethe.models.checkpoints import load_model, load_tokenizer
from lethe.training.losses import BASE_HIDDEN, cross_entropy
from lethe.training.rows import RowDataset, Rows, collate, joined, positions, supervised, true_next_ids
from lethe.unlearning import reference
from lethe.unlearning.methods import Method
from lethe.unlearning.objectives import BASE_NLL, PREFERRED
from tests.conftest import tiny_model

CPU = torch.device("cpu")
TOKENS = np.array([[1, 5, 6, 7], [1, 8, 9, 0]], dtype=np.int32)
LENGTH = np.array([4, 3], dtype=np.int32)
# row 0 has no generic label after its first token, row 1 none after its second
GENERIC = Rows(TOKENS, np.array([[MASKED, 50, 51, 52], [60, MASKED, 61, MASKED]], dtype=np.int32), LENGTH, LENGTH > 0)


def some_rows(count: int = 6, width: int = 8) -> Rows:
    generator = np.random.default_rng(0)
    tokens = generator.integers(3, 200, (count, width), dtype=np.int32)
    length = generator.integers(4, width + 1, count, dtype=np.int32)
    return Rows(tokens, true_next_ids(tokens, length), length, np.arange(count) < count // 2)


def test_labels_by_hand() -> None:
    assert reference.forget_rows(GENERIC, "generic", 100, 0) is GENERIC
    true = [[5, 6, 7, MASKED], [8, 9, MASKED, MASKED]]
    assert reference.forget_rows(GENERIC, "true", 100, 0).next_ids.tolist() == true
    drawn = reference.forget_rows(GENERIC, "random", 100, 0).next_ids
    assert ((drawn == MASKED) == (np.array(true) == MASKED)).all()
    assert ((drawn >= 0) & (drawn < 100))[drawn != MASKED].all()
    assert (drawn == reference.forget_rows(GENERIC, "random", 100, 0).next_ids).all()
    assert (drawn != reference.forget_rows(GENERIC, "random", 100, 1).next_ids).any()


def test_pairs_by_hand() -> None:
    pairs = reference.forget_rows(GENERIC, "pairs", 100, 0)
    # only where both are: row 0 at 1 and 2, row 1 at 0; the true tokens first, then the generic ones to be preferred
    assert pairs.next_ids.tolist() == [
        [MASKED, 6, 7, MASKED],
        [MASKED, 50, 51, MASKED],
        [8, MASKED, MASKED, MASKED],
        [60, MASKED, MASKED, MASKED],
    ]
    assert pairs.tokens.tolist() == [*[TOKENS[0].tolist()] * 2, *[TOKENS[1].tolist()] * 2]
    assert pairs.columns[PREFERRED][:, 0].tolist() == [False, True, False, True]


def test_a_pair_is_one_item_and_stays_together() -> None:
    retain = some_rows(3, 4)._replace(forget=np.zeros(3, dtype=bool))
    rows = joined(reference.forget_rows(GENERIC, "pairs", 100, 0), retain)
    data = RowDataset(rows)
    assert len(data) == 5  # two pairs and three retain rows
    batch = collate([data[1], data[3]])
    assert batch["tokens"][:2, :3].tolist() == [TOKENS[1, :3].tolist()] * 2
    assert batch["item"].tolist() == [0, 0, 1]
    assert supervised(batch).tolist() == [2, int(retain.length[1]) - 1, 1]
    at = positions(batch, torch.zeros(*batch["tokens"].shape, 2))
    assert at.row[at.forget].tolist() == [0, 0]
    assert at.columns[PREFERRED][at.forget].tolist() == [False, True]
    assert not at.columns[PREFERRED][~at.forget].any()


def test_unknown_pairs_answer_after_half_of_the_row(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(tiny_model(tmp_path / "m"))
    rows = some_rows(4, 64)._replace(length=np.full(4, 64, dtype=np.int32))
    pairs = reference.unknown_pairs(rows, tokenizer, seed=0)
    for i in range(4):
        other, preferred = 2 * i, 2 * i + 1
        assert (pairs.tokens[other] == rows.tokens[i]).all()
        # the token at 31 tells that at 32: supervised from there to the last but one
        assert np.flatnonzero(pairs.next_ids[other] != MASKED).tolist() == list(range(31, 63))
        half = int(np.flatnonzero(pairs.next_ids[preferred] != MASKED)[0]) + 1
        answer = pairs.tokens[preferred, half : pairs.length[preferred]]
        assert tokenizer.decode(answer) in reference.UNKNOWN
        assert (pairs.tokens[preferred, :half] == rows.tokens[i, :half]).all()
        assert pairs.next_ids[preferred, half - 1 : pairs.length[preferred] - 1].tolist() == answer.tolist()


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
