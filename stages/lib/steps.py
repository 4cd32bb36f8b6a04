"""The step table: what each number was at step 0, at every checkpoint and at the end, and the bars it has to meet."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

Row = dict[str, Any]  # one model: step, model, then a number or None per metric

METRICS = {
    "completion_familiarity": "Familiarity (completion)",
    "probability_familiarity": "Familiarity (probability)",
    "leak": "Leak",
    "retain_perplexity": "Retain perplexity",
}
NOT_MEASURED = "not measured"
LARGEST_REMAINDER = 0.10  # of the way from a model that never read the corpus to the baseline
LARGEST_PERPLEXITY = 1.10  # times the baseline's
LARGEST_DROP = 2.0  # points of benchmark accuracy


class Bar(NamedTuple):
    """One demand on the unlearned model. value and met are None where it could not be measured, and why."""

    name: str
    value: float | None
    most: float
    met: bool | None
    reason: str


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
    return titles, [(name, [cell(row[key]) for row in rows]) for key, name in names.items()]


def tasks_of(rows: Sequence[Row]) -> list[str]:
    """The benchmarks among the columns."""
    return [key for key in (rows[0] if rows else {}) if key not in ("step", "model", *METRICS)]


def cell(value: float | None) -> str:
    """A number of the table as text; a perplexity of thousands needs no decimals."""
    if value is None:
        return ""
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:.0f}"


def bars(familiarity: Mapping[str, Any], rows: Sequence[Row]) -> list[Bar]:
    """What is demanded of the unlearned model, what was found, and whether that is enough.

    familiarity: the content of reports/familiarity.json; rows: of step_rows.
    """
    ratio, reasons = familiarity["ratio"], familiarity["reasons"]
    found = [
        _bar(
            f"{METRICS[metric]}: (unlearned - retrained) / (baseline - retrained)",
            ratio[metric],
            LARGEST_REMAINDER,
            reasons.get(metric, NOT_MEASURED),
        )
        for metric in ("completion_familiarity", "probability_familiarity")
    ]
    rise, reason = ratio["retain_perplexity_factor"], reasons.get("retain_perplexity", NOT_MEASURED)
    found.append(_bar("Retain perplexity: unlearned / baseline", rise, LARGEST_PERPLEXITY, reason))
    models = {row["model"]: row for row in rows}
    return found + [_drop(task, models) for task in tasks_of(rows)]


def _drop(task: str, models: Mapping[str, Row]) -> Bar:
    before, after = (models.get(model, {}).get(task) for model in ("baseline", "unlearned"))
    points = None if before is None or after is None else 100 * (before - after)
    return _bar(f"{task}: baseline - unlearned, points", points, LARGEST_DROP, NOT_MEASURED)


def _bar(name: str, value: float | None, most: float, reason: str) -> Bar:
    if value is None:
        return Bar(name, None, most, None, reason)
    value = round(value, 4)  # so that 0.5 - 0.48 is 2 points and not a hair more
    return Bar(name, value, most, value <= most, "")


def _place(model: str, last_step: int) -> tuple[int, int, str]:
    step = step_of(model, last_step)
    return (1, 0, model) if step is None else (0, step, model)
