"""Baseline, unlearned and retrained side by side: every metric and every attack, with intervals and differences."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from lethe.core.tables import COMPARED
from lethe.evaluation.intervals import mean_interval, rate_interval
from lethe.report.metric_catalogue import (
    ATTACKS,
    GROUPS,
    OTHER,
    UTILITY,
    Metric,
    attack_metric,
    benchmark,
    metric_of,
    number,
)
from lethe.report.release_gate import compared_rows, excess_of, lower_end

POINTS = {3: 5.0, 2: 1.0, 1: 0.0, 0: 0.0}  # of a graded completion: familiarity is their mean (the paper, section 3)

Numbers = dict[str, dict[str, Any]]  # model -> {"value", "low", "high", "items"}


class Line(NamedTuple):
    """One metric of the three models. places: model -> (low, value, high) in percent of the scale."""

    label: str
    better: str  # in words
    values: dict[str, str]  # model -> value as text
    intervals: dict[str, str]  # model -> `0.1 to 0.3`
    places: dict[str, tuple[float, float, float]]
    ends: tuple[str, str]  # of the scale
    items: str
    difference: tuple[str, str]  # as text, and what it is relative to


def groups(
    measures: Mapping[str, Any],
    familiarity: Mapping[str, Any],
    benchmarks: Mapping[str, Any],
    completions: Sequence[Mapping[str, Any]],
) -> list[tuple[str, list[Line]]]:
    """(title, lines) of every group of metrics that was measured; benchmarks are under utility."""
    found: dict[str, list[Line]] = {group: [] for group in GROUPS}
    for metric, numbers in (
        *((metric_of(name), numbers) for name, numbers in by_metric(judged(familiarity, completions)).items()),
        *((metric_of(name), numbers) for name, numbers in by_metric(measures["models"]).items()),
        *accuracies(benchmarks),
    ):
        found[metric.group].append(line(metric, numbers))
    return [(group, lines) for group, lines in found.items() if lines]


def by_metric(models: Mapping[str, Mapping[str, Any]]) -> dict[str, Numbers]:
    """Metric -> model -> numbers, from model -> metric -> numbers; only the three compared models."""
    found: dict[str, Numbers] = {}
    for model in COMPARED:
        for name, numbers in models.get(model, {}).items():
            if numbers["value"] is not None:
                found.setdefault(name, {})[model] = numbers
    return found


def judged(familiarity: Mapping[str, Any], completions: Sequence[Mapping[str, Any]]) -> dict[str, Numbers]:
    """Model -> metric -> numbers of reports/familiarity.json, with intervals for the means over prompts."""
    found: dict[str, Numbers] = {}
    for model, values in familiarity["models"].items():
        own = [row for row in completions if row["model"] == model]
        intervals = prompt_intervals(own) if model in COMPARED else {}
        plain = {"low": None, "high": None, "items": None}
        found[model] = {
            name: plain | intervals.get(name, {}) | {"value": value}
            for name, value in values.items()
            if isinstance(value, (int, float)) and not isinstance(value, bool)
        }
    return found


def prompt_intervals(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Intervals of the metrics that are means over prompts, from one model's rows of data/completions.jsonl."""
    grades = [row["grade"] for row in rows if row.get("grade") is not None]
    probabilities = [row["probability"] for row in rows if row.get("probability") is not None]
    found = {}
    if grades:
        found["completion_familiarity"] = mean_interval([POINTS[grade] for grade in grades]).row()
        found["leak"] = rate_interval([grade >= 2 for grade in grades]).row()
    if probabilities:
        found["probability_familiarity"] = mean_interval(probabilities).row()
    return found


def accuracies(benchmarks: Mapping[str, Any]) -> list[tuple[Metric, Numbers]]:
    """Every task with the Wilson interval of each model's accuracy."""
    found = []
    for task, items in benchmarks["items"].items():
        scores = {model: benchmarks["models"].get(model, {}).get(task) for model in COMPARED}
        right = {model: round(score * items) for model, score in scores.items() if score is not None}
        numbers = {
            model: rate_interval([True] * hits + [False] * (items - hits)).row() | {"value": scores[model]}
            for model, hits in right.items()
        }
        found.append((benchmark(task, benchmarks["chance"].get(task)), numbers))
    return found


def line(metric: Metric, numbers: Numbers) -> Line:
    """One metric of the three models as the page shows it."""
    values = {model: numbers[model]["value"] for model in COMPARED if model in numbers}
    low, high = scale([bound for found in numbers.values() for bound in ends(found)], metric.share)
    return Line(
        label=metric.label,
        better=direction(metric),
        values={model: number(value) for model, value in values.items()},
        intervals={model: interval(numbers[model]) for model in values},
        places={model: placed(ends(numbers[model]), values[model], low, high) for model in values},
        ends=(number(low), number(high)),
        items=items_of(numbers),
        difference=difference(metric, values),
    )


def ends(numbers: Mapping[str, Any]) -> tuple[float, float]:
    """The ends of an interval, or the value itself where there is none."""
    value = numbers["value"]
    low, high = numbers.get("low"), numbers.get("high")
    return (value if low is None else low, value if high is None else high)


def scale(bounds: Sequence[float], share: bool) -> tuple[float, float]:
    """The ends of the scale for these numbers: from zero, unless that would crowd them at one end."""
    low, high = min(bounds, default=0.0), max(bounds, default=1.0)
    low = min(0.0, low) if share or low < high / 2 else low
    return (low, high) if high > low else (low, low + 1)


def placed(bounds: tuple[float, float], value: float, low: float, high: float) -> tuple[float, float, float]:
    """(low, value, high) of an interval as percent of the scale."""
    start, middle, end = (round(100 * (at - low) / (high - low), 1) for at in (bounds[0], value, bounds[1]))
    return start, middle, end


def interval(numbers: Mapping[str, Any]) -> str:
    """The interval as text; empty where there is none."""
    if numbers.get("low") is None or numbers.get("high") is None:
        return ""
    return f"{number(numbers['low'])} to {number(numbers['high'])}"


def items_of(numbers: Numbers) -> str:
    """The number of items, if all models have the same; else empty."""
    counts = {found.get("items") for found in numbers.values()}
    return str(counts.pop()) if len(counts) == 1 and None not in counts else ""


def direction(metric: Metric) -> str:
    """The direction of a metric in words."""
    if metric.group == OTHER:
        return "direction unknown"
    words = {"less": "lower is better", "more": "higher is better", "neither": "best at the level of retrained"}
    return words[metric.better]


def difference(metric: Metric, values: Mapping[str, float]) -> tuple[str, str]:
    """The difference as text and what it is relative to: the share of knowledge that remains, or the utility lost."""
    after, before, never = values.get("unlearned"), values.get("baseline"), values.get("retrained")
    if after is None or metric.group == OTHER:
        return "", ""
    if metric.group == UTILITY:
        return ("", "") if before is None else (f"{after - before:+.3f}", "from baseline")
    if metric.better != "less" or never is None:
        return ("", "") if never is None or before is None else (f"{after - never:+.3f}", "from retrained")
    if before is not None and before - never > 0.001:
        return f"{(after - never) / (before - never):.0%}", "remaining"
    return f"{after - never:+.3f}", "from retrained"


class Setting(NamedTuple):
    """One setting of an attack. excess: unlearned minus retrained and its interval; empty if it does not apply."""

    name: str
    line: Line
    excess: tuple[str, str]


class Attack(NamedTuple):
    """One attack with all its settings. worst: the excess over retrained of its worst setting, None without any."""

    name: str
    worst: float | None
    where: str  # setting and metric of the worst
    width: float  # of a bar for the worst, percent of the longest
    settings: list[Setting]


def attacks_of(attacks: Mapping[str, Any]) -> list[Attack]:
    """The attacks in the order of their excess over the retrained model, by the lower end of its interval."""
    settings: dict[str, list[Setting]] = {}
    excesses: dict[str, list[tuple[float, float, str]]] = {}
    for (attack, setting, name), rows in compared_rows(attacks["attacks"]):
        metric = attack_metric(name, setting)
        numbers = {model: row for model, row in rows.items() if model in COMPARED and row["value"] is not None}
        found = excess_of(metric, rows)
        shown = ("", "") if found is None else (f"{found['value']:+.3f}", interval(found))
        settings.setdefault(attack, []).append(Setting(setting, line(metric, numbers), shown))
        if found is not None:
            excesses.setdefault(attack, []).append((lower_end(found), found["value"], f"{setting}: {metric.label}"))
    worst = {attack: max(values) for attack, values in excesses.items()}
    order = sorted(settings, key=lambda attack: -worst[attack][0] if attack in worst else float("inf"))
    longest = max((value for _, value, _ in worst.values()), default=0.0)
    return [_attack(attack, settings[attack], worst.get(attack), longest) for attack in order]


def _attack(name: str, settings: list[Setting], worst: tuple[float, float, str] | None, longest: float) -> Attack:
    value, where = (None, "") if worst is None else worst[1:]
    width = round(100 * max(0.0, value) / longest, 1) if value is not None and longest > 0 else 0.0
    return Attack(ATTACKS.get(name, name), value, where, width, settings)


def relearning(attacks: Mapping[str, Any]) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """Title -> model -> (steps, leak) of every attack that was run with several numbers of steps."""
    found: dict[str, dict[str, list[tuple[int, float]]]] = {}
    before = {}
    for (attack, setting, name), rows in compared_rows(attacks["attacks"]):
        if name != "leak":
            continue
        values = {model: row["value"] for model, row in rows.items() if model in COMPARED and row["value"] is not None}
        if attack == "none":
            before = values
        if steps := re.fullmatch(r"(.+), (\d+) steps?", setting):
            curves = found.setdefault(f"{ATTACKS.get(attack, attack)}: {steps[1]}", {})
            for model, value in values.items():
                curves.setdefault(model, [(0, before[model])] if model in before else []).append((int(steps[2]), value))
    return {title: curves for title, curves in found.items() if any(len(curve) > 2 for curve in curves.values())}
