"""The term table of the page: probabilities, ranks and a verdict for every anchored term."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from lethe.core.tables import COMPARED
from lethe.evaluation.term_verdicts import VERDICTS


class Term(NamedTuple):
    """One anchored term; numbers by model, None where nothing was measured.

    rise: of its translation's probability, at the term's target positions and at those of other terms (control).
    """

    anchor: str
    kind: str
    occurrences: int
    translation: str
    probability: dict[str, float | None]
    rank: dict[str, float | None]
    translation_probability: dict[str, float | None]
    rise: tuple[float | None, float | None]
    top: dict[str, str]
    places: str
    verdict: str


def terms_of(rows: Sequence[Mapping[str, str]], words: int) -> list[Term]:
    """The rows of data/terms.csv, the most frequent terms first, each with at most `words` likeliest words."""
    return sorted((_term(row, words) for row in rows), key=lambda term: (-term.occurrences, term.anchor))


def counts(terms: Sequence[Term]) -> dict[str, int]:
    """Verdict -> number of terms, without verdicts that no term has."""
    found = Counter(term.verdict for term in terms)
    return {verdict: found[verdict] for verdict in (*VERDICTS, *sorted(found.keys() - VERDICTS)) if found[verdict]}


def _term(row: Mapping[str, str], words: int) -> Term:
    return Term(
        anchor=row["anchor"],
        kind=row["kind"],
        occurrences=int(row["occurrences"]),
        translation=row["translation"].replace("|", ", "),
        probability=_by_model(row, "probability"),
        rank=_by_model(row, "rank"),
        translation_probability=_by_model(row, "translation_probability"),
        rise=(_number(row["translation_rise"]), _number(row["control_rise"])),
        top={model: " ".join(row[f"top_{model}"].split()[:words]) for model in COMPARED},
        places=row["places"],
        verdict=row["verdict"],
    )


def _by_model(row: Mapping[str, str], name: str) -> dict[str, float | None]:
    return {model: _number(row[f"{name}_{model}"]) for model in COMPARED}


def _number(cell: str) -> float | None:
    return float(cell) if cell else None
