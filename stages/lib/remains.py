"""What became of every anchored term where it is due: forgotten, renamed, or still there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from stages.lib.metrics import MODELS

PER_MODEL = ("probability", "rank", "translation_probability", "top")
TERMS = ("anchor", "kind", "occurrences", "translation", *(f"{name}_{model}" for model in MODELS for name in PER_MODEL))

KNOWN = 0.01  # of probability above the retrained model's: below it there was nothing to forget
FORGOTTEN = 0.1  # of what the baseline knew may be left
REMAINS = 0.5
RENAMED = 0.5  # of the probability that the term lost went to its generic translation

VERDICTS = {
    "remains": "more than half of its probability is left",
    "partly": "more than a tenth of its probability is left",
    "renamed": "its probability is gone, and at least half of it went to its generic translation",
    "forgotten": "at most a tenth of its probability is left, and its translation did not take its place",
    "never known": "the baseline hardly expected it more than a model that never read the text",
    "not measured": "it is due nowhere that was measured",
}


class Term(NamedTuple):
    """One anchored term; numbers by model, None where it was not measured."""

    anchor: str
    kind: str
    occurrences: int
    translation: str
    probability: dict[str, float | None]
    rank: dict[str, float | None]
    translation_probability: dict[str, float | None]
    top: dict[str, str]
    verdict: str


def terms_of(rows: Sequence[Mapping[str, str]], words: int) -> list[Term]:
    """The terms of data/terms.csv with their verdicts, the most frequent first; `words` of what is likeliest."""
    found = [_term(row, words) for row in rows]
    return sorted(found, key=lambda term: (-term.occurrences, term.anchor))


def counts(terms: Sequence[Term]) -> dict[str, int]:
    """How many terms got each verdict, in the order of VERDICTS."""
    found = Counter(term.verdict for term in terms)
    return {verdict: found[verdict] for verdict in VERDICTS if found[verdict]}


def verdict(probability: Mapping[str, float | None], translation: Mapping[str, float | None]) -> str:
    """What became of a term, from the probabilities of it and of its translation where it is due.

    Without a retrained reference, 0 stands for it.
    """
    before, after, never = probability["baseline"], probability["unlearned"], probability["retrained"] or 0.0
    if before is None or after is None:
        return "not measured"
    if before - never < KNOWN:
        return "never known"
    left = (after - never) / (before - never)
    if left > FORGOTTEN:
        return "remains" if left > REMAINS else "partly"
    gained = (translation["unlearned"] or 0.0) - (translation["baseline"] or 0.0)
    return "renamed" if gained >= RENAMED * (before - after) else "forgotten"


def _term(row: Mapping[str, str], words: int) -> Term:
    probability, rank, translated = ({model: _number(row[f"{name}_{model}"]) for model in MODELS} for name in PER_MODEL[:3])
    top = {model: " ".join(row[f"top_{model}"].split()[:words]) for model in MODELS}
    known = row["anchor"], row["kind"], int(row["occurrences"]), row["translation"]
    return Term(*known, probability, rank, translated, top, verdict(probability, translated))


def _number(cell: str) -> float | None:
    return float(cell) if cell else None
