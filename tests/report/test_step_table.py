"""The step table, by hand."""

from __future__ import annotations

from typing import Any

import pytest

from lethe.report import step_table as steps

MEASURED = {
    #             completion, probability, leak, retain perplexity
    "baseline": (3.0, 0.5, 0.8, 4.0),
    "retrained": (1.0, 0.1, 0.0, 4.1),
    "step-00020": (1.5, 0.3, 0.2, 4.2),
    "step-00005": (2.0, 0.4, 0.4, 4.1),
    "unlearned": (1.2, 0.18, 0.1, 4.4),
}
FAMILIARITY: dict[str, Any] = {
    "models": {model: dict(zip(steps.METRICS, numbers, strict=True)) for model, numbers in MEASURED.items()},
}
BENCHMARKS: dict[str, Any] = {
    "items": {"local_order": 500},
    "models": {"baseline": {"local_order": 0.5}, "unlearned": {"local_order": 0.48}},
}


def test_rows_go_from_step_0_to_the_last_with_retrained_beside() -> None:
    rows = steps.step_rows(FAMILIARITY, BENCHMARKS, last_step=30)
    assert [(row["step"], row["model"]) for row in rows] == [
        (0, "baseline"), (5, "step-00005"), (20, "step-00020"), (30, "unlearned"), (None, "retrained"),
    ]  # fmt: skip
    assert rows[0] == {
        "step": 0, "model": "baseline", "completion_familiarity": 3.0, "probability_familiarity": 0.5, "leak": 0.8,
        "retain_perplexity": 4.0, "local_order": 0.5,
    }  # fmt: skip
    assert rows[1]["local_order"] is None  # benchmark.models leaves the checkpoints out
    assert list(rows[0]) == steps.header(["local_order"])


def test_turned_is_the_paper_s_figure() -> None:
    titles, lines = steps.transposed(steps.step_rows(FAMILIARITY, BENCHMARKS, last_step=30))
    assert titles == ["baseline", "step 5", "step 20", "unlearned", "retrained"]
    assert lines == [
        ("Familiarity (completion)", ["3.000", "2.000", "1.500", "1.200", "1.000"]),
        ("Familiarity (probability)", ["0.500", "0.400", "0.300", "0.180", "0.100"]),
        ("Leak", ["0.800", "0.400", "0.200", "0.100", "0.000"]),
        ("Retain perplexity", ["4.000", "4.100", "4.200", "4.400", "4.100"]),
        ("local_order", ["0.500", "", "", "0.480", ""]),
    ]


def test_distillation_comes_after_the_fine_tune() -> None:
    models = {"suppressed": MEASURED["unlearned"], "retrained-2": MEASURED["retrained"], **MEASURED}
    familiarity = {"models": {name: dict(zip(steps.METRICS, numbers, strict=True)) for name, numbers in models.items()}}
    rows = steps.step_rows(familiarity, BENCHMARKS, last_step=30, distilled=50)
    assert [(row["step"], row["model"]) for row in rows] == [
        (0, "baseline"), (5, "step-00005"), (20, "step-00020"), (30, "suppressed"), (80, "unlearned"),
        (None, "retrained"),
    ]  # fmt: skip
    assert steps.transposed(rows)[0] == ["baseline", "step 5", "step 20", "suppressed", "unlearned", "retrained"]


def test_an_empty_table() -> None:
    rows = steps.step_rows({"models": {}}, {"items": {}, "models": {}}, last_step=30)
    assert rows == []
    titles, lines = steps.transposed(rows)
    assert titles == []
    assert [cells for _, cells in lines] == [[], [], [], []]


@pytest.mark.parametrize(
    ("model", "step"),
    [("baseline", 0), ("unlearned", 30), ("step-00005", 5), ("step-12345", 12345), ("retrained", None), ("step", None)],
)
def test_step_of(model: str, step: int | None) -> None:
    assert steps.step_of(model, {"baseline": 0, "unlearned": 30}) == step
