"""What local extraction finds of the names in stories in each of eleven languages: against lists made by hand.

    make languages        # python -m studies.languages [CODE ...]

No model and no retain text takes part: the names are sought in some 2,000 words alone, in some 250 (`-2`, and `-3`,
with which no rule was ever mended but for three of Hebrew and Chinese) and in 500 to 800 (`-4` to `-7`). A term is
right if one of its forms is a name of the list or a form of one; a name is found if a term has one of its forms, or if
terms cover a part of every place of it (`Olga` and `Petrova` wherever the text has `Olga Petrova`).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from lethe.anchors.candidates import find_terms
from lethe.core.tables import read_csv
from lethe.text.languages import MEASURED, languages
from lethe.text.matching import TermFinder, term_finder

DATA = Path(__file__).resolve().parents[1] / "tests/studies/data/languages"
LISTED = ("language", "name", "forms")
NUMBERED = ("second", "kept back", "fourth", "fifth", "sixth", "seventh")
ORDINAL = {"": ""} | {f"-{number}": f", {word}" for number, word in enumerate(NUMBERED, start=2)}
MINIMUM_COUNT, MINIMUM_KEYNESS = 2, 2.0  # as extract asks by default


class Score(NamedTuple):
    """Names of the list, how many of them are terms; terms, how many of them are names; places, how many are found."""

    names: int
    found: int
    terms: int
    right: int
    places: int
    covered: int
    missed: list[str]
    wrong: list[str]

    @property
    def recall(self) -> float:
        return self.found / self.names

    @property
    def precision(self) -> float:
        return self.right / max(1, self.terms)


def score(code: str) -> Score:
    """How the names of a language's story are found."""
    text = (DATA / f"{code}.txt").read_text(encoding="utf-8")
    rows = read_csv(DATA / "names.csv", LISTED)
    listed = {
        row["name"]: [row["name"], *filter(None, row["forms"].split("|"))] for row in rows if row["language"] == code
    }
    terms = find_terms([text], [], MINIMUM_COUNT, MINIMUM_KEYNESS).candidates
    known = {form for forms in listed.values() for form in forms}
    written = {form for term in terms for form in term.forms}
    right = [term for term in terms if known.intersection(term.forms)]
    places = term_finder(listed).find(text)
    hits = spans(term_finder({term.forms[0]: term.forms for term in terms}), text)
    covered = [place for place in places if any(start < place.end and place.start < end for start, end in hits)]
    every = term_finder(listed).find_all(text)  # also `Petrova` in `Olga Petrova`
    open_places = {hit.term for hit in every if not any(start < hit.end and hit.start < end for start, end in hits)}
    missed = [name for name, forms in listed.items() if name in open_places and written.isdisjoint(forms)]
    wrong = [term.forms[0] for term in terms if not known.intersection(term.forms)]
    return Score(
        len(listed), len(listed) - len(missed), len(terms), len(right), len(places), len(covered), missed, wrong
    )


def spans(finder: TermFinder, text: str) -> list[tuple[int, int]]:
    """Where the terms are."""
    return [(hit.start, hit.end) for hit in finder.find(text)]


def main(codes: Iterable[str]) -> None:
    """Print a table, and under it what was missed and what was no name. codes: of texts, `ru` or `ru-2`."""
    print("| language | recall | precision | places of names found |\n|---|---|---|---|")
    lines = []
    for code in codes:
        found = score(code)
        name = languages()[code[:2]].name + ORDINAL[code[2:]]
        print(
            f"| {name} | {found.recall:.2f} ({found.found} of {found.names}) | {found.precision:.2f} "
            f"({found.right} of {found.terms}) | {found.covered} of {found.places} |"
        )
        lines += [f"{name}: missed {', '.join(found.missed) or 'none'}; no names {', '.join(found.wrong) or 'none'}"]
    print("\n" + "\n".join(lines))


if __name__ == "__main__":
    main(sys.argv[1:] or [code + one for code in MEASURED for one in ORDINAL if (DATA / f"{code}{one}.txt").exists()])
