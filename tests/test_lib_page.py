"""The page's small helpers."""

from __future__ import annotations

import pytest

from stages.lib.page import excerpt, flattened, render


@pytest.mark.parametrize(
    ("text", "words", "end", "shown"),
    [
        ("one two three", 2, False, "one two …"),
        ("one two three", 2, True, "… two three"),
        ("one\n two", 2, True, "one two"),
        ("one two", 0, True, "…"),
        ("", 3, False, ""),
    ],
)
def test_excerpt(text: str, words: int, end: bool, shown: str) -> None:
    assert excerpt(text, words, end) == shown


def test_flattened_names_every_value() -> None:
    assert flattened({"a": {"b": 1, "c": None}, "d": [1, 2]}) == [("a.b", "1"), ("a.c", ""), ("d", "[1, 2]")]


def test_a_forgotten_piece_of_the_page_is_a_bug_and_not_a_gap() -> None:
    with pytest.raises(Exception, match="undefined"):
        render(charts={"steps": [], "loss": []})
