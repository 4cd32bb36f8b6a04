"""Groups of near-duplicates."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lethe.classification.near_duplicates import groups


def test_groups_by_hand() -> None:
    texts = [
        "the film is a long and winding road to nowhere at all .",  # 12 words
        "winding road",  # part of 0 and of 3: goes with the longer, 0
        "a long and winding road to nowhere at all ",  # shares a run of eight words with 0
        "another winding road",  # its own group: three words, in no other text
        "Winding road!",  # 1 again
        "funny",
        "",
    ]
    assert groups(texts) == [0, 0, 0, 3, 0, 5, 6]


@given(st.lists(st.text("ab ", max_size=30), max_size=25))
def test_equal_texts_are_one_group_and_a_group_is_named_by_its_first(texts: list[str]) -> None:
    found = groups(texts)
    for index, group in enumerate(found):
        assert group <= index
        assert found[group] == group
        if texts[index].split():
            assert group == found[texts.index(texts[index])]
