"""The languages of a text, and the cases of names."""

from __future__ import annotations

import pytest

from lethe.text.languages import case_forms, languages_of, stem
from studies.languages import DATA

FRENCH = "Il était une fois dans la ville une femme qui ne voulait pas dormir, et elle avait un chat. "
TEXTS = sorted(path.stem for path in DATA.glob("*.txt"))


@pytest.mark.parametrize("name", TEXTS)
def test_a_story_is_in_its_language(name: str) -> None:
    assert languages_of([(DATA / f"{name}.txt").read_text(encoding="utf-8")]) == [name[:2]]


def test_a_text_may_be_in_two_languages_and_a_quoted_word_is_in_none() -> None:
    russian = "Он не знал, что это было так. "
    assert languages_of([FRENCH * 3, russian * 3]) == ["fr", "ru"]
    assert languages_of([FRENCH * 9, "Москва"]) == ["fr"]
    assert languages_of(["Zandrel Orphel"]) == [""]  # no common word of any language
    assert languages_of(["ሰላም ለዓለም"]) == [""]  # a script that the table lacks
    assert languages_of(["", "12"]) == []


def test_english_names_abroad_do_not_change_the_language() -> None:
    # `de`, `in`, `la` are common words of other languages; English has more of them here
    assert languages_of(["They met de la Tour in the house of the man who was in La Paz, and he said to her."]) == [
        "en"
    ]


@pytest.mark.parametrize(
    ("code", "forms"),
    [
        ("ru", "светлана светлану светланы светланой светлане"),
        ("ru", "грановский грановского грановскому грановским"),
        ("el", "γεράσιμος γεράσιμο γεράσιμου"),
        ("el", "λεωνίδας λεωνίδα"),
        ("de", "mathilde mathildes"),
    ],
)
def test_the_cases_of_a_name_have_one_stem(code: str, forms: str) -> None:
    assert len({stem(form, code) for form in forms.split()}) == 1


def test_a_stem_keeps_three_letters_and_english_words_stay() -> None:
    assert stem("оля", "ru") == "оля"
    assert stem("alices", "en") == "alices"


def test_cases_of_names_that_a_person_lists() -> None:
    assert {"Светланы", "Светлане", "Светлану", "Светланой"} <= set(case_forms("Светлана"))
    assert {"Игната Ветрова", "Игнатом Ветровым"} <= set(case_forms("Игнат Ветров"))
    assert {"Γεράσιμο", "Γεράσιμου"} <= set(case_forms("Γεράσιμος"))
    assert case_forms("Mathilde") == case_forms("мельница") == []  # another script; no name
