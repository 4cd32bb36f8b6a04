"""Rows: the labels that a method wants, and pairs that stay together."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from lethe.core.corpus import only_trained
from lethe.core.tables import MASKED
from lethe.models.checkpoints import load_tokenizer
from lethe.training.losses import TARGET_IDS, TARGET_PROBABILITIES
from lethe.training.rows import RowDataset, Rows, collate, joined, positions, supervised
from lethe.unlearning.objectives import PREFERRED
from lethe.unlearning.rows import UNKNOWN, forget_rows, labelled_rows, unknown_pairs, with_soft_targets
from tests.conftest import tiny_model
from tests.unlearning.test_reference import some_rows

TOKENS = np.array([[1, 5, 6, 7], [1, 8, 9, 0]], dtype=np.int32)

LENGTH = np.array([4, 3], dtype=np.int32)

# row 0 has no generic label after its first token, row 1 none after its second
GENERIC = Rows(TOKENS, np.array([[MASKED, 50, 51, 52], [60, MASKED, 61, MASKED]], dtype=np.int32), LENGTH, LENGTH > 0)


def test_labels_by_hand() -> None:
    assert forget_rows(GENERIC, "generic", 100, 0) is GENERIC
    true = [[5, 6, 7, MASKED], [8, 9, MASKED, MASKED]]
    assert forget_rows(GENERIC, "true", 100, 0).next_ids.tolist() == true
    drawn = forget_rows(GENERIC, "random", 100, 0).next_ids
    assert ((drawn == MASKED) == (np.array(true) == MASKED)).all()
    assert ((drawn >= 0) & (drawn < 100))[drawn != MASKED].all()
    assert (drawn == forget_rows(GENERIC, "random", 100, 0).next_ids).all()
    assert (drawn != forget_rows(GENERIC, "random", 100, 1).next_ids).any()


def test_what_is_not_to_be_learnt_has_no_target_with_any_labels() -> None:
    trained = np.array([[False, False, True, True], [False, True, False, True]])  # of the tokens
    rows = GENERIC._replace(next_ids=only_trained(GENERIC.next_ids, trained), trained=trained)
    assert rows.next_ids.tolist() == [[MASKED, 50, 51, MASKED], [60, MASKED, 61, MASKED]]
    true = [[MASKED, 6, 7, MASKED], [8, MASKED, MASKED, MASKED]]
    assert forget_rows(rows, "true", 100, 0).next_ids.tolist() == true
    drawn = forget_rows(rows, "random", 100, 0).next_ids
    assert ((drawn == MASKED) == (np.array(true) == MASKED)).all()
    both = forget_rows(rows, "pairs", 100, 0).next_ids[::2]
    assert both.tolist() == [[MASKED, 6, 7, MASKED], [8, MASKED, MASKED, MASKED]]


def test_a_soft_target_inside_a_name_trains_its_position() -> None:
    ids = np.array([[[30, 31]] * 4, [[40, 41]] * 4], dtype=np.int32)
    shares = np.zeros((2, 4, 2), dtype=np.float16)
    shares[0, :2] = shares[1, 1:] = (0.75, 0.25)
    found = with_soft_targets(GENERIC, {TARGET_IDS: ids, TARGET_PROBABILITIES: shares})
    # row 0 at its first token, row 1 at its second; the last real token predicts nothing, and padding never trains
    assert found.next_ids.tolist() == [[30, 50, 51, 52], [60, 40, 61, MASKED]]
    assert found.next_ids.dtype == np.int32
    assert found.columns[TARGET_IDS] is ids


def test_random_labels_are_ids_that_the_model_has(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path)
    tokenizer = load_tokenizer(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": 3}))
    random = SimpleNamespace(labels="random")
    drawn: Rows = labelled_rows(GENERIC, None, random, tokenizer, folder, 0)  # type: ignore[arg-type]
    assert drawn.next_ids.max() < 3


def test_pairs_by_hand() -> None:
    pairs = forget_rows(GENERIC, "pairs", 100, 0)
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
    rows = joined(forget_rows(GENERIC, "pairs", 100, 0), retain)
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
    pairs = unknown_pairs(rows, tokenizer, seed=0)
    for i in range(4):
        other, preferred = 2 * i, 2 * i + 1
        assert (pairs.tokens[other] == rows.tokens[i]).all()
        # the token at 31 tells that at 32: supervised from there to the last but one
        assert np.flatnonzero(pairs.next_ids[other] != MASKED).tolist() == list(range(31, 63))
        half = int(np.flatnonzero(pairs.next_ids[preferred] != MASKED)[0]) + 1
        answer = pairs.tokens[preferred, half : pairs.length[preferred]]
        assert tokenizer.decode(answer) in UNKNOWN
        assert (pairs.tokens[preferred, :half] == rows.tokens[i, :half]).all()
        assert pairs.next_ids[preferred, half - 1 : pairs.length[preferred] - 1].tolist() == answer.tolist()
