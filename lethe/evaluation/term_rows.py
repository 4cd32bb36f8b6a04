"""The scores of every term as rows of data/terms.csv, and their summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean, median
from typing import Any

from lethe.core.tables import COMPARED, TERMS
from lethe.evaluation.term_probes import Question, Scores, Term, mean_probability, median_rank, top_words
from lethe.evaluation.term_verdicts import NO_TARGET, VERDICTS, Limits, Rise, rise, verdict

ByModel = Mapping[str, Sequence[Scores]]  # model -> its scores at every question


def row(
    name: str, term: Term, count: int, asked: Sequence[Question], found: ByModel, limits: Limits, top: int
) -> dict[str, Any]:
    """A row of data/terms.csv; cells are empty where there is nothing to measure."""
    own = [index for index, question in enumerate(asked) if question.place.term == name]
    other = [i for i, question in enumerate(asked) if question.place.term != name and name in question.translations]
    own_form = dict.fromkeys(next(iter(term.forms.values())))
    cells: dict[str, Any] = dict.fromkeys(TERMS, "")
    cells |= {"anchor": name, "kind": term.kind, "occurrences": count, "translation": "|".join(own_form)}
    if not own:
        return cells | {"verdict": NO_TARGET, "places": "0"}
    target, control = rise_of(name, own, found), rise_of(name, other, found)
    probability = {}
    for model, numbers in found.items():
        here = [numbers[index] for index in own]
        probability[model] = mean_probability(here)
        cells[f"probability_{model}"] = format_number(probability[model])
        cells[f"rank_{model}"] = f"{median_rank(here):g}"
        cells[f"top_{model}"] = " ".join(top_words(here, top))
        if target is not None:
            cells[f"translation_probability_{model}"] = format_number(fmean(at_places(name, own, numbers)))
    cells |= {"verdict": verdict(probability, target, control, limits), "places": f"{len(own)} {asked[own[0]].part}"}
    cells |= {"translation_rise": format_number(target.mean) if target else ""}
    return cells | {"control_rise": format_number(control.mean) if control else ""}


def rise_of(name: str, places: Sequence[int], found: ByModel) -> Rise | None:
    """The rise of a term's translations in the unlearned model at these places; None without any place."""
    before = ("baseline", "retrained")
    said = {model: at_places(name, places, found[model]) for model in (*before, "unlearned") if model in found}
    after = said.pop("unlearned")
    return rise(after, list(said.values())) if after else None


def at_places(name: str, places: Sequence[int], numbers: Sequence[Scores]) -> list[float]:
    """The probability of a term's translations at each of these places where it was computed."""
    return [numbers[place].translations[name] for place in places if name in numbers[place].translations]


def format_number(number: float) -> str:
    """Four significant digits: some probabilities are tiny, and further digits differ between machines."""
    return f"{number:.4g}"


def summary(rows: Sequence[Mapping[str, Any]], absent: Mapping[str, str]) -> dict[str, Any]:
    """reports/terms.json: verdicts, the median over the terms of their ranks, the mean rise of their translations."""
    counts = Counter(row["verdict"] for row in rows)
    ranks = {model: [float(row[f"rank_{model}"]) for row in rows if row[f"rank_{model}"]] for model in COMPARED}
    both = [row for row in rows if row["translation_rise"] and row["control_rise"]]
    rises = {"target": "translation_rise", "control": "control_rise"}
    return {
        "terms": len(rows),
        "verdicts": {name.replace(" ", "_"): counts[name] for name in VERDICTS},
        "median_rank": {model: median(found) for model, found in ranks.items() if found},
        "translation_rise": {
            name: round(fmean(float(row[column]) for row in both), 6) for name, column in rises.items() if both
        },
        "absent": dict(absent),
    }
