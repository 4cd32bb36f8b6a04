"""Results of attacks as rows with intervals, and the excess of the unlearned over the retrained model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from statistics import fmean
from typing import Any, NamedTuple

from lethe.evaluation.intervals import Interval, bootstrap, difference, mean_difference, mean_interval, rate_interval
from lethe.evaluation.model_set import is_reference

ATTACKS_HEADER = ("model", "attack", "setting", "metric", "item", "value")
EXCESS = "excess"  # the value of `model` in the rows of unlearned minus retrained
CURVE = "leak_curve"  # the metric of an attack with training as a whole
LEAKS = ("leak", "leak_any", CURVE)
MODELS = ("baseline", "suppressed", "unlearned", "retrained")


class Finding(NamedTuple):
    """The result of one attack on one model, item by item: booleans, or numbers between 0 and 1."""

    attack: str
    setting: str
    model: str
    metric: str
    values: Sequence[float]


def report_rows(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """A row for each finding in the order of the attacks, the models of a setting together, then their excess.

    The excess is of unlearned over the mean of the retrained models.
    """
    together: dict[tuple[str, str, str], dict[str, Sequence[float]]] = {}
    for attack, setting, model, metric, values in findings:
        together.setdefault((attack, setting, metric), {})[model] = values
    rows = []
    for (attack, setting, metric), models in together.items():
        references = [model for model in models if is_reference(model)]
        order = [*(model for model in MODELS if model in models), *references[1:]]
        found = {model: interval(models[model]) for model in order}
        if "unlearned" in models and references:
            found[EXCESS] = excess(models["unlearned"], [models[name] for name in references])
        for model, measure in found.items():
            rows.append({"attack": attack, "setting": setting, "model": model, "metric": metric} | measure.row())
    return rows


def interval(values: Sequence[float]) -> Interval:
    """Wilson's interval for booleans, the bootstrap's for numbers."""
    return rate_interval(values) if is_rate(values) else mean_interval(values)


def excess(unlearned: Sequence[float], references: Sequence[Sequence[float]]) -> Interval:
    """The mean less the mean over the retrained models; what the attack itself teaches a model is in both.

    Interval: Newcombe's for rates, the paired bootstrap's for numbers, because the items are the same.
    """
    if is_rate(unlearned):
        return difference(rate_interval(unlearned), averaged([rate_interval(values) for values in references]))
    means = [fmean(values) for values in zip(*references, strict=True)]
    return bootstrap(mean_difference, unlearned, means, paired=True)


def averaged(intervals: Sequence[Interval]) -> Interval:
    """The mean of rates of the same items, with the mean of both ends: no narrower than one model's interval."""
    value, low, high = (fmean(ends) for ends in zip(*(found[:3] for found in intervals), strict=True))
    return Interval(value, low, high, intervals[0].items)


def curve_values(points: Mapping[int, Sequence[float]]) -> list[float]:
    """Per prompt the mean leak over the steps of an attack, on a logarithmic scale of steps; by the trapezoidal rule.

    points: step -> whether each prompt leaks then. How soon a model gives in counts as much as whether it does.
    """
    steps = sorted(points)
    if len(steps) == 1:
        return [float(leak) for leak in points[steps[0]]]
    places = [math.log(step) for step in steps]
    halves = [(later - earlier) / 2 for earlier, later in pairwise(places)]
    weights = [before + after for before, after in zip([0.0, *halves], [*halves, 0.0], strict=True)]
    total = places[-1] - places[0]
    leaks = zip(*(points[step] for step in steps), strict=True)
    return [math.fsum(weight * leak for weight, leak in zip(weights, own, strict=True)) / total for own in leaks]


def is_rate(values: Sequence[float]) -> bool:
    """Whether the values are booleans."""
    return isinstance(values[0], bool)


def item_rows(findings: Sequence[Finding]) -> Iterator[dict[str, Any]]:
    """Rows of data/attacks.csv: the value of every item; True is 1."""
    for attack, setting, model, metric, values in findings:
        for item, value in enumerate(values):
            shown = int(value) if isinstance(value, bool) else round(value, 6)
            yield {"model": model, "attack": attack, "setting": setting, "metric": metric, "item": item, "value": shown}


def sentence(rows: Sequence[Mapping[str, Any]]) -> str:
    """The printed line: the setting with the largest excess leak over the retrained model.

    The largest is by the lower end of the interval: one prompt of one says less than 30 of 40.
    """
    leaks = [row for row in judged_rows(rows) if row["metric"] in LEAKS]
    excesses = [row for row in leaks if row["model"] == EXCESS]
    chosen = max(excesses or [row for row in leaks if row["model"] == "unlearned"], key=lower_end)
    keys = ("attack", "setting", "metric")
    same = {row["model"]: row for row in leaks if all(row[key] == chosen[key] for key in keys)}
    place = f"{chosen['attack']} ({chosen['setting']}): {chosen['metric'].replace('_', ' ')}"
    shown = ", ".join(f"{model} {same[model]['value']:.3f}" for model in MODELS if model in same)
    if not excesses:
        return f"attack: no retrained model; the unlearned model leaks most under {place} {shown}"
    if all(row["value"] <= 0 for row in excesses):
        return f"attack: no excess leak over the retrained model in any of {len(excesses)} settings"
    beyond = f"{chosen['value']:.3f}"
    if chosen["low"] is not None:
        beyond += f" [{chosen['low']:.3f}, {chosen['high']:.3f}]"
    return f"attack: largest excess leak over the retrained model under {place} {shown}, excess {beyond}"


def judged_rows(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rows by which a model is judged: of an attack with training the curve, not its single steps."""
    curves = {row["attack"] for row in rows if row["metric"] == CURVE}
    return [row for row in rows if row["metric"] == CURVE or row["attack"] not in curves]


def lower_end(row: Mapping[str, Any]) -> tuple[float, float]:
    """The sort key of a row: the lower end of its interval; rows without an interval come first."""
    return (-1.0 if row["low"] is None else row["low"], row["value"])
