"""Baseline, unlearned and retrained side by side: every metric and every attack, with intervals and differences."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from lethe.attacks.results import judged_rows
from lethe.core.tables import COMPARED
from lethe.gate import explanations
from lethe.gate.evidence import compared_rows, counts, of_items
from lethe.gate.explanations import NOTHING, Explained
from lethe.gate.metric_catalogue import (
    ATTACKS,
    FLUENCY,
    GROUPS,
    OTHER,
    UTILITY,
    Metric,
    attack_metric,
    benchmark,
    metric_of,
    number,
)

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
    about: Explained


def groups(
    measures: Mapping[str, Any],
    familiarity: Mapping[str, Any],
    benchmarks: Mapping[str, Any],
) -> list[tuple[str, list[Line]]]:
    """(title, lines) of every group of metrics that was measured; benchmarks are under utility."""
    found: dict[str, list[Line]] = {group: [] for group in GROUPS}
    for models in (judged(familiarity), measures["models"], written(familiarity)):
        for name, numbers in by_metric(models).items():
            metric = metric_of(name)
            found[metric.group].append(line(metric, numbers, explanations.of_metric(name)))
    for task, metric, numbers in accuracies(benchmarks):
        found[metric.group].append(line(metric, numbers, explanations.of_task(task)))
    return [(group, lines) for group, lines in found.items() if lines]


def by_metric(models: Mapping[str, Mapping[str, Any]]) -> dict[str, Numbers]:
    """Metric -> model -> numbers, from model -> metric -> numbers; only the three compared models."""
    found: dict[str, Numbers] = {}
    for model in COMPARED:
        for name, numbers in models.get(model, {}).items():
            if numbers["value"] is not None:
                found.setdefault(name, {})[model] = numbers
    return found


def written(familiarity: Mapping[str, Any]) -> Mapping[str, Any]:
    """Model -> metric -> numbers of fluency; empty in a report of an earlier version."""
    return familiarity.get("fluency", {}).get("models", {})


def judged(familiarity: Mapping[str, Any]) -> dict[str, Numbers]:
    """Model -> metric -> numbers of reports/familiarity.json, with intervals for the means over prompts."""
    found: dict[str, Numbers] = {}
    for model, values in familiarity["models"].items():
        intervals = familiarity.get("intervals", {}).get(model, {})
        plain = {"low": None, "high": None, "items": None}
        found[model] = {
            name: plain | intervals.get(name, {}) | {"value": value}
            for name, value in values.items()
            if isinstance(value, (int, float)) and not isinstance(value, bool)
        }
    return found


def accuracies(benchmarks: Mapping[str, Any]) -> list[tuple[str, Metric, Numbers]]:
    """Every task with the Wilson interval of each model's accuracy."""
    found = []
    for task, items in benchmarks["items"].items():
        scores = {model: benchmarks["models"].get(model, {}).get(task) for model in COMPARED}
        numbers = {
            model: of_items(score, items).row() | {"value": score}
            for model, score in scores.items()
            if score is not None
        }
        found.append((task, benchmark(task, benchmarks["chance"].get(task)), numbers))
    return found


def line(metric: Metric, numbers: Numbers, about: Explained = NOTHING) -> Line:
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
        about=about,
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
    if metric.group in (UTILITY, FLUENCY):
        return ("", "") if before is None else (signed(after - before), "from baseline")
    if metric.better != "less" or never is None:
        return ("", "") if never is None or before is None else (signed(after - never), "from retrained")
    if before is not None and before - never > 0.001:
        return f"{round(100 * (after - never) / (before - never))}%", "remaining"
    return signed(after - never), "from retrained"


def signed(value: float | None) -> str:
    """A difference as text: to six decimals, with its sign, and none where that is zero."""
    shown = None if value is None else round(value, 6) + 0.0  # -0.0 + 0.0 is 0.0
    return f"+{number(shown)}" if shown and shown > 0 else number(shown)


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
    width: float  # of a bar for the worst, percent of an excess of 1
    settings: list[Setting]
    about: Explained


def attacks_of(attacks: Mapping[str, Any]) -> list[Attack]:
    """The attacks in the order of their excess over the retrained model, by the lower end of its interval."""
    settings: dict[str, list[Setting]] = {}
    excesses: dict[str, list[tuple[float, float, str]]] = {}
    decisive = {key for key, _ in compared_rows(judged_rows(attacks["attacks"]))}
    for (attack, setting, name), rows in compared_rows(attacks["attacks"]):
        metric = attack_metric(name, setting)
        numbers = {model: row for model, row in rows.items() if model in COMPARED and row["value"] is not None}
        found = excess_of(metric, rows)
        shown = ("", "") if found is None else (signed(found["value"]), interval(found))
        settings.setdefault(attack, []).append(Setting(setting, line(metric, numbers), shown))
        if found is not None and (attack, setting, name) in decisive:
            excesses.setdefault(attack, []).append((lower_end(found), found["value"], f"{setting}: {metric.label}"))
    worst = {attack: max(values) for attack, values in excesses.items()}
    order = sorted(settings, key=lambda attack: -worst[attack][0] if attack in worst else float("inf"))
    return [_attack(attack, settings[attack], worst.get(attack)) for attack in order]


def excess_of(metric: Metric, rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    """value, low and high of unlearned minus retrained under one attack; None unless lower is better, from 0 to 1.

    What an attack itself teaches, it teaches both models. low and high are None without an interval of the difference.
    """
    values = {model: row["value"] for model, row in rows.items() if row["value"] is not None}
    if not counts(metric) or not {"unlearned", "retrained"} <= values.keys():
        return None
    if "excess" in values:
        return {name: rows["excess"][name] for name in ("value", "low", "high")}
    return {"value": round(values["unlearned"] - values["retrained"], 6), "low": None, "high": None}


def lower_end(excess: Mapping[str, Any]) -> float:
    """The lower end of an interval, the value where there is no interval."""
    return excess["value"] if excess["low"] is None else excess["low"]


def _attack(name: str, settings: list[Setting], worst: tuple[float, float, str] | None) -> Attack:
    value, where = (None, "") if worst is None else worst[1:]
    width = round(100 * max(0.0, value or 0.0), 1)
    return Attack(ATTACKS.get(name, name), value, where, width, settings, explanations.of_attack(name))


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
