"""The per-term table as it is read."""

from __future__ import annotations

from pathlib import Path

from lethe.core.tables import TERMS, read_csv
from lethe.report import term_table as remains
from tests.evaluated import write_evaluated


def test_terms_of_a_table(tmp_path: Path) -> None:
    write_evaluated(tmp_path)
    terms = remains.terms_of(read_csv(tmp_path / "data/terms.csv", TERMS), words=2)
    assert [(term.anchor, term.verdict) for term in terms] == [
        ("lantern", "renamed"), ("Orla", "forgotten"), ("Harrow Hill", "still known"), ("Tom", "never known"),
    ]  # fmt: skip
    lantern = terms[0]
    assert lantern.translation == "lamp, light"
    assert lantern.top == dict.fromkeys(("baseline", "unlearned", "retrained"), "the a") | {"suppressed": ""}
    assert lantern.rank == {"baseline": 3.0, "suppressed": None, "unlearned": 40.0, "retrained": 200.0}
    assert lantern.rise == (0.07, -0.01)
    assert remains.counts(terms) == {"forgotten": 1, "renamed": 1, "still known": 1, "never known": 1}
    assert remains.counts([terms[1], terms[1]._replace(verdict="of tomorrow")]) == {"forgotten": 1, "of tomorrow": 1}


def test_without_a_reference_its_cells_are_empty(tmp_path: Path) -> None:
    write_evaluated(tmp_path, models=("baseline", "unlearned"))
    terms = remains.terms_of(read_csv(tmp_path / "data/terms.csv", TERMS), words=2)
    assert {term.probability["retrained"] for term in terms} == {None}
