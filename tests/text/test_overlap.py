"""A passage found again in other text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lethe.text.overlap import Word, common, words_of


def test_words_forget_everything_but_letters() -> None:
    # "Old-" at a line's end and "old-fashioned" are one word; a dash between spaces parts two
    assert [word.key for word in words_of("Old-\nFashioned — “Orla’s” ﬁne _mill_")] == [
        "oldfashioned", "orlas", "fine", "mill"
    ]  # fmt: skip
    assert words_of("  Tom sat")[1] == Word("sat", 6, 9)
    assert [word.key for word in words_of("cafe\u0301 CAFÉ")] == ["café", "café"]


def test_common_runs_by_hand() -> None:
    # ten words asked, the first nine are there: both runs of eight within them, so 9 of 10 words
    asked = "a b c d e f g h i j"
    share, found = common(asked, ["x a b c d e f g h i y", "nothing"])
    assert share == 0.9
    assert found == [[(2, 19)], []]
    assert common("b c", ["a b c b c", "b, C!"]) == (1.0, [[(2, 9)], [(0, 4)]])  # a short passage: all of it
    assert common("...", ["x"]) == (0.0, [[]])


@given(st.lists(st.sampled_from(["mill", "tom", "sat", "by", "river"]), min_size=1, max_size=30), st.integers(0, 5))
def test_a_passage_is_found_however_it_is_broken(words: list[str], gap: int) -> None:
    text = f"Before it {' '.join(words)} after it"
    share, found = common((" " * gap + "\n").join(words).upper(), [text])
    assert share == 1.0
    assert found[0]
