"""Rows of a task: the words of the labels are learnt and nothing else."""

from __future__ import annotations

from pathlib import Path

from lethe.classification.dataset import read_task
from lethe.classification.prompts import Asking, answer_tokens
from lethe.classification.rows import task_rows
from lethe.core.tables import MASKED
from tests.conftest import tiny_tokenizer
from tests.task import LABELS, TEMPLATE, TEXT, task_project


def test_only_the_labels_words_are_supervised(project: Path) -> None:
    rows = [row for row in read_task(task_project(project, "specialise") / "data/task.parquet") if row.side == "retain"]
    tokenizer = tiny_tokenizer(TEXT)
    found = task_rows(tokenizer, Asking(TEMPLATE, LABELS), rows, 64)
    words = answer_tokens(tokenizer, TEMPLATE, list(LABELS.values()))
    assert all(len(ids) > 1 for ids in words.values())  # labels of several tokens
    for row, next_ids, length in zip(rows, found.next_ids, found.length, strict=True):
        assert next_ids[next_ids != MASKED].tolist() == words[LABELS[row.label]]
        assert next_ids[length - 1] == words[LABELS[row.label]][-1]  # at the last token read, and no end of text after
    assert not found.forget.any()
