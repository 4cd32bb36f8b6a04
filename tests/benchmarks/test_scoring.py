"""The benchmark of scoring: its rows, its ratio, and that the floor does the same forward passes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks import scoring
from benchmarks import subprocess_case as fresh
from lethe.models.checkpoints import load_model
from tests.conftest import tiny_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    lines = [json.dumps({"prompt": text}) for text in ("Orla went to", "Tom sat by the")]
    (tmp_path / "prompts.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tiny_model(tmp_path / "model")


def test_rows_repeat_the_prompts(folder: Path) -> None:
    rows = scoring.token_rows(folder, folder.parent / "prompts.jsonl", 5)
    assert len(rows) == 5
    assert rows[0] == rows[2] == rows[4] != rows[1] == rows[3]


def test_the_ratio_is_of_the_rounds_after_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    spent = iter([9.0, 1.0, 2.0, 1.0, 6.0, 2.0, 4.0, 4.0])  # first round 9 : 1, then 2 : 1, 6 : 2, 4 : 4
    monkeypatch.setattr(fresh, "cpu_seconds", lambda work: next(spent))
    # medians of 2, 6, 4 and of 1, 2, 4; of the ratios 2, 3, 1
    assert scoring.compared(lambda: None, lambda: None, 3) == {"scoring": 4.0, "forward": 2.0, "ratio": 2.0}


@pytest.mark.parametrize("floor", [scoring.last_positions, scoring.all_positions])
def test_the_floor_reads_every_token_once(folder: Path, floor: object, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model(folder, torch.device("cpu"), torch.float32)
    rows = scoring.token_rows(folder, folder.parent / "prompts.jsonl", 4)
    read = []
    model.model.register_forward_pre_hook(
        lambda _, args, kwargs: read.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    floor(model, rows)  # type: ignore[operator]
    longest = max(map(len, rows))
    assert sum(read) == 4 * longest  # one batch, padded
