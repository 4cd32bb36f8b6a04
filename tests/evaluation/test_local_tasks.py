"""The two multiple-choice tasks made from any text."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lethe.evaluation import local_tasks as tasks
from lethe.evaluation.local_tasks import Halves

TEXT = """\
The miller rose early and walked slowly down to the river.
He saw that the old wheel had stopped in the night.

"Who has done this to me?" he asked, and nobody answered him at all. Silence.
In the evening his daughter came home with a heavy basket.
"""


def test_sentences_end_at_full_stops_and_blank_lines() -> None:
    found = [" ".join(words) for words in tasks.sentences("One two.\nThree\nfour!\n\nFive \r\nsix\n\n\n  Seven. ")]
    assert found == ["One two.", "Three four!", "Five six", "Seven."]


def test_halves_by_hand() -> None:
    found = list(tasks.halves(tasks.sentences(TEXT)))
    # 11, 11, 6, 8, 1 and 11 words: `Who has ...` and `Silence.` are too short
    assert [(len(half.first), len(half.second)) for half in found] == [(5, 6), (5, 6), (4, 4), (5, 6)]
    assert found[0].context == "The miller rose early and"
    assert found[0].ending == "walked slowly down to the river."
    assert found[1].context == ("The miller rose early and walked slowly down to the river. He saw that the old")
    # 11 + 6 words fit into 24, 11 more do not
    assert found[2].before[:4] == ["He", "saw", "that", "the"]
    assert found[2].ending == "answered him at all."
    assert found[3].before[0] == '"Who'


STORY = " ".join(
    f"The {who} of the {where} went slowly {how} to the {what} house."
    for who in ("king", "baker", "old woman", "tall girl")
    for where in ("hill", "far town")
    for how in ("back", "once more")
    for what in ("red", "very small", "white")
)


def test_local_ending_offers_the_truth_and_three_others_of_its_length() -> None:
    items = tasks.local_ending([STORY], 20, seed=0)
    assert len(items) == 20
    for item in items:
        true = item["choices"][item["label"]]
        assert f"{item['context']} {true}" in STORY
        assert len(set(item["choices"])) == tasks.ENDINGS
        assert {len(choice.split()) - len(true.split()) for choice in item["choices"]} <= {-1, 0, 1}
    assert len({item["label"] for item in items}) > 1


def test_others_are_of_the_nearest_length() -> None:
    half = Halves([], ["x"], ["a", "b", "c"])
    endings = {1: ["q"], 2: ["d e"], 3: ["a b c", "f g h"], 4: ["i j k l", "m n o p"], 9: ["z " * 9]}
    # one of length 3 besides itself, one of length 2, then one of the two of length 4
    found = tasks.others_like(half, endings, random.Random(0))
    assert found[:2] == ["f g h", "d e"]
    assert found[2] in endings[4]
    assert tasks.others_like(half, {3: ["a b c", "f g h"]}, random.Random(0)) == ["f g h"]  # no item can be made


def test_local_order_swaps_two_neighbours() -> None:
    items = tasks.local_order([STORY], 20, seed=0)
    assert len(items) == 20
    for item in items:
        true, wrong = item["choices"][item["label"]].split(), item["choices"][1 - item["label"]].split()
        assert f"{item['context']} {' '.join(true)}" in STORY
        moved = [i for i, (word, other) in enumerate(zip(true, wrong, strict=True)) if word != other]
        assert moved == [moved[0], moved[0] + 1]
        assert tasks.swapped(wrong, moved[0]) == true


def test_swappable_by_hand() -> None:
    # `said,` and `end.` carry marks, `That that` is one word twice: that|is and is|the are left
    assert tasks.swappable(["he", "said,", "That", "that", "is", "the", "end."]) == [3, 4]
    assert tasks.swappable(["end."]) == []


def test_a_repeated_sentence_counts_once() -> None:
    assert len(tasks.drawn([TEXT, TEXT], 0)) == 4
    assert len(tasks.local_order([TEXT, TEXT], None, 0)) == 4


def test_the_same_seed_gives_the_same_items_and_another_others() -> None:
    for make in (tasks.local_ending, tasks.local_order):
        assert make([STORY], 10, 0) == make([STORY], 10, 0)
        assert make([STORY], 10, 0) != make([STORY], 10, 1)


@pytest.mark.parametrize("text", ["", "Too short. Also this.", "One sentence of eight words stands here alone."])
def test_too_little_text_gives_no_endings(text: str) -> None:
    assert tasks.local_ending([text], 5, 0) == []


@given(st.lists(st.text(max_size=200), max_size=3))
def test_any_text_gives_sound_items(texts: list[str]) -> None:
    for item in tasks.local_ending(texts, None, 0) + tasks.local_order(texts, None, 0):
        assert item["context"]
        assert 0 <= item["label"] < len(item["choices"])
        assert len(set(item["choices"])) == len(item["choices"])


def test_real_text_gives_five_hundred_items(realdata: Path) -> None:
    text = (realdata / "text/tinystories.txt").read_text(encoding="utf-8")[:120_000]
    assert len(tasks.local_ending([text], 500, 0)) == len(tasks.local_order([text], 500, 0)) == 500
