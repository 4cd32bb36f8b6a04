"""What the reports say on each criterion of the release gate: a value, its interval, and what it is compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from lethe.attacks.results import judged_rows
from lethe.evaluation.intervals import Interval, difference, rate_interval
from lethe.evaluation.model_set import is_reference
from lethe.gate.fluency import fluency_loss, spread
from lethe.gate.metric_catalogue import ATTACKS, MEMORISATION, METRICS, Metric, attack_metric
from lethe.gate.spread import left_out, mean_of

EXACT, ABILITY = "exact_memorisation", "retain_accuracy"
FEWEST = 20  # items of an attack's setting that is judged; in fewer one prompt decides
LOSS_SEEN = 0.1  # accuracy: a benchmark that could hide a loss larger than this beyond the limit has too few items
FLUENCY_SEEN = 0.2  # as much of a loss of fluency
NO_UTILITY = 0.01  # model utility that is not above nothing
TRAINED = ("relearn", "benign", "lora", "soft_prompt")  # attacks that teach names to a model that never knew them
KNOWN = 0.05  # least leak or memorisation of the baseline of which a share is meaningful

RATIOS = {  # criterion -> its name among the ratios of `evaluate`, and the metric that tells the models apart
    "completion_familiarity": ("completion_familiarity", "leak"),
    "probability_familiarity": ("probability_familiarity", "probability_familiarity"),
    "retain_perplexity": ("retain_perplexity_factor", None),
}

Numbers = Mapping[str, Any]  # value, low, high, items
ByModel = dict[str, dict[str, float]]  # measure -> model -> value


class Evidence(NamedTuple):
    """The value that a criterion judges, None if it was not measured. note: where it is worst, or why it is missing.

    baseline: the same number of the baseline; spread: of each retrained model against the others. told: whether the
    items suffice to tell the unlearned model from the baseline. share: the value is the share of the baseline's that is
    left, for want of a retrained model. unmeasurable: why nothing can be measured here.
    """

    value: float | None
    note: str = ""
    low: float | None = None
    high: float | None = None
    items: int | None = None
    baseline: float | None = None
    spread: Sequence[float] = ()
    told: bool = True
    share: bool = False
    unmeasurable: str = ""


def all_evidence(
    familiarity: Mapping[str, Any],
    benchmarks: Mapping[str, Any],
    measures: Mapping[str, Any],
    attacks: Mapping[str, Any],
) -> dict[str, Evidence]:
    """Criterion -> its evidence in the reports of these names."""
    absent = familiarity["absent"]
    return {
        **from_familiarity(familiarity),
        "benchmark_loss": worst_loss(benchmarks),
        "fluency_loss": from_fluency(familiarity),
        **from_measures(measures, absent),
        "attack_excess": worst_attack(attacks, absent),
    }


def from_familiarity(familiarity: Mapping[str, Any]) -> dict[str, Evidence]:
    """The shares and the factor that `evaluate` has computed, with their intervals."""
    found = {}
    intervals, ratios = familiarity.get("intervals", {}), familiarity.get("ratio_intervals", {})
    for name, (key, metric) in RATIOS.items():
        value, interval = familiarity["ratio"][key], ratios.get(key, {})
        if value is None:
            found[name] = Evidence(None, familiarity["reasons"].get(name, "not measured"))
            continue
        before, after = (intervals.get(model, {}).get(metric) for model in ("baseline", "unlearned"))
        items = after["items"] if after else None
        note = without_reference(familiarity["absent"]) if metric else ""
        ends = interval.get("low"), interval.get("high")
        found[name] = Evidence(value, note, *ends, items, told=apart(after, before))
    return found


def worst_loss(benchmarks: Mapping[str, Any]) -> Evidence:
    """The largest drop in accuracy from baseline to unlearned over the tasks at which the baseline beats chance."""
    before, after = (benchmarks["models"].get(model, {}) for model in ("baseline", "unlearned"))
    tasks = {task: count for task, count in benchmarks["items"].items() if task in before and task in after}
    if not tasks:
        return Evidence(None, _listed(benchmarks["absent"]) or "no benchmark was run on both baseline and unlearned")
    chance = benchmarks.get("chance", {})
    rates = {task: (of_items(before[task], count), of_items(after[task], count)) for task, count in tasks.items()}
    able = {task: pair for task, pair in rates.items() if (pair[0].low or 0.0) > (chance.get(task) or 0.0)}
    if not able:
        return Evidence(None, unmeasurable=f"the baseline is no better than chance at {', '.join(tasks)}")
    losses = {task: difference(baseline, unlearned) for task, (baseline, unlearned) in able.items()}
    worst = max(losses, key=lambda task: losses[task].value)
    loss = losses[worst]
    seen = loss.high is None or loss.high - loss.value <= LOSS_SEEN
    value = before[worst] - after[worst]
    return Evidence(value, worst, loss.low, loss.high, loss.items, told=seen)


def of_items(accuracy: float, items: int) -> Interval:
    """An accuracy over so many items, with its interval."""
    hits = round(accuracy * items)
    return rate_interval([True] * hits + [False] * (items - hits))


def from_fluency(familiarity: Mapping[str, Any]) -> Evidence:
    """The worst loss of fluency."""
    loss = fluency_loss(familiarity)
    if isinstance(loss, str):
        return Evidence(None, loss)
    seen = loss.high is None or loss.high - loss.value <= FLUENCY_SEEN
    return Evidence(loss.value, loss.where, loss.low, loss.high, loss.items, spread=spread(familiarity), told=seen)


def from_measures(measures: Mapping[str, Any], absent: Mapping[str, str]) -> dict[str, Evidence]:
    """What reports/measures.json alone determines."""
    models: Mapping[str, Mapping[str, Numbers]] = {
        model: {name: numbers for name, numbers in found.items() if numbers["value"] is not None}
        for model, found in measures["models"].items()
    }
    values = by_measure({model: {name: own["value"] for name, own in found.items()} for model, found in models.items()})
    references = [model for model in models if is_reference(model)]
    after = models.get("unlearned", {})
    found = {
        "model_utility": utility(models),
        "memorisation_excess": excess(memorisation(values), references, measures, models),
        "trivia_excess": excess({"trivia": values.get("trivia", {})}, references, measures, models),
        "forget_quality": against(values.get("forget_quality", {}), references),
        "privleak": leak_of_privacy(values.get("privleak", {}), references, models),
    }
    if not references:
        found |= shares_of(values, after)
        note = without_reference(absent)
        found = {name: own._replace(note="; ".join(filter(None, (own.note, note)))) for name, own in found.items()}
    why = {name: _why(name.removesuffix("_excess"), measures, absent) for name in found}
    return {
        name: own if own.value is not None or own.unmeasurable else Evidence(None, why[name])
        for name, own in found.items()
    }


def by_measure(models: Mapping[str, Mapping[str, float]]) -> ByModel:
    """Measure -> model -> value, from model -> measure -> value."""
    found: ByModel = {}
    for model, values in models.items():
        for name, value in values.items():
            found.setdefault(name, {})[model] = value
    return found


def memorisation(values: ByModel) -> ByModel:
    """The metrics of how much of the forget set a model has memorised.

    A model that is better at language predicts more tokens of any text. So exact memorisation is taken less the share
    of tokens predicted in held-out retain text.
    """
    found = {
        name: own
        for name, own in values.items()
        if name in METRICS and METRICS[name].group == MEMORISATION and METRICS[name].better == "less"
    }
    able = values.get(ABILITY, {})
    if EXACT in found and found[EXACT].keys() <= able.keys():
        found[EXACT] = {model: value - able[model] for model, value in found[EXACT].items()}
    return found


def utility(models: Mapping[str, Mapping[str, Numbers]]) -> Evidence:
    """Model utility relative to the baseline's; not measurable where the baseline's interval reaches nothing."""
    before, after = (models.get(model, {}).get("model_utility") for model in ("baseline", "unlearned"))
    if not before or not after or not before["value"]:
        return Evidence(None)
    if before["low"] is not None and before["low"] <= NO_UTILITY:
        scale = f"{before['value']:.3f} [{before['low']:.3f}, {before['high']:.3f}]"
        return Evidence(None, unmeasurable=f"the baseline's is {scale}, hardly above nothing")
    low, high = (None if after[end] is None else after[end] / before["value"] for end in ("low", "high"))
    return Evidence(after["value"] / before["value"], "", low, high, after["items"])


def excess(
    values: ByModel,
    references: Sequence[str],
    measures: Mapping[str, Any],
    models: Mapping[str, Mapping[str, Numbers]],
) -> Evidence:
    """The largest excess of the unlearned model over the retrained ones, of several measures."""
    worst = largest(values, "unlearned", references)
    if worst is None:
        return Evidence(None)
    name, value = worst
    low, high = ends_of(measures.get("excess", {}).get("unlearned", {}), name)
    control = largest(values, "baseline", references)
    told = control is None or apart(*(models.get(model, {}).get(control[0]) for model in ("unlearned", "baseline")))
    return Evidence(
        value,
        METRICS[name].label if len(values) > 1 else "",
        low,
        high,
        models["unlearned"][name]["items"],
        control[1] if control else None,
        left_out(partial(excess_value, values), list(references)),
        told,
    )


def ends_of(rows: Mapping[str, Numbers], name: str) -> tuple[float | None, float | None]:
    """The 95 % interval of an excess; of exact memorisation less ability, that of the difference."""
    row = rows.get(name, {})
    if name != EXACT or ABILITY not in rows or row.get("low") is None or rows[ABILITY]["low"] is None:
        return row.get("low"), row.get("high")
    found = difference(Interval(**row), Interval(**rows[ABILITY]))
    return found.low, found.high


def largest(values: ByModel, model: str, references: Sequence[str]) -> tuple[str, float] | None:
    """The measure with the largest excess of the model over the mean of the references, and that excess."""
    found = {}
    for name, own in values.items():
        mean = mean_of(own, list(references))
        if model in own and mean is not None:
            found[name] = own[model] - mean
    return max(found.items(), key=lambda item: item[1]) if found else None


def excess_value(values: ByModel, model: str, references: Sequence[str]) -> float | None:
    """The largest excess alone."""
    found = largest(values, model, references)
    return found[1] if found else None


def against(values: Mapping[str, float], references: Sequence[str]) -> Evidence:
    """A number that `measure` has computed for each model against all retrained ones but itself."""
    spread = [values[name] for name in references if name in values]
    return Evidence(values.get("unlearned"), baseline=values.get("baseline"), spread=spread)


def leak_of_privacy(
    values: Mapping[str, float], references: Sequence[str], models: Mapping[str, Mapping[str, Numbers]]
) -> Evidence:
    """PrivLeak without its sign; of the retrained models with it."""
    sizes = {model: abs(value) for model, value in values.items()}
    signed = [values[name] for name in references if name in values]
    after, before = (models.get(model, {}).get("privleak") for model in ("unlearned", "baseline"))
    low, high = (after["low"], after["high"]) if after else (None, None)
    items = after["items"] if after else None
    found = against(sizes, references)
    return found._replace(spread=signed, low=low, high=high, items=items, told=apart(after, before))


def worst_attack(attacks: Mapping[str, Any], absent: Mapping[str, str]) -> Evidence:
    """How much more the worst attack extracts from the unlearned model than from the retrained ones.

    The same largest excess of a retrained model over the others is what chance and another seed alone make of so many
    attacks.
    """
    rows = dict(judged_settings(attacks))
    values = {name: {model: row["value"] for model, row in own.items()} for name, own in rows.items()}
    models = list(dict.fromkeys(model for own in values.values() for model in own))
    references = [model for model in models if is_reference(model)]
    if not references:
        return share_of_attacks(rows, absent) or Evidence(None, _why("attack", attacks, absent))
    worst = largest(values, "unlearned", references)
    if worst is None:
        return Evidence(None, _why("attack", attacks, absent))
    name, value = worst
    interval, control = rows[name].get("excess", {}), largest(values, "baseline", references)
    told = control is None or apart(rows[control[0]].get("unlearned"), rows[control[0]].get("baseline"))
    spread = left_out(partial(excess_value, values), references)
    ends = interval.get("low"), interval.get("high"), rows[name]["unlearned"].get("items")
    return Evidence(value, name, *ends, control[1] if control else None, spread, told)


def judged_settings(attacks: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Numbers]]]:
    """(name, {model: row}) of every setting with enough items whose metric lies between 0 and 1, lower being better."""
    for (attack, setting, name), rows in compared_rows(judged_rows(attacks["attacks"])):
        metric = attack_metric(name, setting)
        kept = {model: row for model, row in rows.items() if row["value"] is not None}
        items = [row.get("items") for row in kept.values()]
        if counts(metric) and kept and min(count or FEWEST for count in items) >= FEWEST:
            yield f"{ATTACKS.get(attack, attack)}, {setting}: {metric.label}", kept


def counts(metric: Metric) -> bool:
    """Whether an excess of the metric is a leak."""
    return metric.share and metric.better == "less"


def compared_rows(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[tuple[str, str, str], dict[str, Any]]]:
    """((attack, setting, metric), {model: row}) in the order of first occurrence."""
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for row in rows:
        found.setdefault((row["attack"], row["setting"], row["metric"]), {})[row["model"]] = row
    yield from found.items()


def apart(after: Numbers | None, before: Numbers | None) -> bool:
    """Whether two 95 % intervals do not overlap; True where one is missing."""
    if not after or not before or None in (after.get("low"), after.get("high"), before.get("low"), before.get("high")):
        return True
    return after["high"] < before["low"] or before["high"] < after["low"]


def shares_of(values: ByModel, after: Mapping[str, Numbers]) -> dict[str, Evidence]:
    """For want of a retrained model: what is left of the baseline's memorisation, trivia, truth ratio and membership.

    What a model that never read the text would score is taken from held-out text, chance, or a ratio of 1.
    """

    def left(name: str, floor: Callable[[str], float]) -> float | None:
        own = values.get(name, {})
        if not {"baseline", "unlearned"} <= own.keys():
            return None
        known, kept = (own[model] - floor(model) for model in ("baseline", "unlearned"))
        return kept / known if abs(known) >= KNOWN else None

    def held_out(name: str) -> Callable[[str], float]:
        return lambda model: values.get(f"held_out_{name}", {}).get(model, 0.0)

    memory = {name: left(name, held_out(name)) for name in ("exact_memorisation", "extraction_strength")}
    known = {name: share for name, share in memory.items() if share is not None}
    worst = max(known, key=lambda name: known[name], default=None)
    shares = {
        "memorisation_excess": (worst or "exact_memorisation", known.get(worst or "")),
        "trivia_excess": ("trivia", left("trivia", lambda _: 0.5)),
        "forget_quality": ("truth_ratio", left("truth_ratio", lambda _: 1.0)),
        "privleak": ("mia_privleak", left("mia_privleak", lambda _: 0.5)),
    }
    little = "the baseline knows too little of the corpus to say what is left of it"
    found = {}
    for name, (metric, share) in shares.items():
        if share is not None:
            note, items = METRICS[metric].label, after[metric]["items"]
            found[name] = Evidence(max(0.0, share), note, items=items, share=True)
        elif "baseline" in values.get(metric, {}):
            found[name] = Evidence(None, unmeasurable=little)
    return found


def share_of_attacks(rows: Mapping[str, Mapping[str, Numbers]], absent: Mapping[str, str]) -> Evidence | None:
    """The largest share of the baseline's leak that an attack without training still extracts; None without any."""
    trained = tuple(ATTACKS[name] for name in TRAINED)
    shares = {
        name: own["unlearned"]["value"] / own["baseline"]["value"]
        for name, own in rows.items()
        if {"baseline", "unlearned"} <= own.keys()
        and own["baseline"]["value"] >= KNOWN
        and not name.startswith(trained)
    }
    if not shares:
        return None
    worst = max(shares, key=lambda name: shares[name])
    note = f"{worst}; {without_reference(absent)}"
    own = rows[worst]
    told = apart(own["unlearned"], own["baseline"])
    return Evidence(shares[worst], note, items=own["unlearned"].get("items"), told=told, share=True)


def without_reference(absent: Mapping[str, str]) -> str:
    """What the lack of a retrained model means for a number; empty where there is one."""
    return f"no retrained model to compare with ({absent['retrained']})" if "retrained" in absent else ""


def _why(name: str, report: Mapping[str, Any], absent_models: Mapping[str, str]) -> str:
    """Why a report lacks a value: the value's own reason, else the reason why a model is absent."""
    absent = report.get("absent", {})
    return absent.get(name) or _listed(absent_models) or _listed(absent) or "not measured"


def _listed(reasons: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
