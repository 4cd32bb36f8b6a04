"""The per-term table as a page shows it: what became of every anchored term where it is due."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from lethe.core.tables import COMPARED
from lethe.evaluation.term_verdicts import VERDICTS


class Term(NamedTuple):
    """One anchored term; numbers by model, None where nothing was measured.

    rise: of its translation's probability, where the term is due and where others are.
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
    """The rows of data/terms.csv, the most frequent terms first; at most `words` of the likeliest words of each."""
    return sorted((_term(row, words) for row in rows), key=lambda term: (-term.occurrences, term.anchor))


def counts(terms: Sequence[Term]) -> dict[str, int]:
    """How many terms got each verdict, those that none got left out."""
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
        rise=(_number(row["translation_rise"]), _number(row["elsewhere_rise"])),
        top={model: " ".join(row[f"top_{model}"].split()[:words]) for model in COMPARED},
        places=row["places"],
        verdict=row["verdict"],
    )


def _by_model(row: Mapping[str, str], name: str) -> dict[str, float | None]:
    return {model: _number(row[f"{name}_{model}"]) for model in COMPARED}


def _number(cell: str) -> float | None:
    return float(cell) if cell else None
