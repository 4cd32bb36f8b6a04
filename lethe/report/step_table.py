"""The step table: every metric at step 0, at every checkpoint and at the end."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from lethe.evaluation.model_set import is_reference
from lethe.gate.metric_catalogue import number

Row = dict[str, Any]  # one model: step, model, then a number or None per metric

METRICS = {
    "completion_familiarity": "Familiarity (completion)",
    "probability_familiarity": "Familiarity (probability)",
    "leak": "Leak",
    "retain_perplexity": "Retain perplexity",
}


def step_rows(
    familiarity: Mapping[str, Any], benchmarks: Mapping[str, Any], last_step: int, distilled: int = 0
) -> list[Row]:
    """One row per measured model in the order of the steps, then the retrained model (the first of several).

    familiarity, benchmarks: the reports of these names. last_step: of the fine-tune. distilled: the steps of
    distillation after it.
    """
    ends = {"baseline": 0, "suppressed": last_step, "unlearned": last_step + distilled}
    tasks = list(benchmarks["items"])
    models = {*familiarity["models"], *benchmarks["models"]}
    models -= {name for name in models if is_reference(name) and name != "retrained"}
    rows = []
    for model in sorted(models, key=lambda name: _place(name, ends)):
        known, scores = familiarity["models"].get(model, {}), benchmarks["models"].get(model, {})
        row: Row = {"step": step_of(model, ends), "model": model}
        row |= {metric: known.get(metric) for metric in METRICS}
        rows.append(row | {task: scores.get(task) for task in tasks})
    return rows


def unlearning_steps(rows: Sequence[Row]) -> list[Row]:
    """The rows of reports/steps.csv: a plot over steps has no place for a model without a step."""
    return [row for row in rows if row["step"] is not None]


def step_of(model: str, ends: Mapping[str, int]) -> int | None:
    """The optimiser step that a model's name denotes, None if it is no step from baseline to unlearned.

    ends: the steps of baseline, suppressed and unlearned.
    """
    checkpoint = re.fullmatch(r"step-(\d+)", model)
    return int(checkpoint[1]) if checkpoint else ends.get(model)


def header(tasks: Sequence[str]) -> list[str]:
    """The columns of reports/steps.csv."""
    return ["step", "model", *METRICS, *tasks]


def transposed(rows: Sequence[Row]) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """The table as the paper prints it: a column per model, a line (name, cells) per metric.

    An empty cell means not measured.
    """
    titles = [row["model"] for row in rows]
    titles = [f"step {int(title[5:])}" if title.startswith("step-") else title for title in titles]
    names = METRICS | {task: task for task in tasks_of(rows)}
    return titles, [(name, [number(row[key]) for row in rows]) for key, name in names.items()]


def tasks_of(rows: Sequence[Row]) -> list[str]:
    """The benchmarks among the columns."""
    return [key for key in (rows[0] if rows else {}) if key not in ("step", "model", *METRICS)]


def _place(model: str, ends: Mapping[str, int]) -> tuple[int, int, str]:
    step = step_of(model, ends)
    return (1, 0, model) if step is None else (0, step, model)
