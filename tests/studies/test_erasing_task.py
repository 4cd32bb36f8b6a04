"""The study of erasing after SPUL's objective: its table by hand, and that its parameters are valid; no run here."""

from __future__ import annotations

import shutil
from pathlib import Path

from lethe.preflight.check import problems_of
from studies import erasing_task as study
from tests.conftest import ROOT
from tools.sandbox import change_params


def test_the_parameters_are_valid(tmp_path: Path) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    change_params(tmp_path, study.SUPPRESSED | study.ERASED)
    assert problems_of(tmp_path / "params.yaml") == problems_of(ROOT / "params.yaml")


def test_the_table_has_means_over_seeds() -> None:
    rows = [
        {"seed": seed, "model": "erased", "steps": steps, "forget": forget, "retain": 0.8 + seed / 10}
        for seed, found in ((0, (0.5, 0.7, 0.9)), (1, (0.6, 0.8, 1.0)))
        for steps, forget in zip(study.RELEARN, found, strict=True)
    ]
    assert study.table(rows).splitlines() == [
        "| model | forget, 0 steps | forget, 5 steps | forget, 20 steps | retain |",
        "|---|---|---|---|---|",
        "| erased | 0.550 | 0.750 | 0.950 | 0.850 |",
    ]
