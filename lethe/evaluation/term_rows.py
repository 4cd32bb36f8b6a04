"""What the models say of every term, as a row each and summed up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean, median
from typing import Any

from lethe.core.tables import COMPARED, TERMS
from lethe.evaluation.term_probes import Judged, Question, Term, mean_probability, median_rank, top_words
from lethe.evaluation.term_verdicts import VERDICTS, Limits, Rise, rise, verdict

By = Mapping[str, Sequence[Judged]]  # model -> its numbers at every question


def row(
    name: str, term: Term, count: int, asked: Sequence[Question], found: By, limits: Limits, top: int
) -> dict[str, Any]:
    """A row of data/terms.csv; cells are empty where there is nothing to measure."""
    own = [index for index, question in enumerate(asked) if question.place.term == name]
    other = [i for i, question in enumerate(asked) if question.place.term != name and name in question.instead]
    own_form = dict.fromkeys(next(iter(term.forms.values())))
    cells: dict[str, Any] = dict.fromkeys(TERMS, "")
    cells |= {"anchor": name, "kind": term.kind, "occurrences": count, "translation": "|".join(own_form)}
    if not own:
        return cells | {"verdict": "never due", "places": "0"}
    due, elsewhere = rise_of(name, own, found), rise_of(name, other, found)
    probability = {}
    for model, numbers in found.items():
        here = [numbers[index] for index in own]
        probability[model] = mean_probability(here)
        cells[f"probability_{model}"] = written(probability[model])
        cells[f"rank_{model}"] = f"{median_rank(here):g}"
        cells[f"top_{model}"] = " ".join(top_words(here, top))
        if due is not None:
            cells[f"translation_probability_{model}"] = written(fmean(at_places(name, own, numbers)))
    cells |= {"verdict": verdict(probability, due, elsewhere, limits), "places": f"{len(own)} {asked[own[0]].part}"}
    cells |= {"translation_rise": written(due.mean) if due else ""}
    return cells | {"elsewhere_rise": written(elsewhere.mean) if elsewhere else ""}


def rise_of(name: str, places: Sequence[int], found: By) -> Rise | None:
    """How much likelier a term's translations are for the unlearned model at these places; None without any."""
    said = {model: at_places(name, places, numbers) for model, numbers in found.items()}
    after = said.pop("unlearned")
    return rise(after, list(said.values())) if after else None


def at_places(name: str, places: Sequence[int], numbers: Sequence[Judged]) -> list[float]:
    """The probability of a term's translations at each of these places where it was asked for."""
    return [numbers[place].translations[name] for place in places if name in numbers[place].translations]


def written(number: float) -> str:
    """Four digits: some probabilities are tiny, and what comes after differs from machine to machine."""
    return f"{number:.4g}"


def summary(rows: Sequence[Mapping[str, Any]], absent: Mapping[str, str]) -> dict[str, Any]:
    """reports/terms.json: verdicts, the median over the terms of their ranks, the mean rise of their translations."""
    counts = Counter(row["verdict"] for row in rows)
    ranks = {model: [float(row[f"rank_{model}"]) for row in rows if row[f"rank_{model}"]] for model in COMPARED}
    both = [row for row in rows if row["translation_rise"] and row["elsewhere_rise"]]
    rises = {"due": "translation_rise", "elsewhere": "elsewhere_rise"}
    return {
        "terms": len(rows),
        "verdicts": {name.replace(" ", "_"): counts[name] for name in VERDICTS},
        "median_rank": {model: median(found) for model, found in ranks.items() if found},
        "translation_rise": {
            name: round(fmean(float(row[column]) for row in both), 6) for name, column in rises.items() if both
        },
        "absent": dict(absent),
    }
