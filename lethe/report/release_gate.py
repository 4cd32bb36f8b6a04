"""The release gate: what is demanded of the unlearned model, what was found, and whether that is enough."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, NonNegativeFloat

from lethe.core.params import StageParams
from lethe.report.metric_catalogue import ATTACKS, MEMORY, METRICS, Metric, attack_metric

Share = Annotated[float, Field(ge=0, le=1)]
Status = Literal["pass", "fail", "cannot tell"]
EXIT_CODES: dict[Status, int] = {"pass": 0, "fail": 1, "cannot tell": 2}


class GateParams(StageParams):
    """The threshold of every demand; null: not demanded."""

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
    """A number that a demand is about, None if it was not measured. note: where it is worst, or why there is none."""

    value: float | None
    note: str = ""


class Demand(NamedTuple):
    """One demand on the unlearned model. met: None where it could not be measured; note then says why."""

    name: str
    what: str
    bound: Literal["at most", "at least"]
    limit: float
    value: float | None
    met: bool | None
    note: str


WHAT = {
    "completion_familiarity": "Familiarity (completion) left, of the way from retrained to baseline",
    "probability_familiarity": "Familiarity (probability) left, of the way from retrained to baseline",
    "retain_perplexity": "Perplexity of held-out retain text, times the baseline's",
    "benchmark_loss": "Accuracy lost on the worst benchmark",
    "model_utility": "Model utility, times the baseline's",
    "memorisation_excess": "Text known by heart beyond retrained, worst measure",
    "trivia_excess": "Two-choice trivia beyond retrained",
    "attack_excess": "What the worst attack gets out beyond retrained",
    "forget_quality": "Forget quality: p that unlearned and retrained answer alike",
    "privleak": "PrivLeak: distance from 0",
}
AT_LEAST = ("model_utility", "forget_quality")


def demands(
    gate: GateParams,
    familiarity: Mapping[str, Any],
    benchmarks: Mapping[str, Any],
    measures: Mapping[str, Any],
    attacks: Mapping[str, Any],
) -> list[Demand]:
    """Every demand that the gate makes, judged; the other arguments are the reports of these names."""
    found = {
        **from_familiarity(familiarity),
        "benchmark_loss": worst_loss(benchmarks),
        **from_measures(measures, familiarity["absent"]),
        "attack_excess": worst_excess(attacks, familiarity["absent"]),
    }
    return [judged(name, limit, found[name]) for name, limit in gate if limit is not None]


def judged(name: str, limit: float, found: Found) -> Demand:
    """A demand with its answer."""
    if found.value is None:
        return Demand(name, WHAT[name], bound(name), limit, None, None, found.note)
    value = round(found.value, 6)  # so that 0.5 - 0.48 is 0.02 and not a hair more
    met = value >= limit if name in AT_LEAST else value <= limit
    return Demand(name, WHAT[name], bound(name), limit, value, met, found.note)


def bound(name: str) -> Literal["at most", "at least"]:
    """On which side of its limit a number has to be."""
    return "at least" if name in AT_LEAST else "at most"


def status(judged: Sequence[Demand]) -> Status:
    """One missed demand fails; without one, a demand that could not be measured leaves the question open."""
    if any(demand.met is False for demand in judged):
        return "fail"
    return "pass" if judged and all(demand.met for demand in judged) else "cannot tell"


def sentence(judged: Sequence[Demand]) -> str:
    """The whole gate in one sentence."""
    met, missed, unknown = ([demand for demand in judged if demand.met is answer] for answer in (True, False, None))
    open_ones = f"; {len(unknown)} could not be measured" if unknown else ""
    measured = len(met) + len(missed)
    if missed:
        named = ", ".join(demand.name.replace("_", " ") for demand in missed)
        return f"Not fit for release: {len(missed)} of {measured} demands missed ({named}){open_ones}."
    if not judged:
        return "Cannot tell: the gate makes no demand."
    if unknown:
        return f"Cannot tell: {len(met)} of {len(judged)} demands met{open_ones}."
    return f"Fit for release: all {len(met)} demands met."


def metric(judged: Sequence[Demand]) -> dict[str, float]:
    """Content of reports/gate.json: how many demands are met, missed and unmeasured, and the number behind each."""
    answers = [demand.met for demand in judged]
    counts = {"met": answers.count(True), "missed": answers.count(False), "unmeasured": answers.count(None)}
    return counts | {demand.name: demand.value for demand in judged if demand.value is not None}


def from_familiarity(familiarity: Mapping[str, Any]) -> dict[str, Found]:
    """The numbers that `evaluate` has worked out already."""
    reasons = familiarity["reasons"]
    found = {
        name: Found(familiarity["ratio"][name]) for name in ("completion_familiarity", "probability_familiarity")
    } | {"retain_perplexity": Found(familiarity["ratio"]["retain_perplexity_factor"])}
    return {
        name: Found(None, reasons.get(name, "not measured")) if number.value is None else number
        for name, number in found.items()
    }


def worst_loss(benchmarks: Mapping[str, Any]) -> Found:
    """The largest drop of accuracy from baseline to unlearned over all tasks."""
    before, after = (benchmarks["models"].get(model, {}) for model in ("baseline", "unlearned"))
    losses = {task: before[task] - after[task] for task in benchmarks["items"] if task in before and task in after}
    if not losses:
        return Found(None, _listed(benchmarks["absent"]) or "no benchmark of both baseline and unlearned")
    return _largest(losses)


def from_measures(measures: Mapping[str, Any], absent_models: Mapping[str, str]) -> dict[str, Found]:
    """The numbers that need nothing but reports/measures.json."""
    values = {
        model: {name: number["value"] for name, number in numbers.items() if number["value"] is not None}
        for model, numbers in measures["models"].items()
    }
    before, after, never = (values.get(model, {}) for model in ("baseline", "unlearned", "retrained"))
    memory = {
        METRICS[name].label: after[name] - never[name]
        for name in METRICS
        if METRICS[name].group == MEMORY and METRICS[name].better == "less" and name in after and name in never
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
    """How much more the worst attack gets out of the unlearned model than out of the retrained one.

    The worst is the surest, the one whose excess has the highest lower end of its interval: the largest of many noisy
    numbers says little.
    """
    found = {}
    for (attack, setting, name), rows in compared_rows(attacks["attacks"]):
        if (excess := excess_of(attack_metric(name, setting), rows)) is not None:
            found[f"{ATTACKS.get(attack, attack)}, {setting}: {attack_metric(name, setting).label}"] = excess
    if not found:
        return Found(None, _why("attack", attacks, absent_models))
    worst = max(found, key=lambda name: surely(found[name]))
    return Found(found[worst]["value"], worst)


def excess_of(metric: Metric, rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    """value, low and high of unlearned less retrained of one attack, of a metric between 0 and 1 that is better small.

    What an attack teaches by itself, it teaches both models. Without an interval of the difference there is none.
    """
    values = {model: row["value"] for model, row in rows.items() if row["value"] is not None}
    if not metric.share or metric.better != "less" or not {"unlearned", "retrained"} <= values.keys():
        return None
    if "excess" in values:
        return {name: rows["excess"][name] for name in ("value", "low", "high")}
    return {"value": round(values["unlearned"] - values["retrained"], 6), "low": None, "high": None}


def surely(excess: Mapping[str, Any]) -> float:
    """The lower end of an interval, the value where it has none."""
    return excess["value"] if excess["low"] is None else excess["low"]


def compared_rows(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[tuple[str, str, str], dict[str, Any]]]:
    """((attack, setting, metric), {model: row}) in the order in which they first come."""
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
    """Why a number of a report is not there: its own reason, else that a model is not there."""
    absent = report.get("absent", {})
    return absent.get(name) or _listed(absent_models) or _listed(absent) or "not measured"


def _listed(reasons: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
