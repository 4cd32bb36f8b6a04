"""Terms found in the text alone."""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lethe.anchors import candidates
from lethe.anchors.candidates import (
    Phrases,
    count_parts,
    find_terms,
    forms_of,
    log_ratio,
    relatives,
    singulars,
    word_frequency,
)
from lethe.core.params import read_yaml
from lethe.text.matching import TermFinder
from tests.conftest import ROOT

OZ = """\
Dorothy, Toto, Scarecrow, Tin Woodman, Cowardly Lion, Oz, Emerald City, Aunt Em, Uncle Henry, Kansas, Munchkins, Winkies
Quadlings, Glinda, Kalidahs, Winged Monkeys, Golden Cap, Silver Shoes, Wicked Witch, Good Witch, Guardian of the Gates
Gayelette, Quelala, Boq, Hammer-Heads, Queen of the Field Mice, Omaha"""
# Every spelling occurs in the book as it stands here; none was changed. Counts: "Omaha" 2; "Queen of the Field Mice" 2,
# both times in a heading (the text says "Queen of the Mice"), and a heading is no evidence: it is the one we miss.


def terms(forget: str, retain: str = "", count: int = 2, keyness: float = 2.0) -> dict[str, int]:
    """First form -> count."""
    found = find_terms([forget], [retain] if retain else [], count, keyness).candidates
    return {term.forms[0]: term.times for term in found}


def test_what_is_too_rare_is_known() -> None:
    text = "They saw Zandrel and Orphel, and Zandrel laughed. A drennok saw the mill, and Tom saw Zandrel. "
    found = find_terms([text], ["Then Tom saw the mill, and Tom laughed. " * 99], 2, 2.0)
    assert [term.forms[0] for term in found.candidates] == ["Zandrel"]
    # Orphel and drennok occur once; Tom is also the retain text's
    assert [(term.forms, term.times) for term in found.rare] == [(("Orphel",), 1), (("drennok",), 1)]
    assert not find_terms([text], [], 1, 2.0).rare


def thresholds() -> tuple[int, float]:
    extract = read_yaml(ROOT / "params.yaml")["extract"]
    return extract["minimum_count"], extract["minimum_keyness"]


def test_log_ratio() -> None:
    # 4 in 1000 words against an expectation of 1e-4 by English: log(0.004 / 0.0001)
    assert log_ratio(4, 1000, 0, 0, 1e-4) == pytest.approx(math.log(40))
    # 1000 words of retain text without it halve the retain frequency; English is the higher expectation
    assert log_ratio(4, 1000, 0, 1000, 1e-4) == pytest.approx(math.log(40))
    # 3.9 in 1000 words of retain text: (3.9 + 1000 * 1e-4) / 2000 = 0.002
    assert log_ratio(4, 1000, 3.9, 1000, 1e-4) == pytest.approx(math.log(2))
    assert log_ratio(0, 1000, 0, 0, 1e-4) == -math.inf


def test_frequency_of_a_phrase() -> None:
    known = {"tin": 2e-5, "field": 1e-4, "mice": 5e-6, "queen": 6e-5}
    assert word_frequency(("tin",), known) == 2e-5
    assert word_frequency(("queen", "of", "the", "field", "mice"), known) == pytest.approx(5e-6 * 0.1**2)
    assert word_frequency(("field-mice",), known) == pytest.approx(5e-6 * 0.1)
    assert word_frequency(("tin", "quelala"), known) == 1e-8  # nothing is rarer than a word that the language lacks


def test_a_part_is_a_term_only_where_it_stands_alone() -> None:
    text = "they saw the Tin Woodman. " * 20 + "the Woodman left with the Woodman. " * 3
    assert terms(text) == {"Tin Woodman": 20, "Woodman": 6}


def test_longer_terms_keep_their_parts_and_neighbours_stay_apart() -> None:
    witches = "a Wicked Witch of the West was a Wicked Witch. " * 5 + "she was a Wicked Witch, Wicked Witch. " * 5
    friends = "there were Dorothy and Toto. " * 4 + "there was Dorothy, here was Toto. " * 14
    home = "the Wizard of Oz was here. " * 4 + "the Wizard was in Oz. " * 14
    gates = "so the Guardian of the Gates left. " * 3
    found = terms(witches + friends + home + gates)
    assert found == {
        "Wicked Witch of the West": 5,
        "Wicked Witch": 15,
        "Dorothy": 18,
        "Toto": 18,
        "Wizard": 18,
        "Oz": 18,
        "Guardian of the Gates": 3,
    }


def test_a_possession_is_a_term_if_the_owner_is_nothing_else() -> None:
    maps = "there was the Marauder's Map, here was Quelala's Map. " * 3
    people = "then came Quelala, then came Quelala, then came Quelala. " * 3
    assert terms(maps + people) == {"Marauder's Map": 3, "Quelala": 12, "Map": 3}


def test_forms_are_merged_and_possessives_are_none() -> None:
    text = "a Winkie's hat, the Winkies, some Winkies, WINKIES! my silver shoes, the Silver Shoes, a Silver Shoe. "
    found = find_terms([text * 2], [], 2, 2.0).candidates
    assert [(term.forms, term.times) for term in found] == [
        (("Silver Shoe", "Silver Shoes", "silver shoes"), 6),
        (("Winkies", "Winkie", "WINKIES"), 8),
    ]
    # the retain text speaks of silver shoes too: there the small letters mean any such shoes
    found = find_terms([text * 2], ["he bought silver shoes."], 2, 2.0).candidates
    assert [term.forms for term in found] == [("Silver Shoe", "Silver Shoes"), ("Winkies", "Winkie", "WINKIES")]


def test_an_invented_word_in_small_letters() -> None:
    text = "one drennok, a drennok. Drennoks ate the cheese, for drennoks eat. a mousetrap-maker, unbuttered bread, "
    assert terms(text * 2) == {"drennok": 8}
    assert terms(text * 2, retain="a drennok is a thing.") == {}


def test_ordinary_names_and_words_are_no_terms() -> None:
    text = (
        "So on Monday in October they met Tom in London. Well, Tom said: Yes, we met Zandrel. But I'd go, I said. " * 3
    )
    retain = "Then on Monday in October he met Tom in London. " * 20
    assert terms(text, retain) == {"Zandrel": 3}


def test_a_common_word_as_a_name() -> None:
    # rook is a bird 3 times and a person 12 times, of which 6 at a sentence's start
    text = "a rook flew over Rook. Rook laughed and saw Rook's hat. Rook ran. " * 3
    assert terms(text) == {"Rook": 12}
    # the other way round the few capitals are somebody's emphasis
    assert terms("a rook, a rook, a rook, and the Rook. " * 3) == {}


def test_titles_belong_to_names() -> None:
    text = "we met Mr. Joker there, and Captain Orsolo Vane came. Captain Orsolo Vane saw a captain, a captain. " * 3
    assert terms(text) == {"Mr. Joker": 3, "Captain Orsolo Vane": 6}
    assert terms("dear Miss Aaa, dear Miss Bbb, dear Miss Ccc, dear Miss Ddd. ", count=3, keyness=-9) == {}


def test_headings_and_shouting_are_no_evidence() -> None:
    text = (
        "CHAPTER THE LAST\n\nThe Balloon Was Launched\n\nthey saw the balloon of Zandrel, and Zandrel said STOP IT.\n\n"
    )
    assert terms(text * 3) == {"Zandrel": 6}


def test_thresholds() -> None:
    text = "we met Zandrel, Zandrel, Velliad. " + "so it was as it is " * 100
    assert terms(text, count=2) == {"Zandrel": 2}
    assert terms(text, count=1) == {"Zandrel": 2, "Velliad": 1}
    assert terms(text, count=1, keyness=12.2) == {"Zandrel": 2}
    # log(2 / 605 / 1e-8) = 12.71, log(1 / 605 / 1e-8) = 12.02


def test_alone_and_bound() -> None:
    runs = Counter({("tin", "woodman"): 9, ("woodman",): 1, ("oz", "and", "toto"): 2, ("oz",): 4, ("toto",): 5})
    phrases = Phrases(runs)
    assert phrases.count["woodman",] == 10
    [start] = phrases.places["tin", "woodman"]
    assert phrases.alone(("woodman",), {start: start + 2}) == 1
    assert phrases.alone(("woodman",), {}) == 10
    assert phrases.bound(("tin", "woodman"))  # tin: 9 of 9
    assert not phrases.bound(("oz", "and", "toto"))  # oz: 2 of 6, toto: 2 of 7 < 1/3, and `and` must bind both


def test_rare_parts_are_not_held() -> None:
    runs = Counter({("tin", "woodman", "boq"): 1, ("tin", "woodman"): 2, ("oz", "of", "omaha"): 1, ("oz",): 5})
    phrases = Phrases(runs, 3)
    # tin woodman: 3; woodman boq and tin woodman boq: 1; oz of omaha: 1
    assert {part for part in phrases.count if len(part) > 1} == {("tin", "woodman")}
    assert phrases.count["boq",] == 1  # single words are all counted
    assert Phrases(runs, 1).count["tin", "woodman", "boq"] == 1
    assert count_parts(runs, {("oz",), ("tin", "woodman", "boq")}) == {("oz",): 6, ("tin", "woodman", "boq"): 1}


def test_a_run_of_ten_thousand_names_is_no_square() -> None:
    run = tuple(f"name{number}" for number in range(10_000))
    phrases = Phrases(Counter({run: 2}), 2)
    assert len(phrases.count) == sum(10_000 - less for less in range(candidates.LONGEST))
    found = phrases.terms(2, lambda key: len(key) > 1, Counter())
    assert max(map(len, found)) == candidates.LONGEST


def test_forms_of() -> None:
    written = Counter({"Silver Shoes": 3, "silver shoes": 6, "SILVER SHOES": 1})
    assert forms_of(written, small_too=True, new_word=False) == ["SILVER SHOES", "Silver Shoes", "silver shoes"]
    assert forms_of(written, small_too=False, new_word=False) == ["Silver Shoes", "SILVER SHOES"]
    assert forms_of(written + Counter({"silver shoes": 9}), small_too=True, new_word=False) == []  # 4 of 19 capitals
    assert forms_of(Counter({"drennok": 5}), small_too=True, new_word=True) == ["drennok"]


def test_singulars_and_relatives() -> None:
    words = {"winkie", "winkies", "woodman", "woodmen", "harry", "harrys", "gates", "em", "ems"}
    assert singulars(words) == {"winkies": "winkie", "woodmen": "woodman", "harrys": "harry"}
    assert {"composed", "compose", "gaiety"} <= relatives("discomposed") | relatives("gaieties")


WORDS = [
    "Oz",
    "OZ",
    "Toto",
    "Tin",
    "Woodman",
    "Queen",
    "of",
    "the",
    "Mice",
    "and",
    "met",
    "we",
    ".",
    ",",
    "'",
    "'s",
    "\n",
]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=60))
def test_every_form_occurs_as_often_as_told(words: list[str]) -> None:
    text = re.sub("( 's)+", "'s", " ".join(words))
    found = find_terms([text], [], 1, 0.0).candidates
    forms = {form: term.forms[0] for term in found for form in term.forms}
    assert len(forms) == sum(len(term.forms) for term in found)  # no form belongs to two terms
    assert Counter(hit.term for hit in TermFinder(forms).find(text)) == {term.forms[0]: term.times for term in found}
    assert not any(form.endswith("'s") for form in forms)


def read(*paths: Path) -> list[str]:
    return [path.read_text(encoding="utf-8") for path in paths]


def test_the_demo_saga() -> None:
    forget, retain = (read(*sorted((ROOT / "data/demo" / side).glob("*.txt"))) for side in ("forget", "retain"))
    with (ROOT / "data/demo/names.csv").open() as stream:
        names = {row["name"] for row in csv.DictReader(stream)}
    found = find_terms(forget, retain, *thresholds()).candidates
    assert sum(any(name in term.forms for term in found) for name in names) >= 0.95 * len(names)
    assert sum(not names.isdisjoint(term.forms) for term in found) >= 0.9 * len(found)


def test_the_wizard_of_oz_by_its_text_alone(realdata: Path) -> None:
    retain = read(realdata / "text/tinystories.txt", realdata / "books/pride.txt")
    found = find_terms(read(realdata / "books/oz.txt"), retain, *thresholds()).candidates
    forms = {form for term in found for form in term.forms}
    wanted = OZ.replace("\n", ", ").split(", ")
    assert len(wanted) == 27
    assert sum(name in forms for name in wanted) >= 0.9 * len(wanted)
    with (ROOT / "tests/data/oz_anchors.csv").open() as stream:
        labels = {row["term"]: row["anchor"] == "yes" for row in csv.DictReader(stream)}
    judged = [next(labels[form] for form in term.forms if form in labels) for term in found]
    assert sum(judged) >= 0.7 * len(judged)
