"""Names of one person are one anchor with one stand-in."""

from __future__ import annotations

import pytest

from lethe.dictionary.aliases import alias_groups, bare, in_parts, merged, part_of, regrouped, unused, with_parts
from lethe.dictionary.entity_types import Usage
from lethe.dictionary.entries import Choice, dictionary_rows, pruned


def use(name: str, kind: str = "person", article: float = 0.0, plural: bool = False) -> Usage:
    return Usage(name, kind, 1.0, article, 0.0, 0.0, 0.0, name, plural, 0, 0)


def groups(*uses: Usage, apart: tuple[str, ...] = ()) -> dict[str, list[str]]:
    return alias_groups({one.name: [one.name] for one in uses}, {one.name: one for one in uses}, apart)


@pytest.mark.parametrize(
    ("uses", "found"),
    [
        ([use("Peter"), use("Peter Pan"), use("Pan")], {"Peter Pan": ["Peter Pan", "Pan", "Peter"]}),
        ([use("Darcy"), use("Mr. Darcy")], {"Mr. Darcy": ["Mr. Darcy", "Darcy"]}),
        ([use("Bennet"), use("Mr. Bennet"), use("Mrs. Bennet")], {}),  # neither, or both
        ([use("Lion", article=1), use("Cowardly Lion", "creature", 1)], {"Cowardly Lion": ["Cowardly Lion", "Lion"]}),
        ([use("Oz"), use("Land of Oz", "place", 1)], {}),
        ([use("Oz"), use("Great Oz", article=1)], {"Great Oz": ["Great Oz", "Oz"]}),
        (
            [use("Witch", article=1), use("Witch of the East", article=1)],
            {"Witch of the East": ["Witch of the East", "Witch"]},
        ),
        ([use("Orla Tarn"), use("Tarn Wivvel"), use("Tarn")], {}),
        ([use("Harrow", "place"), use("Harrow Hill", "place")], {}),  # a place's beginning may be another place
        ([use("Orlas", plural=True), use("Orla Venn")], {}),
        (
            [use("Captain Orla Venn"), use("Orla Venn"), use("Orla"), use("Venn")],
            {"Captain Orla Venn": ["Captain Orla Venn", "Orla", "Orla Venn", "Venn"]},
        ),
    ],
)
def test_groups(uses: list[Usage], found: dict[str, list[str]]) -> None:
    assert groups(*uses) == found


def test_a_name_that_the_user_translates_stays_alone() -> None:
    assert groups(use("Peter"), use("Peter Pan"), apart=("Peter",)) == {}


def test_the_parts_of_a_stand_in() -> None:
    uses = {name: use(name) for name in ("Peter", "Peter Pan", "Pan")}
    (choice,) = with_parts("Peter Pan", uses["Peter Pan"], [Choice("Tom", "Toms", -1.0)], ["Barlow"], 0)
    assert choice == Choice("Tom Barlow", "Toms Barlow", -1.0)
    assert part_of(choice, "Peter", "Peter Pan").singular == "Tom"
    assert part_of(choice, "Pan", "Peter Pan").singular == "Barlow"
    assert part_of(choice, "Peter Pan", "Peter Pan") == choice
    terms = {"Peter": ["Peter", "PETER"], "Peter Pan": ["Peter Pan"], "Pan": ["Pan"]}
    found = alias_groups(terms, uses, ())
    kept = pruned(merged(terms, found))
    assert kept == {"Peter Pan": ["Peter Pan", "Pan", "Peter", "PETER"]}
    rows = dictionary_rows(kept, uses, {"Peter Pan": [choice]}, in_parts(terms, found, uses))
    written = {row["form"]: row["translation"] for row in rows}
    assert written == {"Peter Pan": "Tom Barlow", "Pan": "Barlow", "Peter": "Tom", "PETER": "TOM"}
    assert {row["anchor"] for row in rows} == {"Peter Pan"}


def test_a_noun_gets_a_quality_and_a_title_none() -> None:
    lion = use("Cowardly Lion", "creature", 1)
    (choice,) = with_parts("Cowardly Lion", lion, [Choice("fox", "foxes", None)], ["Barlow"], 0)
    quality, noun = choice.singular.split()
    assert (noun, choice.plural) == ("fox", f"{quality} foxes")
    assert part_of(choice, "Lion", "Cowardly Lion") == Choice("fox", "foxes", None)
    darcy = use("Mr. Darcy")
    assert with_parts("Mr. Darcy", darcy, [Choice("Tom", "Toms", None)], ["Barlow"], 0) == [Choice("Tom", "Toms", None)]
    assert part_of(Choice("Tom", "Toms", None), "Darcy", "Mr. Darcy").singular == "Tom"


def test_words_of_a_name() -> None:
    assert bare("Mr. Darcy") == bare("the Darcys") == ["darcy"]
    assert bare("Lady Catherine de Bourgh") == ["catherine", "de", "bourgh"]
    assert bare("Captain") == ["captain"]


def test_no_surname_is_a_word_of_an_anchor() -> None:
    assert unused(["Barlow", "Pan"], ["Peter Pan"]) == ["Barlow"]
    assert unused(["Barlow"], ["Orla Barlow"]) == ["Barlow"]  # there must be one


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, {"Peter Pan": ["Peter Pan", "Pan", "Peter"]}),
        ({"Boy": "Peter"}, {"Peter Pan": ["Peter Pan", "Boy", "Pan", "Peter"]}),  # any name of the group will do
        ({"Pan": "Pan"}, {"Peter Pan": ["Peter Pan", "Peter"]}),  # stays alone
        ({"Peter": "Peter", "Pan": "Pan"}, {}),
        ({"Tink": "Tinker Bell"}, {"Peter Pan": ["Peter Pan", "Pan", "Peter"], "Tinker Bell": ["Tinker Bell", "Tink"]}),
        (
            {"Peter": "Tinker Bell", "Pan": "Tinker Bell"},
            {"Tinker Bell": ["Tinker Bell", "Pan", "Peter"]},
        ),
    ],
)
def test_groups_that_a_person_gives(given: dict[str, str], found: dict[str, list[str]]) -> None:
    assert regrouped({"Peter Pan": ["Peter Pan", "Pan", "Peter"]}, given) == found


def test_a_nickname_is_the_beginning_of_the_stand_in() -> None:
    assert part_of(Choice("Mary Reed", "Mary Reeds", None), "Tink", "Tinker Bell").singular == "Mary"
    assert part_of(Choice("Mary Reed", "Mary Reeds", None), "Bell", "Tinker Bell").singular == "Reed"
