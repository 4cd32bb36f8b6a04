"""Results of attacks as rows with intervals, and the excess of the unlearned over the retrained model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from lethe.evaluation.intervals import Interval, bootstrap, mean_interval, rate_interval

ATTACKS_HEADER = ("model", "attack", "setting", "metric", "item", "value")
EXCESS = "excess"  # the value of `model` in the rows of unlearned minus retrained
LEAKS = ("leak", "leak_any")
MODELS = ("baseline", "unlearned", "retrained")


class Finding(NamedTuple):
    """The result of one attack on one model, item by item: booleans, or numbers between 0 and 1."""

    attack: str
    setting: str
    model: str
    metric: str
    values: Sequence[float]


def report_rows(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """A row for each finding in the order of the attacks, the models of a setting together, then their excess."""
    together: dict[tuple[str, str, str], dict[str, Sequence[float]]] = {}
    for attack, setting, model, metric, values in findings:
        together.setdefault((attack, setting, metric), {})[model] = values
    rows = []
    for (attack, setting, metric), models in together.items():
        found = {model: interval(models[model]) for model in MODELS if model in models}
        if "unlearned" in models and "retrained" in models:
            found[EXCESS] = excess(models["unlearned"], models["retrained"])
        for model, measure in found.items():
            rows.append({"attack": attack, "setting": setting, "model": model, "metric": metric} | measure.row())
    return rows


def interval(values: Sequence[float]) -> Interval:
    """Wilson's interval for booleans, the bootstrap's for numbers."""
    return rate_interval(values) if is_rate(values) else mean_interval(values)


def excess(unlearned: Sequence[float], retrained: Sequence[float]) -> Interval:
    """The difference of the means; what the attack itself teaches a model is in both.

    Interval: Newcombe's for two rates, the paired bootstrap's for numbers, because the items are the same.
    """
    if is_rate(unlearned):
        return rate_difference(rate_interval(unlearned), rate_interval(retrained))
    return bootstrap(mean_difference, unlearned, retrained, paired=True)


def rate_difference(one: Interval, other: Interval) -> Interval:
    """The difference of two rates with the interval of Newcombe 1998 (Statistics in Medicine 17, method 10).

    It combines the two Wilson intervals, so that 0 of 100 against 0 of 100 is not `0 to 0`. It assumes independent
    samples; the same prompts are correlated, so the interval is conservative.
    """
    difference = one.value - other.value
    if one.low is None or one.high is None or other.low is None or other.high is None:
        return Interval(difference, None, None, min(one.items, other.items))
    below = math.hypot(one.value - one.low, other.high - other.value)
    above = math.hypot(one.high - one.value, other.value - other.low)
    return Interval(difference, difference - below, difference + above, min(one.items, other.items))


def mean_difference(one: Any, other: Any, axis: int) -> Any:
    """mean(one) - mean(other) along an axis of numpy arrays."""
    return one.mean(axis=axis) - other.mean(axis=axis)


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
    leaks = [row for row in rows if row["metric"] in LEAKS]
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


def lower_end(row: Mapping[str, Any]) -> tuple[float, float]:
    """The sort key of a row: the lower end of its interval; rows without an interval come first."""
    return (-1.0 if row["low"] is None else row["low"], row["value"])
