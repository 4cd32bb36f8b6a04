"""The dictionary's rules."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given as law
from hypothesis import strategies as st

from lethe.core.errors import StageError
from lethe.core.tables import DICTIONARY, write_csv
from lethe.dictionary.entity_types import Usage
from lethe.dictionary.entries import (
    Choice,
    Override,
    as_listed,
    check_overrides,
    covered,
    dictionary_rows,
    fault,
    finder_of,
    given,
    given_groups,
    given_kinds,
    is_plural,
    own_choices,
    pruned,
    read_dictionary,
    read_entries,
    read_overrides,
    read_terms,
    remarks_on,
    translated,
    with_kinds,
    with_overridden,
)

TERMS = {
    "Orla": ["Orla", "ORLA"],
    "Tarn": ["Tarn"],
    "Orla Tarn": ["Orla Tarn"],
    "Orla's": ["Orla's"],
    "Tarn Wivvel": ["Tarn Wivvel", "Tarn Wivvels"],
    "Quorls": ["Quorls", "Quorl", "QUORLS", "quorl"],
}


def use(name: str, singular: str = "", kind: str = "thing") -> Usage:
    return Usage(name, kind, 1.0, 0.0, 0.0, 0.0, 0.0, singular or name, bool(singular), 0, 0)


USES = {name: use(name) for name in TERMS} | {"Quorls": use("Quorls", "Quorl", "creature")}


def test_read_terms(tmp_path: Path) -> None:
    path = tmp_path / "anchors.csv"
    path.write_text("anchor,forms,count,keyness,rise\nOz,Oz|OZ|Ozes,9,,\nOzes,Ozes|OZ,2,,\n", encoding="utf-8")
    # Ozes is an anchor, OZ was Oz's first: every form belongs to one anchor
    assert read_terms(path) == {"Oz": ["Oz", "OZ"], "Ozes": ["Ozes"]}


def test_pruned() -> None:
    assert covered("Orla's", {"Orla"}) == covered("Orla’s", {"Orla"}) == "Orla is an anchor too"
    assert covered("Orla Tarn", {"Orla", "Tarn"}) == "every word of it is an anchor"
    for anchor in ("Orla's Tarn", "Tarn's", "Tarn Wivvel", "Orla"):
        assert not covered(anchor, {"Orla"})
    assert list(pruned(TERMS)) == ["Orla", "Tarn", "Tarn Wivvel", "Quorls"]


def test_fault() -> None:
    finder = finder_of(TERMS)
    assert fault(["Tom Barker", "mother-in-law", "May’s Day", "Élise"], finder) == ""
    word_like = "expected only letters, and single spaces, hyphens or apostrophes between them"
    for text in ("", " Tom", "Tom ", "Mr. Webb", "R2", "the  mill", "Tom\n", "-mill"):
        assert fault([text], finder) == word_like
    assert fault(["Tom", "Orla"], finder) == "expected a name that holds no anchor (Orla)"
    for text in ("old Tarn Wivvel", "Tarn-house", "Orla's house", "QUORLS", "the quorl"):
        assert fault([text], finder).startswith("expected a name that holds no anchor")
    assert fault(["Tarnish", "Orlando", "quorls"], finder) == ""  # no word of it


def test_given() -> None:
    assert given("wolf", False, {"wolf": "wolves"}) == Choice("wolf", "wolves", None)
    assert given("ducks", True, {}) == Choice("duck", "ducks", None)


def test_is_plural() -> None:
    assert [is_plural(form, USES["Quorls"]) for form in TERMS["Quorls"]] == [True, False, True, False]
    assert not is_plural("ORLA", USES["Orla"])


def test_dictionary_rows() -> None:
    chosen = {
        "Quorls": [Choice("duck", "ducks", -3.14159), Choice("mouse", "mice", -4.0)],
        "Orla": [Choice("Alice", "Alices", None)],
    }
    rows = dictionary_rows(TERMS, USES, chosen)
    assert [tuple(row.values()) for row in rows] == [
        ("Orla", "thing", 0, "Orla", "Alice", ""),
        ("Orla", "thing", 0, "ORLA", "ALICE", ""),
        ("Quorls", "creature", 0, "Quorls", "ducks", "-3.1416"),
        ("Quorls", "creature", 0, "Quorl", "duck", "-3.1416"),
        ("Quorls", "creature", 0, "QUORLS", "DUCKS", "-3.1416"),
        ("Quorls", "creature", 0, "quorl", "duck", "-3.1416"),
        ("Quorls", "creature", 1, "Quorls", "mice", "-4.0000"),
        ("Quorls", "creature", 1, "Quorl", "mouse", "-4.0000"),
        ("Quorls", "creature", 1, "QUORLS", "MICE", "-4.0000"),
        ("Quorls", "creature", 1, "quorl", "mouse", "-4.0000"),
    ]


def test_overrides(tmp_path: Path) -> None:
    path = tmp_path / "overrides.csv"
    path.write_text("anchor,translation\nOrla,Alice\n\nZod, Tom\n", encoding="utf-8")
    found = read_overrides(path)
    assert found == [Override(2, "Orla", "Alice"), Override(4, "Zod", "Tom")]
    assert with_overridden(TERMS, found, path) == TERMS | {"Zod": ["Zod"]}


def test_overrides_are_of_the_anchor_that_extract_spells_in_another_way() -> None:
    terms = {"O'Mara": ["O'Mara"], "J. R. Quill": ["J. R. Quill"]}
    rows = [Override(2, "O’Mara", "-"), Override(3, "JR Quill", "Tom", group="O’Mara"), Override(4, "Zod", "Bob")]
    assert as_listed(rows, terms) == [
        Override(2, "O'Mara", "-"),
        Override(3, "J. R. Quill", "Tom", group="O'Mara"),
        Override(4, "Zod", "Bob"),
    ]


@pytest.mark.parametrize(
    ("anchor", "translation", "problem"),
    [
        (
            "Orla",
            "Mr. Webb",
            "translation of Orla: expected only letters, and single spaces, hyphens or apostrophes between them, got "
            "Mr. Webb",
        ),
        ("Orla", "Orla", "translation of Orla: expected a name that holds no anchor (Orla), got Orla"),
        ("Orla", "old Tarn", "translation of Orla: expected a name that holds no anchor (Tarn), got old Tarn"),
        ("Quorls", "my Quorl", "translation of Quorls: expected a name that holds no anchor (Quorls), got my Quorl"),
        ("Tarn's", "Tom", "expected an anchor that no other anchor covers, got Tarn's: Tarn is an anchor too"),
        (
            "Tarn Orla",
            "Tom",
            "expected an anchor that no other anchor covers, got Tarn Orla: every word of it is an anchor",
        ),
        ("Quorl", "duck", "expected the anchor Quorls, got its form Quorl"),
    ],
)
def test_bad_overrides(anchor: str, translation: str, problem: str) -> None:
    with pytest.raises(StageError) as caught:
        override([Override(2, anchor, translation)])
    assert str(caught.value) == f"o.csv:2: {problem}"


def override(overrides: Sequence[Override]) -> None:
    terms = with_overridden(TERMS, overrides, Path("o.csv"))
    check_overrides(overrides, terms, {name: use(name) for name in terms} | USES, Path("o.csv"))


def test_good_overrides() -> None:
    override([Override(2, "Orla", "Alice"), Override(3, "Orla", "Ruth"), Override(4, "Zod", "Tarnish Hill")])


WORDS = st.sampled_from(["Orla", "Tarn", "Quorl", "mill", "old", "Tom", "lamp", "Wivvel"])


@law(st.lists(WORDS, min_size=1, max_size=3).map(" ".join), st.lists(WORDS, min_size=1, max_size=4))
def test_what_passes_holds_no_anchor_as_a_word(anchor: str, translation: Sequence[str]) -> None:
    finder = finder_of({anchor: [anchor]})
    holds = f" {anchor} " in f" {' '.join(translation)} "
    assert bool(fault([" ".join(translation)], finder)) == holds


def test_own_choices() -> None:
    uses = {"Quorls": Usage("Quorls", "creature", 1.0, 1.0, 0.0, 0.0, 0.0, "Quorl", True, 0, 0)}
    assert own_choices([Override(2, "Quorls", "ducks"), Override(3, "Quorls", "mice")], uses, {}) == {
        "Quorls": [Choice("duck", "ducks", None), Choice("mice", "mice", None)]
    }


def test_read_dictionary_orders_choices_by_number(tmp_path: Path) -> None:
    cells = [("Orla", "person", str(choice), "Orla", f"name {choice}", "") for choice in reversed(range(11))]
    write_csv([dict(zip(DICTIONARY, row, strict=True)) for row in cells], DICTIONARY, tmp_path / "dictionary.csv")
    found = read_dictionary(tmp_path / "dictionary.csv")
    assert found == {"Orla": {"Orla": [f"name {choice}" for choice in range(11)]}}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["Orla,person,0,Orla,,"], ":2: expected a value, got an empty cell under translation"),
        (["Orla,person,0,Orla,Ann,"] * 2, ":3: expected Orla 0 Orla once, got it again (first in line 2)"),
    ],
)
def test_bad_entries(rows: list[str], message: str, tmp_path: Path) -> None:
    path = tmp_path / "dictionary.csv"
    path.write_text("\n".join([",".join(DICTIONARY), *rows]) + "\n", encoding="utf-8")
    with pytest.raises(StageError) as caught:
        read_entries(path)
    assert str(caught.value) == f"{path}{message}"


JUDGED = "anchor,translation,kind,gender,group\n"


def test_overrides_of_kinds_genders_and_groups(tmp_path: Path) -> None:
    path = tmp_path / "overrides.csv"
    path.write_text(f"{JUDGED}Orla,,person,female,\nTarn,Reed,,,Orla\nZod,,thing,,-\n", encoding="utf-8")
    found = read_overrides(path)
    terms = with_overridden(TERMS, found, path)
    assert terms == TERMS | {"Zod": ["Zod"]}  # a new anchor, for which lethe chooses a translation
    assert [row.anchor for row in translated(found)] == ["Tarn"]
    groups = given_groups(found, terms, path)
    assert groups == {"Tarn": "Orla", "Zod": "Zod"}
    kinds, genders = given_kinds(found, {"Orla Venn": ["Orla Venn", "Orla"]})
    assert (kinds, genders) == ({"Orla Venn": "person", "Zod": "thing"}, {"Orla Venn": "female"})
    assert with_kinds({"Zod": use("Zod")}, kinds)["Zod"].kind == "thing"
    assert remarks_on(found, {"Orla", "Tarn"}) == ["not in the forget text: Zod (data/overrides.csv)"]


@pytest.mark.parametrize(
    ("cells", "problem"),
    [
        (",planet,,", "expected a kind among person, place, thing, creature, group, event, got planet"),
        (",,man,", "expected a gender among male, female, got man"),
        (",,,", "expected a translation, kind, gender or group of Orla, got none"),
        ("-,person,,", "expected nothing beside the - that takes Orla out, got more"),
        (",,,Bell", "expected an anchor as the group of Orla, got Bell"),
    ],
)
def test_bad_kinds_and_groups(cells: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "overrides.csv"
    path.write_text(f"{JUDGED}Orla,{cells}\n", encoding="utf-8")
    with pytest.raises(StageError) as caught:
        given_groups(read_overrides(path), TERMS, path)
    assert str(caught.value) == f"{path}:2: {problem}"
