"""The step table: what each number was at step 0, at every checkpoint and at the end."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from lethe.report.metric_catalogue import number

Row = dict[str, Any]  # one model: step, model, then a number or None per metric

METRICS = {
    "completion_familiarity": "Familiarity (completion)",
    "probability_familiarity": "Familiarity (probability)",
    "leak": "Leak",
    "retain_perplexity": "Retain perplexity",
}


def step_rows(familiarity: Mapping[str, Any], benchmarks: Mapping[str, Any], last_step: int) -> list[Row]:
    """One row per measured model in the order of the steps, then the models that are no step (retrained).

    familiarity, benchmarks: the content of the reports of these names. last_step: the step of the unlearned model.
    """
    tasks = list(benchmarks["items"])
    models = {*familiarity["models"], *benchmarks["models"]}
    rows = []
    for model in sorted(models, key=lambda name: _place(name, last_step)):
        known, scores = familiarity["models"].get(model, {}), benchmarks["models"].get(model, {})
        row: Row = {"step": step_of(model, last_step), "model": model}
        row |= {metric: known.get(metric) for metric in METRICS}
        rows.append(row | {task: scores.get(task) for task in tasks})
    return rows


def on_the_way(rows: Sequence[Row]) -> list[Row]:
    """The rows of reports/steps.csv: a plot has no place for a model without a step."""
    return [row for row in rows if row["step"] is not None]


def step_of(model: str, last_step: int) -> int | None:
    """The optimiser step a model's name stands for, None if it is not on the way from baseline to unlearned."""
    named = {"baseline": 0, "unlearned": last_step}
    checkpoint = re.fullmatch(r"step-(\d+)", model)
    return int(checkpoint[1]) if checkpoint else named.get(model)


def header(tasks: Sequence[str]) -> list[str]:
    """The columns of reports/steps.csv."""
    return ["step", "model", *METRICS, *tasks]


def turned(rows: Sequence[Row]) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """The table as the paper prints it: a column per model, a line (name, cells) per metric.

    An empty cell was not measured.
    """
    titles = [row["model"] if row["step"] is None else f"step {row['step']}" for row in rows]
    names = METRICS | {task: task for task in tasks_of(rows)}
    return titles, [(name, [number(row[key]) for row in rows]) for key, name in names.items()]


def tasks_of(rows: Sequence[Row]) -> list[str]:
    """The benchmarks among the columns."""
    return [key for key in (rows[0] if rows else {}) if key not in ("step", "model", *METRICS)]


def _place(model: str, last_step: int) -> tuple[int, int, str]:
    step = step_of(model, last_step)
    return (1, 0, model) if step is None else (0, step, model)
