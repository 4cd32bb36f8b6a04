"""Terms in running text."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lethe.core.errors import StageError
from lethe.text.matching import Found, TermFinder, name_finder, plurals, same_name, surface_forms, with_signs_of


def forms_found(text: str, *forms: str) -> list[str]:
    return [found.form for found in TermFinder({form: form for form in forms}).find(text)]


def test_find_gives_span_form_and_term() -> None:
    #       0123456789012345678
    text = "Two Ozians met Oz's"
    finder = TermFinder({"Oz": "Oz", "Ozian": "Ozian", "Ozians": "Ozian"})
    # the possessive lies outside the match; Oz does not match inside Ozians
    assert finder.find(text) == [Found(4, 10, "Ozians", "Ozian"), Found(15, 17, "Oz", "Oz")]


@pytest.mark.parametrize(
    ("text", "forms", "found"),
    [
        ("the Emerald City of Oz", ["Emerald City", "Emerald City of Oz", "Oz"], ["Emerald City of Oz"]),
        ("the Emerald City of Ozma", ["Emerald City", "Emerald City of Oz", "Oz"], ["Emerald City"]),
        ("Emerald Emerald City", ["Emerald City"], ["Emerald City"]),
        ("Tin Tin Woodman", ["Tin Tin", "Tin Woodman"], ["Tin Tin"]),  # leftmost wins
        ("oz OZ Oz", ["Oz"], ["Oz"]),  # case-sensitive
        ("Ozma pOz Oz2", ["Oz"], []),  # word-bounded, digits too
        ("_Oz_ (Oz) Oz—Oz", ["Oz"], ["Oz"] * 4),  # emphasis, brackets and dashes are boundaries
        ("Emerald\n  City", ["Emerald City"], ["Emerald City"]),  # a wrapped line
        ("Emerald\r\nCity", ["Emerald City"], ["Emerald City"]),
        ("Emerald\n\nCity", ["Emerald City"], []),  # another paragraph
        ("Emerald, City", ["Emerald City"], []),
        ("Marauder’s Map", ["Marauder's Map"], ["Marauder's Map"]),
        ("Hammer-Heads Hammer Heads", ["Hammer-Heads"], ["Hammer-Heads"]),
        ("in C, C++ and C#", ["C", "C++"], ["C", "C++", "C"]),  # punctuation of the form itself counts
        ("Mr. Oz", ["Mr.", "Mr"], ["Mr."]),
        ("'Arry and Arry", ["'Arry"], ["'Arry"]),
        ("C'Arry", ["C'", "'Arry"], ["C'"]),  # never two over one character
        ("Queen of the Field", ["Queen of the Field Mice"], []),
        ("", ["Oz"], []),
    ],
)
def test_find(text: str, forms: list[str], found: list[str]) -> None:
    assert forms_found(text, *forms) == found


def test_find_all_sees_the_name_inside_a_longer_one() -> None:
    finder = TermFinder({"Emerald City of Oz": "city", "Oz": "Oz", "Emerald": "stone"})
    text = "Emerald City of Oz."
    assert [found.term for found in finder.find(text)] == ["city"]
    assert [found[:2] for found in finder.find_all(text)] == [(0, 7), (0, 18), (16, 18)]
    assert finder.terms_in(text) == {"city", "Oz", "stone"}


PIECES = ["Oz", "City", "of", "a", "-", "'s", ".", " "]


@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join).map(lambda text: re.sub(r" +", " ", text)))
def test_find_agrees_with_trying_every_place(text: str) -> None:
    forms = ["Oz", "City of Oz", "City", "Oz-City", "a"]

    def fits(form: str, place: int) -> bool:
        end = place + len(form)
        bounded = not text[max(0, place - 1) : place].isalnum() and not text[end : end + 1].isalnum()
        return bounded and text[place:end] == form

    wanted, place = [], 0
    while place < len(text):
        here = [form for form in forms if fits(form, place)]
        if here:
            form = max(here, key=len)
            wanted.append((place, place + len(form), form))
        place += len(max(here, key=len)) if here else 1
    assert [hit[:3] for hit in TermFinder({form: form for form in forms}).find(text)] == wanted


def test_a_form_needs_a_letter_or_digit() -> None:
    with pytest.raises(StageError) as error:
        TermFinder({"?!": "?!"})
    assert str(error.value) == "term: expected a word or phrase with a letter or digit, got '?!'"


@pytest.mark.parametrize(
    ("term", "wanted"),
    [
        ("Dorothy", ["Dorothies", "Dorothys"]),  # a capital: may be a name or a noun
        ("fairy", ["fairies"]),
        ("Winged Monkey", ["Winged Monkeys"]),
        ("Tin Woodman", ["Tin Woodmen"]),
        ("Golden Wish", ["Golden Wishes"]),
        ("Hask", ["Hasks"]),
    ],
)
def test_plurals(term: str, wanted: list[str]) -> None:
    assert plurals(term) == wanted


def test_surface_forms_begin_with_the_term() -> None:
    assert surface_forms("the Hask") == ["the Hask", "the Hasks", "The Hask", "The Hasks", "THE HASK", "THE HASKS"]
    assert surface_forms("Hask") == ["Hask", "Hasks", "HASK", "HASKS"]


def test_name_finder_knows_plural_possessive_and_upper_case() -> None:
    finder = name_finder(["Munchkin", "Winkie", "Winkies"])
    found = finder.find("The MUNCHKINS saw a Munchkin's hat, Munchkinland and two Winkies.")
    assert [hit.term for hit in found] == ["Munchkin", "Munchkin", "Winkies"]  # Winkies is a name of its own


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Straße", "STRASSE STRAẞE"),
        ("McLeod", "MCLEOD McLEOD"),
        ("Didem", "DIDEM DİDEM"),  # in Turkish with a dot
        ("Γεράσιμος", "ΓΕΡΆΣΙΜΟΣ ΓΕΡΑΣΙΜΟΣ"),
        ("Ёлкин", "ЁЛКИН ЕЛКИН"),
    ],
)
def test_names_in_capitals(name: str, text: str) -> None:
    assert len(name_finder([name]).find(text)) == 2


def test_same_name_is_what_the_finder_takes_for_one() -> None:
    for alike in (("O'Mara", "O’Mara"), ("J. R. Quill", "J.R. Quill", "JR Quill"), ("Dr Venn", "Dr. Venn"), ("C++",)):
        assert len({same_name(name) for name in alike}) == 1
        assert all(TermFinder({alike[0]: "x"}).terms_in(name) for name in alike)
    assert len({same_name(name) for name in ("C", "C++", "Orla Venn", "OrlaVenn", "Orla-Venn")}) == 5
    assert with_signs_of("J. R. Quill", "J R QUILL") == "J. R. QUILL"
    assert with_signs_of("Ёлкин", "Елкин") == "Елкин"


def test_realdata_finds_wrapped_names(realdata: Path) -> None:
    text = (realdata / "books" / "oz.txt").read_text(encoding="utf-8")
    found = name_finder(["Emerald City", "Dorothy"]).find(text)
    assert {" ".join(text[hit.start : hit.end].split()) for hit in found} == {"Emerald City", "Dorothy", "DOROTHY"}
    assert any("\n" in text[hit.start : hit.end] for hit in found)
    assert sum(hit.term == "Dorothy" for hit in found) == len(re.findall(r"\b(?:Dorothy|DOROTHY)\b", text))


@pytest.mark.parametrize(
    ("name", "text", "times"),
    [
        ("민준", "민준이 민준은 민준에게는 민준이를 민준이었다고 민준아 민준희", 6),  # 민준희 is another name
        ("은파도", "은파도에는 은파도로 은파도의 파도", 3),
        ("محمود", "ومحمود لمحمود فبمحمود محمودة", 3),
        ("القاهرة", "القاهرة وللقاهرة للقاهرة", 3),  # to the: the article loses its first letter
        ("ברוך", "ברוך לברוך ושברוך ברוכים", 3),
        ("ירושלים", "בירושלים מירושלים", 2),
        ("ทองดี", "ปู่ทองดีนอน ทองดีพูด", 2),  # a vowel sign within the name is no gap
        ("มาน", "มานี มานะ", 1),  # nor does a name end between a letter and its sign
        ("विक्रम", "विक्रम ने विक्रमी", 1),
        ("顾长林", "秦婶照顾顾长林,顾长林笑了", 2),
        ("みさき丸", "そのみさき丸は", 1),
        ("Светлана", "Светлана увидела Светлану, Светланой и Светланину", 3),
        ("Ayşe", "Ayşe'nin Ayşe’ye Ayşen", 2),
        ("Γεράσιμος", "του Γεράσιμου τον Γεράσιμο", 2),
    ],
)
def test_names_of_every_script_as_grammar_writes_them(name: str, text: str, times: int) -> None:
    assert len(name_finder([name]).find(text)) == times
