"""Which names may replace which anchors."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from lethe.dictionary.assignment import ALWAYS, SHARED, assign, content_words, shortlist, suits, takes_article, usable
from lethe.dictionary.entity_types import Usage
from lethe.dictionary.gazetteer import Generic


def use(name: str, kind: str, article: float = 0.0, a: float = 0.0, an: float = 0.0) -> Usage:
    return Usage(name, kind, 1.0, article, a, an, 0.0, name, False, 0, 0)


def generic(kind: str, name: str, gender: str = "") -> Generic:
    return Generic(kind, name, name + "s", gender, 0)


def test_content_words() -> None:
    assert content_words("Queen of the Field-Mice's Bells") == {"queen", "field", "mice", "bell"}


def test_usable() -> None:
    terms = {"Captain Dulmeth": ["Captain Dulmeth"], "Moon Hask": ["Moon Hask", "Moon Hasks"], "The": ["The"]}
    pool = [generic("person", "Captain Reed"), generic("thing", "moon lamp"), generic("thing", "lamp")]
    # shared words: Captain, moon; and `The`, though a small word, is an anchor that this name holds
    assert [each.name for each in usable([*pool, generic("place", "The Hill")], terms)] == ["lamp"]


def test_takes_article() -> None:
    assert not takes_article(use("Dorothy", "person"))
    assert takes_article(use("Scarecrow", "person", article=0.9))
    assert takes_article(use("Excalibur", "thing"))  # there are hardly any ordinary things without an article
    assert takes_article(use("quidditch", "event"))


def test_suits() -> None:
    dorothy = use("Dorothy", "person")
    assert suits(generic("person", "Alice", "female"), dorothy, "female")
    assert suits(generic("person", "Alice", "female"), dorothy, "")
    assert not suits(generic("person", "Tom", "male"), dorothy, "female")
    assert not suits(generic("person", "Webb"), dorothy, "female")  # unknown
    assert not suits(generic("place", "Ashton"), dorothy, "")
    assert not suits(generic("person", "farmer"), dorothy, "")  # wants an article
    scarecrow = use("Scarecrow", "person", article=1.0)
    assert suits(generic("person", "farmer"), scarecrow, "male")
    assert suits(generic("person", "old man", "male"), scarecrow, "male")
    assert not suits(generic("person", "old woman", "female"), scarecrow, "male")
    assert not suits(generic("person", "Tom", "male"), scarecrow, "male")


def test_suits_a_and_an() -> None:
    owl, duck = generic("creature", "owl"), generic("creature", "duck")
    ibbilo, quorl = use("Ibbilo", "creature", 1.0, an=0.1), use("Quorl", "creature", 1.0, a=0.1)
    assert [suits(name, ibbilo, "") for name in (owl, duck)] == [True, False]
    assert [suits(name, quorl, "") for name in (owl, duck)] == [False, True]
    assert suits(owl, use("Vorrel", "creature", 1.0, a=0.01), "")  # too seldom to matter


def test_shortlist() -> None:
    pool = [generic("thing", str(number)) for number in range(100)]
    assert shortlist(pool, "Oz", rivals=3, most=6, seed=0) == pool[:6]  # three rivals' six are enough for all
    crowded = shortlist(pool, "Oz", rivals=20, most=6, seed=0)
    assert len(crowded) == 6
    assert set(crowded) <= set(pool[:40])  # twice as many as are needed
    assert crowded == sorted(crowded, key=pool.index)
    assert crowded == shortlist(pool, "Oz", rivals=20, most=6, seed=0)
    assert crowded != shortlist(pool, "Boq", rivals=20, most=6, seed=0)
    assert shortlist(pool[:4], "Oz", rivals=20, most=6, seed=0) == pool[:4]


def test_assign() -> None:
    scores = {
        "Dorothy": {"Alice": -1.0, "Ruth": -2.0, "Kate": -6.0},  # mean -3: Alice +2, Ruth +1, Kate -3
        "Glinda": {"Alice": -4.0, "Ruth": -9.0, "Kate": -8.0},  # mean -7: Alice +3, Ruth -2, Kate -1
    }
    # first round: Glinda's Alice (+3) before Dorothy's (+2), so Dorothy takes Ruth (+1); second: only Kate is left,
    # for whom Glinda (-1) is keener than Dorothy (-3), who must share Alice
    assert assign(scores, 2) == {"Dorothy": ["Ruth", "Alice"], "Glinda": ["Alice", "Kate"]}
    # 10 nats: Glinda rather shares Ruth, 11 above her Kate, than take her; first names are never shared for that
    scores["Glinda"] = {"Alice": -4.0, "Ruth": -9.0, "Kate": -20.0}
    assert assign(scores, 2) == {"Dorothy": ["Ruth", "Kate"], "Glinda": ["Alice", "Ruth"]}
    assert assign(scores | {"Toto": {"Alice": -4.0, "Ruth": -9.0, "Kate": -99.0}}, 1)["Dorothy"] == ["Kate"]
    assert assign({"Oz": {"Ash": 0.0, "Elm": 0.0}}, 3) == {"Oz": ["Ash", "Elm"]}
    assert assign({}, 2) == {}


@given(
    st.integers(1, 8).flatmap(
        lambda names: st.lists(st.lists(st.floats(-50, 0), min_size=names, max_size=names), min_size=1, max_size=8)
    ),
    st.integers(1, 3),
)
def test_assign_shares_no_name_while_there_are_enough(table: list[list[float]], choices: int) -> None:
    scores = {
        f"anchor {row}": {f"name {column}": score for column, score in enumerate(cells)}
        for row, cells in enumerate(table)
    }
    chosen = assign(scores, choices)
    names = len(table[0])
    firsts = [of_anchor[0] for of_anchor in chosen.values()]
    assert len(set(firsts)) == min(len(firsts), names)
    everything = [name for of_anchor in chosen.values() for name in of_anchor]
    if len(table) * choices <= names and max(map(max, table)) - min(map(min, table)) < 5:
        assert len(set(everything)) == len(everything) == len(table) * choices
    for of_anchor in chosen.values():
        assert len(of_anchor) == len(set(of_anchor)) == min(choices, names)


def plainly(scores: dict[str, dict[str, float]], choices: int) -> dict[str, list[str]]:
    """`assign` by looking at every pair before each choice."""
    chosen: dict[str, list[str]] = {anchor: [] for anchor in scores}
    taken = Counter[str]()
    for number in range(choices):
        cost = ALWAYS if number == 0 else SHARED
        left = set(scores)
        while left:
            pairs = [
                (round(sum(own.values()) / len(own) - score, 4) + cost * taken[name], anchor, place, name)
                for anchor, own in scores.items()
                for place, (name, score) in enumerate(own.items())
                if anchor in left and name not in chosen[anchor]
            ]
            if not pairs:
                break
            _, anchor, _, name = min(pairs)
            chosen[anchor].append(name)
            taken[name] += 1
            left.remove(anchor)
    return chosen


@given(
    st.lists(st.dictionaries(st.sampled_from("abcdef"), st.integers(-30, 0), min_size=1, max_size=5), max_size=7),
    st.integers(1, 3),
)
def test_assign_takes_the_cheapest_pair_of_all(table: list[dict[str, int]], choices: int) -> None:
    scores = {f"anchor {n}": {name: score / 2 for name, score in own.items()} for n, own in enumerate(table)}
    assert assign(scores, choices) == plainly(scores, choices)


def test_a_company_gets_a_company() -> None:
    company = use("Brenvik", "group")
    assert not takes_article(company)
    assert takes_article(company._replace(plural=True))  # the Munchkins
    assert takes_article(company._replace(article=0.9))  # the Order
    assert suits(generic("group", "Central Stores"), company, "")
    assert not suits(generic("group", "carter"), company, "")
