"""Passages, questions and what the replies name."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lethe.anchors.llm import check_parsable, draw_passages, question, same_terms, terms_in
from lethe.core.errors import StageError
from lethe.text.matching import WORD


def test_passages_are_pieces_of_the_text() -> None:
    texts = ["One two, three. Four", "", "five"]
    assert draw_passages(texts, 9, 3, seed=0) == ["One two, three.", "Four", "five"]
    two = draw_passages(texts, 2, 3, seed=0)
    assert len(two) == 2
    assert two == draw_passages(texts, 2, 3, seed=0)


@given(st.text(alphabet="ab .\n", max_size=80), st.integers(1, 9), st.integers(1, 5), st.integers(0, 3))
def test_no_word_is_asked_about_twice(text: str, passages: int, words: int, seed: int) -> None:
    drawn = draw_passages([text], passages, words, seed)
    assert len(drawn) <= passages
    assert not Counter(WORD.findall("\n".join(drawn))) - Counter(WORD.findall(text))
    assert all(passage in text for passage in drawn)


def test_the_question_ends_with_the_passage() -> None:
    (message,) = question("Dorothy lived in Kansas.")
    assert message["role"] == "user"
    assert message["content"].endswith("\n\nDorothy lived in Kansas.")


@pytest.mark.parametrize(
    ("reply", "terms"),
    [
        ('["Oz", "Emerald City"]', ["Oz", "Emerald City"]),
        ('{"expressions": ["Oz"]}', ["Oz"]),
        ('{"expressions": ["Oz"], "others": []}', None),
        ('{"expressions": ["Oz"], "note": "all"}', ["Oz"]),
        ('[{"expression": "Oz"}, {"expression": "Boq"}, null]', ["Oz", "Boq"]),
        ('People: ["Boq"]\nPlaces: ["Oz"]', ["Boq", "Oz"]),
        ('<think>["Toto"]?</think>["Oz"]', ["Oz"]),
        ('Of [x] I named ["Oz",] as in [1]', ["Oz"]),
        ('Here: ["Oz\'s", "Emerald\\n City", "Glinda’s"]', ["Oz", "Emerald City", "Glinda"]),
        ('["", "...", "a|b"]', []),
        ("[]", []),
        ("", None),
        ("I found Oz.", None),
        ('{"Oz": "place"}', None),
        ('["Oz", 3]', None),
        ('["Oz", "Emer', None),
        ('{"names": [{"name": "Oz", "type": "place"}]}', ["Oz"]),
        ("['Oz', \"O'Mara\"]", ["Oz", "O'Mara"]),
        ('["**Oz**", "\\"Toto\\"", "Glinda,", "TIP\'S", "Gu\\u00adlch"]', ["Oz", "Toto", "Glinda", "TIP", "Gulch"]),
    ],
)
def test_terms_in(reply: str, terms: list[str] | None) -> None:
    assert terms_in(reply) == terms


def test_capitals_and_plurals_are_one_term() -> None:
    named = Counter({"Munchkin": 2, "Munchkins": 3, "munchkins": 1, "Oz": 9, "Boq": 6})
    assert same_terms(named) == {"Oz": ["Oz"], "Boq": ["Boq"], "Munchkins": ["Munchkins", "Munchkin", "munchkins"]}


def test_not_one_parsable_reply() -> None:
    check_parsable(["x", "[]"], [None, []], "http://there/v1")
    with pytest.raises(StageError) as caught:
        check_parsable(["I am\nsorry", "x"], [None, None], "http://there/v1")
    assert str(caught.value) == (
        "http://there/v1: expected JSON lists of strings, got 2 replies that cannot be parsed (the first begins "
        "'I am sorry'); try another model"
    )
