"""The forget side's sentences with other names."""

from __future__ import annotations

from lethe.dictionary.entity_types import Usage
from lethe.dictionary.gazetteer import Generic
from lethe.metrics import name_swaps as neighbours
from lethe.metrics.name_swaps import Frame, Names
from lethe.text.matching import name_finder


def use(name: str, kind: str, article: float = 0.0) -> Usage:
    return Usage(name, kind, 1.0, article, 0.0, 0.0, 0.0, name, False, 0, 0)


def person(name: str, gender: str) -> Generic:
    return Generic("person", name, f"{name}s", gender, 9)


NAMES = Names(
    finder=name_finder(["Orla", "Tom", "Vesk", "Harrow Hill"]),
    uses={
        "Orla": use("Orla", "person"),
        "Tom": use("Tom", "person"),
        "Vesk": use("Vesk", "creature", article=0.9),
        "Harrow Hill": use("Harrow Hill", "place"),
    },
    genders={"Orla": "female", "Tom": "male"},
    ordinary=[
        person("Alice", "female"),
        person("Peter", "male"),
        Generic("place", "Kingsford", "Kingsfords", "", 5),
        Generic("creature", "otter", "otters", "", 0),
    ],
)


def test_every_name_gets_another_one_of_its_kind_and_gender() -> None:
    text = "Tom said that Orla saw two Vesks at Harrow Hill, and Tom"
    chosen = neighbours.replacements(text, NAMES, seed=0)
    assert {name: generic.name for name, generic in chosen.items()} == {
        "Tom": "Peter",
        "Orla": "Alice",
        "Vesk": "otter",
        "Harrow Hill": "Kingsford",
    }
    found = neighbours.frame("prompt 1", text, chosen, NAMES)
    assert found is not None
    assert found.text == "Peter said that Alice saw two otters at Kingsford, and Peter"
    assert [found.text[start:end] for start, end in found.replaced] == [
        "Peter",
        "Alice",
        "otters",
        "Kingsford",
        "Peter",
    ]


def test_a_prompt_with_a_name_that_has_no_stand_in_is_left_out() -> None:
    prompts = [("a", "Tom met Orla"), ("b", "Nobody came"), ("c", "Tom met Tom")]
    few = NAMES._replace(ordinary=[person("Peter", "male")])
    assert [frame.text for frame in neighbours.frames(prompts, few, seed=0)] == ["Peter met Peter"]
    assert [frame.item for frame in neighbours.frames(prompts, NAMES, seed=0)] == ["a", "c"]


def test_two_names_are_never_replaced_by_one() -> None:
    two = NAMES._replace(genders={"Orla": "male", "Tom": "male"})
    assert neighbours.frames([("a", "Tom met Orla")], two, seed=0) == []  # there is one man only


def test_only_the_longest_of_prompts_that_begin_alike() -> None:
    prompts = [("a", "Tom met"), ("b", "Tom met Orla at"), ("c", "Orla"), ("d", "Tom met Orla at")]
    assert neighbours.longest(prompts) == [("b", "Tom met Orla at"), ("c", "Orla")]


def test_own_tokens_are_those_that_touch_no_name() -> None:
    # <s>|Pe|ter| met| Al|ice| here, the names at 0-5 and 10-15
    offsets = [(0, 0), (0, 2), (2, 5), (5, 9), (9, 12), (12, 15), (15, 20)]
    assert neighbours.own_tokens(offsets, [(0, 5), (10, 15)]) == [False, False, True, False, False, True]


def test_names_are_learnt_from_the_texts() -> None:
    forget = ["Then Orla said yes. Orla laughed, and Orla's brother said that Orla knew. " * 5]
    retain = ["Then Alice said yes, and Alice laughed. In the end Alice knew it. " * 5]
    names = neighbours.analyse_names(["Orla"], forget, retain)
    assert names.uses["Orla"].kind == "person"
    assert neighbours.retain_kinds(names)["Alice"] == "person"
    assert [isinstance(frame, Frame) for frame in neighbours.frames([("a", "and Orla said")], names, 0)] == [True]
