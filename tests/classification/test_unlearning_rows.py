"""Unlearning rows: generic words where the task is to be forgotten, true labels elsewhere; what the base says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lethe.classification.dataset import read_task
from lethe.classification.prompts import answer_tokens, read_asking
from lethe.classification.unlearning_rows import unlearning_rows, with_share
from lethe.core.params import read_params
from lethe.core.tables import MASKED
from lethe.models.checkpoints import load_model, load_tokenizer
from lethe.unlearning.methods import chosen
from lethe.unlearning.reference import answer_columns
from stages import softprompt
from tests.conftest import set_param
from tests.task import GENERIC, LABELS, TEMPLATE, task_project

CPU = torch.device("cpu")


@pytest.fixture
def tiny(project: Path) -> Path:
    return task_project(project, "softprompt")


def test_forget_rows_want_a_generic_word_and_retain_rows_their_label(tiny: Path) -> None:
    params = read_params("softprompt", softprompt.Params)
    rows = read_task(tiny / "data/task.parquet")
    tokenizer, asking = load_tokenizer(tiny / "models/task"), read_asking(tiny / "models/task")
    found = unlearning_rows(tokenizer, asking, rows, chosen(params, 1, 0), params, params.generic, 64)
    words = answer_tokens(tokenizer, TEMPLATE, [*LABELS.values(), *GENERIC])
    answers = [tuple(next_ids[next_ids != MASKED].tolist()) for next_ids in found.next_ids]
    assert found.forget.tolist() == [True] * 8 + [False] * 8
    assert set(answers[:8]) == {tuple(words[word]) for word in GENERIC}
    assert answers[8:] == [tuple(words[LABELS[row.label]]) for row in rows if row.side == "retain"]


def test_a_share_of_the_forget_rows(tiny: Path) -> None:
    rows = read_task(tiny / "data/task.parquet")
    for share, wanted in ((1.0, 8), (0.5, 4), (0.01, 1)):
        kept = with_share(rows, share, 0)
        assert sum(row.side == "forget" for row in kept) == wanted
        assert sum(row.side == "retain" for row in kept) == 8
        assert [row.row for row in kept] == sorted(row.row for row in kept)


def test_answer_columns_hold_the_answers_positions_alone(tiny: Path) -> None:
    set_param(tiny, "softprompt.objective", "ascent_kl")
    params = read_params("softprompt", softprompt.Params)
    model = load_model(tiny / "models/task", CPU)
    tokenizer, asking = load_tokenizer(tiny / "models/task"), read_asking(tiny / "models/task")
    method = chosen(params, 32, 0)
    rows = unlearning_rows(tokenizer, asking, read_task(tiny / "data/task.parquet"), method, params, params.generic, 64)
    column = answer_columns(model, rows, method)["base_hidden"]
    row = 11
    length = int(rows.length[row])
    ids = torch.from_numpy(rows.tokens[row : row + 1, :length]).long()
    with torch.no_grad():
        wanted = model.model(input_ids=ids).last_hidden_state[0].numpy()
    supervised = np.flatnonzero(rows.next_ids[row] != MASKED)
    assert np.allclose(column[row][supervised], wanted[supervised], atol=1e-5)
    others = np.setdiff1d(np.arange(rows.tokens.shape[1]), supervised)
    assert not column[row][others].any()
    assert len(column) == 16
