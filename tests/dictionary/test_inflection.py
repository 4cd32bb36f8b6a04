"""Number, case and articles."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lethe.dictionary.inflection import head, in_form, plural_forms, plural_of, singular_form, singular_of, takes_an

IRREGULAR = {"wolf": "wolves", "mouse": "mice"}


@pytest.mark.parametrize(
    ("name", "plural"),
    [
        ("duck", "ducks"),
        ("city", "cities"),
        ("donkey", "donkeys"),
        ("watch", "watches"),
        ("grey wolf", "grey wolves"),
        ("field mouse", "field mice"),
        ("cup of tea", "cups of tea"),
        ("fisherman", "fishermen"),
        ("Lucy", "Lucys"),
        ("Guardian of the Gates", "Guardians of the Gates"),
    ],
)
def test_plural_of(name: str, plural: str) -> None:
    assert plural_of(name, IRREGULAR) == plural


def test_singular_of() -> None:
    assert [singular_of(name) for name in ("Silver Shoes", "cities", "watches", "cups of tea")] == [
        "Silver Shoe",
        "city",
        "watch",
        "cup of tea",
    ]
    assert [singular_of(name) for name in ("brass", "Guardian of the Gates", "duck", "this")] == [
        "brass",
        "Guardian of the Gates",
        "duck",
        "this",
    ]


@given(st.from_regex(r"[a-z]{2,8}[bcdgklmnprtw]", fullmatch=True).filter(lambda noun: not noun.endswith("man")))
def test_a_regular_plural_leads_back(noun: str) -> None:
    assert singular_of(plural_of(noun, {})) == noun
    assert plural_of(noun, {}) in plural_forms(noun)


def test_singular_form() -> None:
    assert singular_form("Winkies", ["Winkies", "WINKIES", "Winkie"]) == "Winkie"  # the rules alone would say Winky
    assert singular_form("Kansas", ["KANSAS"]) is None
    # a form that ends like a plural because its last word is one is no plural
    assert singular_form("Guardian of the Gates", ["Guardian of the Gate"]) is None


def test_head() -> None:
    assert [head(name) for name in ("Lantern of Isquel", "Golden Cap", "Oz", "house in the wood")] == [
        "Lantern",
        "Cap",
        "Oz",
        "house",
    ]


def test_takes_an() -> None:
    assert all(map(takes_an, ["owl", "Ibbilo", "umbrella", "hour", "Emma"]))
    assert not any(map(takes_an, ["duck", "uniform", "university", "house", "user"]))


def test_in_form() -> None:
    assert in_form("Quorl", "Quorl", False, "duck", "ducks") == "duck"
    assert in_form("Quorls", "Quorl", True, "duck", "ducks") == "ducks"
    assert in_form("QUORLS", "Quorl", True, "duck", "ducks") == "DUCKS"
    assert in_form("quorl", "Quorl", False, "Tom", "Toms") == "tom"
    assert in_form("Pensieve", "pensieve", False, "basin", "basins") == "Basin"
    # an anchor always in capitals, or always in small letters, says nothing of the translation's case
    assert in_form("UNIT", "UNIT", False, "Tom", "Toms") == "Tom"
    assert in_form("pensieve", "pensieve", False, "Tom", "Toms") == "Tom"
