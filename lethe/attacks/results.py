"""Results of attacks as rows: each with its interval, and what the unlearned model gives beyond the retrained one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from lethe.evaluation.intervals import Interval, bootstrap, mean_interval, rate_interval

ATTACKS_HEADER = ("model", "attack", "setting", "metric", "item", "value")
EXCESS = "excess"  # stands under `model` in the row of unlearned less retrained
LEAKS = ("leak", "leak_any")
MODELS = ("baseline", "unlearned", "retrained")


class Finding(NamedTuple):
    """What one attack found in one model, item by item: yes or no, or a number between 0 and 1."""

    attack: str
    setting: str
    model: str
    metric: str
    values: Sequence[float]


def report_rows(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """A row for each finding in the order in which attacks were made, models side by side, then their excess."""
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
    """Wilson's interval for yes and no, the bootstrap's for numbers."""
    return rate_interval(values) if is_rate(values) else mean_interval(values)


def excess(unlearned: Sequence[float], retrained: Sequence[float]) -> Interval:
    """The mean of the one less that of the other: what the attack itself teaches a model is in both.

    Its interval: Newcombe's for two rates, the paired bootstrap's for numbers, as the items are the same.
    """
    if is_rate(unlearned):
        return rate_difference(rate_interval(unlearned), rate_interval(retrained))
    return bootstrap(mean_difference, unlearned, retrained, paired=True)


def rate_difference(one: Interval, other: Interval) -> Interval:
    """The difference of two rates with the interval of Newcombe 1998 (Statistics in Medicine 17, method 10).

    It puts the two Wilson intervals together, so that 0 of 100 against 0 of 100 is not `0 to 0`. It takes the samples
    as independent; the same prompts answer alike, so it is rather too wide.
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
    """Whether the values are yes and no."""
    return isinstance(values[0], bool)


def item_rows(findings: Sequence[Finding]) -> Iterator[dict[str, Any]]:
    """Rows of data/attacks.csv: every item's own value; yes is 1."""
    for attack, setting, model, metric, values in findings:
        for item, value in enumerate(values):
            shown = int(value) if isinstance(value, bool) else round(value, 6)
            yield {"model": model, "attack": attack, "setting": setting, "metric": metric, "item": item, "value": shown}


def sentence(rows: Sequence[Mapping[str, Any]]) -> str:
    """The one printed line: where the unlearned model leaks most beyond the retrained one.

    The most is what is so beyond doubt, the interval's lower end: one prompt of one says less than 30 of 40.
    """
    leaks = [row for row in rows if row["metric"] in LEAKS]
    excesses = [row for row in leaks if row["model"] == EXCESS]
    chosen = max(excesses or [row for row in leaks if row["model"] == "unlearned"], key=surely)
    keys = ("attack", "setting", "metric")
    same = {row["model"]: row for row in leaks if all(row[key] == chosen[key] for key in keys)}
    place = f"{chosen['attack']} ({chosen['setting']}): {chosen['metric'].replace('_', ' ')}"
    shown = ", ".join(f"{model} {same[model]['value']:.3f}" for model in MODELS if model in same)
    if not excesses:
        return f"attack: no retrained model; the unlearned one leaks most under {place} {shown}"
    if all(row["value"] <= 0 for row in excesses):
        return f"attack: in none of {len(excesses)} settings does the unlearned model leak more than the retrained one"
    beyond = f"{chosen['value']:.3f}"
    if chosen["low"] is not None:
        beyond += f" [{chosen['low']:.3f}, {chosen['high']:.3f}]"
    return f"attack: the unlearned model leaks most beyond the retrained one under {place} {shown}, excess {beyond}"


def surely(row: Mapping[str, Any]) -> tuple[float, float]:
    """Rows in the order of their intervals' lower ends; one without an interval comes first."""
    return (-1.0 if row["low"] is None else row["low"], row["value"])
