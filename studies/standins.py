"""How many anchors get a stand-in of the right kind, gender and alias group: books against lists made by hand.

    python -m studies.standins FOLDER    # of oz.txt and alice.txt; the story of the tests is always measured

No model takes part: anchors are sought in the text alone, and compared are the kind, the gender and the group by which
stand-ins are chosen.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from lethe.anchors.candidates import find_terms
from lethe.core.tables import read_csv
from lethe.dictionary.aliases import alias_groups, merged, whole_forms
from lethe.dictionary.contexts import read_uses
from lethe.dictionary.entity_types import read_rules, tell_genders
from lethe.dictionary.gazetteer import known_genders, nouns_by_kind, read_gazetteer
from lethe.text.matching import owners

DATA = Path(__file__).resolve().parents[1] / "tests/studies/data"
LISTED = ("name", "kind", "gender", "group")
BOOKS = {"oz": "alice", "alice": "oz"}  # book -> the one that is its retain text


class Score(NamedTuple):
    """Shares as (right, of how many). A gender counts where the list has one and a person was seen."""

    found: tuple[int, int]  # names of the list that are anchors
    kind: tuple[int, int]
    gender: tuple[int, int]
    group: tuple[int, int]
    wrong: list[str]  # what was judged otherwise


def score(text: str, retain: str, listed: Sequence[dict[str, str]]) -> Score:
    """How the anchors of a text are judged. listed: rows of LISTED; kinds that are right are separated by |."""
    candidates = find_terms([text], [retain], 2, 2.0).candidates
    forms = owners({term.forms[0]: term.forms for term in candidates})
    terms: dict[str, list[str]] = {}
    for form, name in forms.items():
        terms.setdefault(name, []).append(form)
    gazetteer = read_gazetteer()
    rules = read_rules(nouns_by_kind(gazetteer))
    uses, _ = read_uses(terms, [text], rules, 1)
    aliases = alias_groups(terms, uses, ())
    groups = {name: first for first, names in aliases.items() for name in names}
    pooled, _ = read_uses(merged(terms, aliases), [text], rules, 1, whole_forms(terms, aliases, uses))
    genders = tell_genders(pooled, known_genders(gazetteer))
    rows = [row for row in listed if row["name"] in terms]
    grouped, persons = [row for row in rows if row["group"]], 0
    wrong, right = [], dict.fromkeys(("kind", "gender", "group"), 0)
    for row in rows:
        first = groups.get(row["name"], row["name"])
        own = {other["name"] for other in grouped if other["group"] == row["group"]}
        given = {other["name"] for other in grouped if groups.get(other["name"], other["name"]) == first}
        kind, gender = pooled[first].kind, genders.get(first, "")
        persons += gendered(row, kind)
        judged = {
            "kind": (True, kind in row["kind"].split("|"), kind),
            "gender": (gendered(row, kind), gender == row["gender"], gender or "none"),
            "group": (bool(row["group"]), own == given, ", ".join(sorted(given))),
        }
        for what, (counts, holds, said) in judged.items():
            right[what] += counts and holds
            if counts and not holds:
                wrong.append(f"{row['name']}: {what} {said}")
    asked = {"kind": len(rows), "gender": persons, "group": len(grouped)}
    shares = {what: (right[what], asked[what]) for what in right}
    return Score((len(rows), len(listed)), *shares.values(), wrong)


def gendered(row: dict[str, str], kind: str) -> bool:
    """Whether a stand-in has a gender to get right: those of persons alone have one."""
    return bool(row["gender"]) and kind == "person"


def main(folder: Path) -> None:
    """Print a table, and under it what was judged wrongly."""
    texts = {book: (folder / f"{book}.txt").read_text(encoding="utf-8-sig") for book in BOOKS}
    asked = {book: (texts[book], texts[other]) for book, other in BOOKS.items()}
    asked["story"] = ((DATA / "story.txt").read_text(encoding="utf-8"), texts["alice"])
    print("| text | names found | right kind | right gender | right group |\n|---|---|---|---|---|")
    wrong = []
    for name, (text, retain) in asked.items():
        found = score(text, retain, read_csv(DATA / f"names_{name}.csv", LISTED, unique=("name",)))
        print(f"| {name} | {' | '.join(f'{right} of {all_of}' for right, all_of in found[:4])} |")
        wrong += [f"{name}: {line}" for line in found.wrong]
    print("\n" + "\n".join(wrong))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
