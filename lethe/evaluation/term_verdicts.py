"""What became of a term: forgotten, only suppressed, renamed, still known, or never known.

Whether a model has learnt to say a term's translation instead of it is not told by how often it says the translation
where the term is due: an unlearned model says ordinary names more often everywhere. So the rise there is compared with
the rise of the same words where other terms of the kind are due.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean, median, variance
from typing import Any, NamedTuple

from lethe.core.tables import COMPARED, TERMS
from lethe.evaluation.term_probes import Judged, Question, Term, mean_probability, median_rank, top_words

VERDICTS = {
    "forgotten": "hardly said any more, on a log scale nearer to a model that never read the text than the baseline",
    "suppressed": "hardly said any more, but not shown to be as unlikely as for a model that never read the text",
    "renamed": "hardly said any more; in its place, and only there, the model has come to say its translation",
    "still known": "more is left of what the text taught than the limit permits",
    "never known": "the baseline hardly expects it more than a model that never read the text",
    "never due": "no place to measure it",
}
CERTAIN = 2.5  # standard errors; of a hundred terms that are not renamed, fewer than one exceeds them

By = Mapping[str, Sequence[Judged]]  # model -> its numbers at every question
# model -> its numbers at every question


class Limits(NamedTuple):
    """known: probability; remaining, renamed: shares."""

    known: float
    remaining: float
    renamed: float


class Rise(NamedTuple):
    """A mean difference of probabilities over places, and the variance of that mean."""

    mean: float
    variance: float


def rise(after: Sequence[float], before: Sequence[Sequence[float]]) -> Rise:
    """How much likelier something is for one model than for whichever of the others gives it most.

    after: its probability at each place; before: the same of each other model.
    """
    most = max(before, key=fmean)
    gaps = [now - then for now, then in zip(after, most, strict=True)]
    return Rise(fmean(gaps), variance(gaps) / len(gaps) if len(gaps) > 1 else math.inf)


def is_renamed(due: Rise, elsewhere: Rise | None, lost: float, share: float) -> bool:
    """Whether more than this share of the probability that a term lost went to its translation, and only there.

    due: of the translation where the term is due; elsewhere: where others are (None: nowhere, taken as no rise at all).
    The difference has to exceed CERTAIN standard errors (Welch).
    """
    there = elsewhere or Rise(0.0, 0.0)
    excess = due.mean - there.mean
    return excess > share * lost and excess > CERTAIN * math.sqrt(due.variance + there.variance)


def verdict(probability: Mapping[str, float], due: Rise | None, elsewhere: Rise | None, limits: Limits) -> str:
    """What became of a term that is due somewhere. probability: of baseline, unlearned and, if there is one, retrained.

    The first rule that holds, where before, after and never are the three models' probabilities (never: 0 without a
    retrained model):

    never known    before - never < known
    still known    after - never > remaining * (before - never)
    renamed        its translation rose where it is due, see is_renamed
    forgotten      after <= sqrt(before * never): at least half of the way down in nats; never without a retrained model
    suppressed     any other
    """
    before, after, never = probability["baseline"], probability["unlearned"], probability.get("retrained", 0.0)
    if before - never < limits.known:
        return "never known"
    if after - never > limits.remaining * (before - never):
        return "still known"
    if due is not None and is_renamed(due, elsewhere, before - after, limits.renamed):
        return "renamed"
    middle = math.sqrt(before) * math.sqrt(never)  # the root of their product would be 0 for the tiniest
    reached = "retrained" in probability and after <= middle
    return "forgotten" if reached else "suppressed"


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
