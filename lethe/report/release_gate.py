"""The release gate: the criteria that the unlearned model has to meet, and whether the measured values meet them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, NonNegativeFloat

from lethe.core.params import StageParams
from lethe.report.metric_catalogue import ATTACKS, MEMORISATION, METRICS, Metric, attack_metric

Share = Annotated[float, Field(ge=0, le=1)]
Status = Literal["pass", "fail", "cannot tell"]
EXIT_CODES: dict[Status, int] = {"pass": 0, "fail": 1, "cannot tell": 2}


class GateParams(StageParams):
    """The threshold of every criterion; null turns the criterion off."""

    completion_familiarity: NonNegativeFloat | None
    probability_familiarity: NonNegativeFloat | None
    retain_perplexity: NonNegativeFloat | None
    benchmark_loss: Share | None
    model_utility: NonNegativeFloat | None
    memorisation_excess: Share | None
    trivia_excess: Share | None
    attack_excess: Share | None
    forget_quality: Share | None
    privleak: NonNegativeFloat | None


class Found(NamedTuple):
    """The value that a criterion judges, None if it was not measured. note: where it is worst, or why it is missing."""

    value: float | None
    note: str = ""


class Criterion(NamedTuple):
    """One criterion for the unlearned model. met: None where it could not be measured; note then says why."""

    name: str
    what: str
    bound: Literal["at most", "at least"]
    limit: float
    value: float | None
    met: bool | None
    note: str


DESCRIPTIONS = {
    "completion_familiarity": "Familiarity (completion) remaining (retrained 0, baseline 1)",
    "probability_familiarity": "Familiarity (probability) remaining (retrained 0, baseline 1)",
    "retain_perplexity": "Perplexity of held-out retain text, relative to baseline",
    "benchmark_loss": "Accuracy loss on the worst benchmark",
    "model_utility": "Model utility, relative to baseline",
    "memorisation_excess": "Memorisation excess over retrained, worst metric",
    "trivia_excess": "Two-choice trivia excess over retrained",
    "attack_excess": "Extraction attack excess over retrained, worst attack",
    "forget_quality": "Forget quality (p-value)",
    "privleak": "PrivLeak, absolute value",
}
AT_LEAST = ("model_utility", "forget_quality")


def criteria(
    gate: GateParams,
    familiarity: Mapping[str, Any],
    benchmarks: Mapping[str, Any],
    measures: Mapping[str, Any],
    attacks: Mapping[str, Any],
) -> list[Criterion]:
    """Every criterion of the gate, judged; the other arguments are the reports of these names."""
    found = {
        **from_familiarity(familiarity),
        "benchmark_loss": worst_loss(benchmarks),
        **from_measures(measures, familiarity["absent"]),
        "attack_excess": worst_excess(attacks, familiarity["absent"]),
    }
    return [judged(name, limit, found[name]) for name, limit in gate if limit is not None]


def judged(name: str, limit: float, found: Found) -> Criterion:
    """A criterion with its result."""
    if found.value is None:
        return Criterion(name, DESCRIPTIONS[name], bound(name), limit, None, None, found.note)
    value = round(found.value, 6)  # so that 0.5 - 0.48 is 0.02 and not a hair more
    met = value >= limit if name in AT_LEAST else value <= limit
    return Criterion(name, DESCRIPTIONS[name], bound(name), limit, value, met, found.note)


def bound(name: str) -> Literal["at most", "at least"]:
    """Whether the limit of a criterion is an upper or a lower bound."""
    return "at least" if name in AT_LEAST else "at most"


def status(judged: Sequence[Criterion]) -> Status:
    """One missed criterion fails the gate; without one, a criterion that could not be measured leaves it open."""
    if any(criterion.met is False for criterion in judged):
        return "fail"
    return "pass" if judged and all(criterion.met for criterion in judged) else "cannot tell"


def sentence(judged: Sequence[Criterion]) -> str:
    """The result of the gate on one line, as the report, `lethe result` and `lethe gate` print it."""
    missed, unknown = ([criterion for criterion in judged if criterion.met is answer] for answer in (False, None))
    measured = len(judged) - len(unknown)
    if missed:
        named = ", ".join(criterion.name.replace("_", " ") for criterion in missed)
        unmeasured = f"; {len(unknown)} not measured" if unknown else ""
        return f"release gate: FAIL ({len(missed)} of {measured} criteria): {named}{unmeasured}"
    if not judged:
        return "release gate: CANNOT TELL (no criterion is set)"
    if unknown:
        return f"release gate: CANNOT TELL ({len(unknown)} of {len(judged)} criteria not measured)"
    return f"release gate: PASS (all {measured} criteria)"


def metric(judged: Sequence[Criterion]) -> dict[str, float]:
    """Content of reports/gate.json: how many criteria are met, missed and unmeasured, and the value behind each."""
    answers = [criterion.met for criterion in judged]
    counts = {"met": answers.count(True), "missed": answers.count(False), "unmeasured": answers.count(None)}
    return counts | {criterion.name: criterion.value for criterion in judged if criterion.value is not None}


def from_familiarity(familiarity: Mapping[str, Any]) -> dict[str, Found]:
    """The values that `evaluate` has computed already."""
    reasons = familiarity["reasons"]
    found = {
        name: Found(familiarity["ratio"][name]) for name in ("completion_familiarity", "probability_familiarity")
    } | {"retain_perplexity": Found(familiarity["ratio"]["retain_perplexity_factor"])}
    return {
        name: Found(None, reasons.get(name, "not measured")) if number.value is None else number
        for name, number in found.items()
    }


def worst_loss(benchmarks: Mapping[str, Any]) -> Found:
    """The largest drop in accuracy from baseline to unlearned over all tasks."""
    before, after = (benchmarks["models"].get(model, {}) for model in ("baseline", "unlearned"))
    losses = {task: before[task] - after[task] for task in benchmarks["items"] if task in before and task in after}
    if not losses:
        return Found(None, _listed(benchmarks["absent"]) or "no benchmark was run on both baseline and unlearned")
    return _largest(losses)


def from_measures(measures: Mapping[str, Any], absent_models: Mapping[str, str]) -> dict[str, Found]:
    """The values that reports/measures.json alone determines."""
    values = {
        model: {name: number["value"] for name, number in numbers.items() if number["value"] is not None}
        for model, numbers in measures["models"].items()
    }
    before, after, never = (values.get(model, {}) for model in ("baseline", "unlearned", "retrained"))
    memory = {
        METRICS[name].label: after[name] - never[name]
        for name in METRICS
        if METRICS[name].group == MEMORISATION and METRICS[name].better == "less" and name in after and name in never
    }
    utility = _ratio(after.get("model_utility"), before.get("model_utility"))
    trivia = after["trivia"] - never["trivia"] if "trivia" in after and "trivia" in never else None
    found = {
        "model_utility": Found(utility),
        "trivia_excess": Found(trivia),
        "memorisation_excess": _largest(memory) if memory else Found(None),
        "forget_quality": Found(after.get("forget_quality")),
        "privleak": Found(abs(after["privleak"]) if "privleak" in after else None),
    }
    why = {name: _why(name.removesuffix("_excess"), measures, absent_models) for name in found}
    return {name: Found(None, why[name]) if number.value is None else number for name, number in found.items()}


def worst_excess(attacks: Mapping[str, Any], absent_models: Mapping[str, str]) -> Found:
    """How much more the worst attack extracts from the unlearned model than from the retrained one.

    The worst attack is the one whose excess has the highest lower end of its interval: the largest of many noisy
    values says little.
    """
    found = {}
    for (attack, setting, name), rows in compared_rows(attacks["attacks"]):
        if (excess := excess_of(attack_metric(name, setting), rows)) is not None:
            found[f"{ATTACKS.get(attack, attack)}, {setting}: {attack_metric(name, setting).label}"] = excess
    if not found:
        return Found(None, _why("attack", attacks, absent_models))
    worst = max(found, key=lambda name: lower_end(found[name]))
    return Found(found[worst]["value"], worst)


def excess_of(metric: Metric, rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    """value, low and high of unlearned minus retrained under one attack; None unless lower is better, from 0 to 1.

    What an attack itself teaches, it teaches both models. low and high are None without an interval of the difference.
    """
    values = {model: row["value"] for model, row in rows.items() if row["value"] is not None}
    if not metric.share or metric.better != "less" or not {"unlearned", "retrained"} <= values.keys():
        return None
    if "excess" in values:
        return {name: rows["excess"][name] for name in ("value", "low", "high")}
    return {"value": round(values["unlearned"] - values["retrained"], 6), "low": None, "high": None}


def lower_end(excess: Mapping[str, Any]) -> float:
    """The lower end of an interval, the value where there is no interval."""
    return excess["value"] if excess["low"] is None else excess["low"]


def compared_rows(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[tuple[str, str, str], dict[str, Any]]]:
    """((attack, setting, metric), {model: row}) in the order of first occurrence."""
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for row in rows:
        found.setdefault((row["attack"], row["setting"], row["metric"]), {})[row["model"]] = row
    yield from found.items()


def _largest(values: Mapping[str, float]) -> Found:
    name = max(values, key=lambda name: values[name])
    return Found(values[name], name)


def _ratio(after: float | None, before: float | None) -> float | None:
    return after / before if after is not None and before else None


def _why(name: str, report: Mapping[str, Any], absent_models: Mapping[str, str]) -> str:
    """Why a report lacks a value: the value's own reason, else the reason why a model is absent."""
    absent = report.get("absent", {})
    return absent.get(name) or _listed(absent_models) or _listed(absent) or "not measured"


def _listed(reasons: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
