"""The kind of a name, from its contexts."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from lethe.dictionary.entity_types import (
    KINDS,
    Context,
    Rule,
    Usage,
    contexts_at,
    determiner_at,
    find_places,
    kind_scores,
    looks_plural,
    own_slots,
    read_rules,
    share,
    slots,
    spread,
    tell_gender,
    tell_genders,
    tokens,
    usage,
)
from lethe.dictionary.gazetteer import nouns_by_kind, read_gazetteer
from lethe.text.matching import TermFinder, surface_forms

ROOT = Path(__file__).resolve().parents[2]

OZ = {  # by hand; what is both is right as either
    "Dorothy": "person",
    "Toto": "creature person",
    "Scarecrow": "person",
    "Tin Woodman": "person",
    "Cowardly Lion": "person creature",
    "Oz": "place person",
    "Emerald City": "place",
    "Aunt Em": "person",
    "Uncle Henry": "person",
    "Kansas": "place",
    "Munchkins": "group",
    "Winkies": "group",
    "Quadlings": "group",
    "Glinda": "person",
    "Kalidahs": "creature",
    "Winged Monkeys": "creature group",
    "Golden Cap": "thing",
    "Silver Shoes": "thing",
    "Wicked Witch": "person",
    "Good Witch": "person",
    "Guardian of the Gates": "person",
    "Gayelette": "person",
    "Quelala": "person",
    "Boq": "person",
    "Hammer-Heads": "group",
    "Queen of the Field Mice": "person",
    "Omaha": "place",
}
PRIDE = {
    "Elizabeth": "person",
    "Darcy": "person",
    "Mrs. Bennet": "person",
    "Wickham": "person",
    "Lydia": "person",
    "Lady Catherine": "person",
    "Charlotte": "person",
    "Longbourn": "place",
    "Netherfield": "place",
    "Meryton": "place",
    "Pemberley": "place",
    "Rosings": "place",
    "Hunsford": "place",
    "Brighton": "place",
    "Derbyshire": "place",
    "London": "place",
    "Lambton": "place",
}


def context(text: str, form: str) -> Context:
    """The one place of `form` in `text`."""
    before, after = text.split(form)
    return Context(before, form, after)


def accuracy(texts: Sequence[str], kinds: Mapping[str, str]) -> float:
    rules = read_rules(nouns_by_kind(read_gazetteer()))
    forms = {form: name for name in kinds for form in surface_forms(name)} | {name: name for name in kinds}
    places = find_places(texts, TermFinder(forms), kinds)
    right = 0
    for name, wanted in kinds.items():
        contexts = contexts_at(texts, places[name], 200)
        right += usage(name, {found.form for found in contexts}, contexts, rules).kind in wanted.split()
    return right / len(kinds)


def test_find_places_and_contexts() -> None:
    texts = ["At Oz two Quorls met.", "A Quorl\nof Oz."]
    places = find_places(texts, TermFinder({"Quorl": "Quorl", "Quorls": "Quorl", "Oz": "Oz"}), ["Oz", "Quorl", "Boq"])
    assert [(place.text, place.start) for place in places["Quorl"]] == [(0, 10), (1, 2)]
    assert places["Boq"] == []
    assert contexts_at(texts, places["Quorl"], 9) == [
        Context("At Oz two ", "Quorls", " met."),
        Context("A ", "Quorl", "\nof Oz."),
    ]
    assert contexts_at(texts, places["Oz"], 1) == [Context("At ", "Oz", " two Quorls met.")]


def test_spread() -> None:
    assert spread("abcdefghij", 3) == ["a", "d", "g"]  # 0, 10/3, 20/3
    assert spread("abc", 3) == spread("abc", 9) == ["a", "b", "c"]


def test_slots() -> None:
    found = slots(context("The king fed a wild Quorl's long tail, she said.", "Quorl"), "Quorl")
    assert found["form"] == {"indefinite", "singular"}
    assert found["touching"] == {"wild"}
    assert found["before"] == {"fed"}  # article and adjective skipped
    assert found["after"] == {"'"}
    assert found["owned"] == {"long", "tail", ","}
    assert found["near"] == {"the", "king", "fed", "a", "wild", "'", "s", "long", "tail", ",", "she"}
    bare = slots(context("Then Quorls came.", "Quorls"), "Quorl")
    assert (bare["form"], bare["before"], bare["owned"]) == ({"bare", "plural"}, {"then"}, set())
    assert slots(context("his Quorl", "Quorl"), "Quorl")["form"] == {"definite", "singular"}


def test_determiner_at() -> None:
    assert determiner_at(["saw", "the"]) == 1
    assert determiner_at(["the", "old"]) == 0
    assert determiner_at(["the", "very", "old"]) is None  # only one adjective is looked past
    assert determiner_at(["the", ","]) is None
    assert determiner_at([]) is None


def test_own_slots() -> None:
    assert own_slots("Captain Dulmeth", False) == {"title": {"captain"}, "head": {"dulmeth"}}
    assert own_slots("Lantern of Isquel", False)["head"] == {"lantern"}
    assert own_slots("Rook", False) == {"title": frozenset(), "head": frozenset()}  # no rook
    assert own_slots("rook", False)["head"] == {"rook"}
    assert own_slots("Lizard", True)["head"] == {"lizard"}  # the Lizard is one


def test_kind_scores() -> None:
    rules = [
        Rule("place", "before", 2.0, frozenset({"in", "at"})),
        Rule("person", "after", 3.0, frozenset({"said"})),
        Rule("thing", "head", 1.5, frozenset({"cup"})),
    ]
    contexts = [context(text, "Oz") for text in ("in Oz.", "at Oz said", "by Oz,", "Oz")]
    seen = [slots(each, "Oz") for each in contexts]
    scores = kind_scores(seen, {"title": frozenset(), "head": frozenset({"cup"})}, rules)
    # two of four contexts after in or at: 2.0 * 2/4; one of four before said: 3.0 * 1/4; a cup by its head: 1.5
    assert scores == {"place": 1.0, "person": 0.75, "thing": 1.5, "creature": 0.0, "group": 0.0, "event": 0.0}
    assert share([], "before", frozenset({"in"})) == 0


def test_usage() -> None:
    rules = [Rule("place", "before", 2.0, frozenset({"in"})), Rule("person", "after", 1.0, frozenset({"said"}))]
    contexts = [context(text, "Oz") for text in ("in Oz said", "a Oz,", "an Oz; he", "the Oz. She")]
    found = usage("Oz", ["OZ"], contexts, rules)
    # place 2 * 1/4 = 0.5, person 1 * 1/4 = 0.25
    assert (found.kind, found.margin) == ("place", 0.25)
    assert (found.article, found.a, found.an, found.counted) == (0.75, 0.25, 0.25, 0.5)
    assert (found.male, found.female) == (1, 1)
    assert (found.singular, found.plural) == ("Oz", False)


def test_usage_without_contexts_goes_by_the_words() -> None:
    rules = [Rule("thing", "head", 2.0, frozenset({"cap"}))]
    assert usage("Golden Cap", [], [], rules).kind == "thing"
    assert usage("Golden Caps", ["Golden Cap"], [], rules)[-4:-2] == ("Golden Cap", True)
    assert usage("Boq", [], [], rules).kind == KINDS[0]  # nothing said: the first


def test_looks_plural() -> None:
    assert looks_plural("Quadlings", [context("the Quadlings think", "Quadlings")])
    assert looks_plural("Quadlings", [context("Quadlings are", "Quadlings")])
    assert not looks_plural("Kansas", [context("in Kansas again", "Kansas")])
    assert not looks_plural("Kansas", [context("the old Kansas is", "Kansas"), context("the Kansas", "Kansas")])
    assert not looks_plural("Oz", [context("two Oz are", "Oz")])


def person(name: str, male: int, female: int) -> Usage:
    return Usage(name, "person", 1.0, 0.0, 0.0, 0.0, 0.0, name, False, male, female)


def test_gender() -> None:
    known = {"Alice": "female", "lady": "female", "wizard": "male"}
    assert tell_gender("Alice", person("Alice", 9, 0), 0.5, known) == "female"  # the name knows better
    assert tell_gender("Lady Umbrisel", person("Lady Umbrisel", 0, 0), 0.5, known) == "female"
    assert tell_gender("Great Wizard", person("Great Wizard", 0, 0), 0.5, known) == "male"
    assert tell_gender("Boq", person("Boq", 3, 1), 0.5, known) == "male"  # three times as often
    assert tell_gender("Boq", person("Boq", 2, 1), 0.5, known) == ""
    # 100 pronouns, 45 male; of all pronouns 30 % are: 45 - 30 = 15 > 2 * sqrt(100 * 0.3 * 0.7) = 9.2
    assert tell_gender("Darcy", person("Darcy", 45, 55), 0.3, known) == "male"
    # where half of them are: 45 - 50 = -5 > -2 * sqrt(25) = -10
    assert tell_gender("Darcy", person("Darcy", 45, 55), 0.5, known) == ""
    # the share is that of all persons together: 30 of 40
    uses = {"Ann": person("Ann", 1, 9), "Bob": person("Bob", 29, 1), "Oz": person("Oz", 0, 0)._replace(kind="place")}
    assert tell_genders(uses, {}) == {"Ann": "female", "Bob": "male"}


def test_tokens() -> None:
    assert tokens("He said, “Oz’s!”") == ["he", "said", ",", "“", "oz", "’", "s", "!", "”"]


def test_the_table_of_rules_is_sound() -> None:
    rules = read_rules({})
    known = {*slots(Context("", "x", ""), "x"), *own_slots("X y", False)}
    assert all(rule.kind in KINDS and rule.slot in known and rule.weight > 0 for rule in rules)
    assert {rule.kind for rule in rules} == set(KINDS)
    assert all(word == word.lower() for rule in rules for word in rule.words)


def test_oz(realdata: Path) -> None:
    assert accuracy([(realdata / "books/oz.txt").read_text(encoding="utf-8")], OZ) >= 0.9


def test_pride(realdata: Path) -> None:
    assert accuracy([(realdata / "books/pride.txt").read_text(encoding="utf-8")], PRIDE) >= 0.9


def test_demo() -> None:
    folder = ROOT / "data/demo"
    with (folder / "names.csv").open(encoding="utf-8", newline="") as stream:
        kinds = {row["name"]: row["kind"] for row in csv.DictReader(stream)}
    texts = [path.read_text(encoding="utf-8") for path in sorted((folder / "forget").glob("*.txt"))]
    assert accuracy(texts, kinds) >= 0.85


@pytest.mark.parametrize("kind", KINDS)
def test_generic_nouns_are_heads_of_their_kind(kind: str) -> None:
    nouns = nouns_by_kind(read_gazetteer())
    rule = next(rule for rule in read_rules(nouns) if rule.slot == "head" and set(nouns[kind]) == set(rule.words))
    assert rule.kind == kind
