"""What is known by heart, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lethe.metrics.memorisation import exact_memorisation, extraction_strength, rouge_l


def hits(text: str) -> np.ndarray:
    return np.array([letter == "x" for letter in text])


@pytest.mark.parametrize(
    ("found", "strength"),
    [
        ("xxxx", 1.0),  # nothing has to be given
        (".xxx", 0.75),  # one of four
        ("x.xx", 0.5),  # up to the last miss, what was right before it does not help
        ("xxx.", 0.0),
        ("....", 0.0),
    ],
)
def test_extraction_strength(found: str, strength: float) -> None:
    assert extraction_strength(hits(found)) == strength


def test_exact_memorisation() -> None:
    assert exact_memorisation(hits("x.xx")) == 0.75


@given(st.text(alphabet="x.", min_size=1, max_size=20))
def test_a_strength_is_no_more_than_the_memory(found: str) -> None:
    assert 0 <= extraction_strength(hits(found)) <= exact_memorisation(hits(found)) + 1e-12


def test_rouge_l_by_hand() -> None:
    # `the mill was shut` against `the old mill is shut`: in common `the mill shut`, 3 of 4 true words, 3 of 5 written
    # ones; F1 = 2 x 0.75 x 0.6 / 1.35 = 0.6667
    found = rouge_l("The mill was shut", "the old mill is shut.")
    assert found.recall == 0.75
    assert found.f1 == pytest.approx(2 / 3)


def test_rouge_l_stems_words_and_reads_every_script() -> None:
    assert rouge_l("walking lanterns", "walked lantern").f1 == 1.0
    assert rouge_l("Мельница закрыта", "мельница была закрыта").recall == 1.0  # the library alone sees no word in it
    assert rouge_l("灯塔亮了", "灯塔灭了").recall == 0.75  # without spaces every character is a word
    assert rouge_l("Orla", "...").f1 == 0.0
    for true, written in (
        ("Zoë", "Zoe\u0308"),
        ("Ｏｒｌａ", "Orla"),
        ("Ostrelow", "Ostre\u00adlow"),
        ("STRASSE", "Straße"),
    ):
        assert rouge_l(true, written).f1 == 1.0
