"""Ordinary names."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from lethe.core.errors import StageError
from lethe.dictionary.entity_types import KINDS, Usage, read_rules
from lethe.dictionary.entries import WORD_LIKE
from lethe.dictionary.gazetteer import (
    Generic,
    capitalised_names,
    generic_names,
    is_clear,
    is_own,
    known_genders,
    noun_phrases,
    noun_plurals,
    nouns_by_kind,
    read_gazetteer,
    stand_ins,
    surnames,
)

VILLAGE = (
    "Then Martha carried the brass kettle to Lower Sedley. In Lower Sedley, Martha said she was tired, and Tom "
    "laughed. The old ducks slept near the mill. Martha held the brass kettle. At last Martha went from Lower Sedley "
    "to the mill with Tom Barker, and Martha asked for her kettle. So they put the brass kettle by the mill in "
    "Lower Sedley, and Martha told Tom Barker about a duck. "
)


def small_gazetteer() -> list[Generic]:
    return [
        Generic("person", "Tom", "Toms", "male", 0),
        Generic("person", "old lady", "old ladies", "female", 0),
        Generic("place", "mill", "mills", "", 0),
        Generic("thing", "kettle", "kettles", "", 0),
        Generic("thing", "knife", "knives", "", 0),
        Generic("creature", "duck", "ducks", "", 0),
    ]


def test_the_gazetteer_is_sound() -> None:
    gazetteer = read_gazetteer()
    assert len(gazetteer) >= 600
    assert {entry.kind for entry in gazetteer} == set(KINDS)
    for entry in gazetteer:
        assert all(map(WORD_LIKE.fullmatch, (entry.name, entry.plural))), entry
        assert entry.name.islower() or entry.name[0].isupper(), entry
        assert entry.gender in ({"", "male", "female"} if entry.kind == "person" else {""}), entry
        company = entry.kind == "group" and not entry.name.islower()
        assert company or entry.plural != entry.name or entry.name in ("deer", "fish", "salmon", "sheep", "trout"), (
            entry
        )
    kinds = Counter((entry.kind, entry.name.islower()) for entry in gazetteer)
    # bare names are needed of persons, places and events, nouns with an article of all kinds
    assert min(kinds[kind, True] for kind in KINDS) >= 50
    assert min(kinds[kind, False] for kind in ("person", "place", "event")) >= 20
    assert kinds["group", False] >= 16  # companies


def test_gazetteer_plurals() -> None:
    plurals = {entry.name: entry.plural for entry in read_gazetteer()}
    names = ("wolf", "field mouse", "wild goose", "old woman", "pocket knife", "duck", "factory", "Amy")
    assert [plurals[name] for name in names] == [
        "wolves",
        "field mice",
        "wild geese",
        "old women",
        "pocket knives",
        "ducks",
        "factories",
        "Amys",
    ]


def test_read_gazetteer_refuses_a_name_twice(tmp_path: Path) -> None:
    path = tmp_path / "names.csv"
    path.write_text("kind,name,plural,gender\nthing,cup,,\nthing,cup,,\n", encoding="utf-8")
    with pytest.raises(StageError, match=r"names\.csv:3: expected thing cup once, got it again \(first in line 2\)"):
        read_gazetteer(path)


def test_views_of_the_gazetteer() -> None:
    assert nouns_by_kind(small_gazetteer())["thing"] == {"kettle": "kettles", "knife": "knives"}
    assert nouns_by_kind(small_gazetteer())["person"] == {}  # a first name and two words
    assert noun_plurals(small_gazetteer())["knife"] == "knives"
    assert known_genders(small_gazetteer()) == {"Tom": "male", "lady": "female"}
    both = [*small_gazetteer(), Generic("person", "Tom Hale", "Tom Hales", "female", 0)]
    assert known_genders(both) == {"lady": "female"}  # the two Toms disagree


def test_capitalised_names() -> None:
    # Then, In, At, So start sentences; Rose is written in small letters as often
    assert not capitalised_names(["so on Monday Alice came, in August Tom"])
    assert capitalised_names([VILLAGE, "a rose, Rose and Mrs Hale, Mr"]) == {
        "Lower Sedley": 4,
        "Martha": 5,
        "Tom": 1,
        "Tom Barker": 2,
        "Mrs Hale": 1,
    }


def test_noun_phrases() -> None:
    nouns = nouns_by_kind(small_gazetteer())
    assert noun_phrases([VILLAGE], nouns) == {"brass kettle": 3}
    text = "the big old duck sat, a boy and duck, the painted kettle, his tin knife drawer"
    assert noun_phrases([text], nouns) == {"big old duck": 1, "tin knife": 1}  # `and` and `painted`: no


def test_is_clear() -> None:
    nouns = nouns_by_kind(small_gazetteer())
    use = Usage("Martha", "person", 0.9, 0.1, 0.0, 0.0, 0.0, "Martha", False, 0, 0)
    assert is_clear("Martha", use, nouns)
    assert not is_clear("Martha", use._replace(margin=0.1), nouns)
    assert not is_clear("Swan", use._replace(article=0.9), nouns)
    assert not is_clear("Bennets", use._replace(plural=True), nouns)
    assert is_clear("brass kettle", use._replace(kind="thing", article=1.0), nouns)
    assert not is_clear("brass kettle", use._replace(kind="place", article=1.0), nouns)  # a kettle is none


def test_generic_names() -> None:
    gazetteer = small_gazetteer()
    rules = read_rules(nouns_by_kind(gazetteer))
    found = generic_names([VILLAGE] * 2, gazetteer, rules)
    by_name = {entry.name: entry for entry in found}
    assert by_name["Martha"] == Generic("person", "Martha", "Marthas", "female", 12)
    assert by_name["Tom Barker"].gender == "male"  # as Tom is
    assert by_name["Lower Sedley"].kind == "place"
    assert by_name["brass kettle"] == Generic("thing", "brass kettle", "brass kettles", "", 6)
    assert by_name["duck"].frequency == 4  # a plural counts
    assert by_name["knife"].frequency == 0
    assert [entry.frequency for entry in found] == sorted((entry.frequency for entry in found), reverse=True)


def test_no_retain_text_leaves_the_gazetteer() -> None:
    gazetteer = small_gazetteer()
    assert sorted(generic_names([], gazetteer, [])) == sorted(gazetteer)


def test_tinystories(realdata: Path) -> None:
    gazetteer = read_gazetteer()
    text = " ".join((realdata / "text/tinystories.txt").read_text(encoding="utf-8").split())
    found = generic_names([text], gazetteer, read_rules(nouns_by_kind(gazetteer)))
    added = {entry.name: entry for entry in found}
    assert (added["Lily"].kind, added["Lily"].gender) == ("person", "female")
    assert (added["Timmy"].kind, added["Timmy"].gender) == ("person", "male")
    assert (added["little girl"].kind, added["little girl"].gender) == ("person", "female")
    assert [added[name].kind for name in ("teddy bear", "big box")] == ["creature", "thing"]
    assert not {"Once", "Mr", "She", "Mom"} & {entry.name for entry in found}


def test_names_that_are_the_retain_texts_own_are_no_stand_ins() -> None:
    gazetteer = read_gazetteer()
    rules = read_rules(nouns_by_kind(gazetteer))
    text = 'Then Darcy said so to Alice. "Yes," said Darcy, and Alice laughed. Then they went to London in the rain. '
    found = {
        kind: {one.name for one in stand_ins([text * 9], gazetteer, rules, kind == "ordinary")}
        for kind in ("any", "ordinary")
    }
    assert {"Darcy", "Alice", "London"} <= found["any"]
    assert not {"Darcy", "Alice"} & found["ordinary"]
    assert {"Thomas", "baker"} & found["ordinary"]
    assert is_own("Darcy", 378, 122_000)
    assert is_own("Longbourn", 88, 122_000)
    assert is_own("Miss Lucas", 26, 122_000)
    assert not is_own("London", 55, 122_000)
    assert not is_own("Darcy", 3, 122_000)  # too few to tell
    assert "Webb" not in surnames(["Doctor Webb came. " * 4])
    assert "Webb" in surnames([])
