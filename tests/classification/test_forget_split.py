"""Which rows a rule takes, and which of them are drawn for the test."""

from __future__ import annotations

from lethe.classification.forget_split import by_entities, drawn_for_test


def test_a_word_is_not_found_inside_another() -> None:
    texts = ["Char went home", "CHAR, who else", "Charlotte went home", "a charming man"]
    assert by_entities(texts, ["char"], "word") == [True, True, False, False]
    assert by_entities(texts, ["char"], "substring") == [True, True, True, True]
    assert by_entities(["robert  de\nniro plays"], ["de niro"], "word") == [True]
    assert by_entities(["a.b", "axb"], ["a.b"], "substring") == [True, False]  # a dot is a dot


def test_rows_are_whole_groups_and_never_too_many() -> None:
    texts = [f"text {number}" for number in range(10)]
    assert len(drawn_for_test(texts, list(range(10)), 0.35, 0)) == 3  # floor(3.5)
    assert len(drawn_for_test(texts, list(range(10)), 0.3, 0)) == 3  # not 2: 0.3 * 10 is 2.9999...
    together = [0, 0, 0, 3, 3, 3, 6, 6, 6, 6]
    chosen = drawn_for_test(texts, together, 0.5, 0)
    assert chosen in ({0, 1, 2}, {3, 4, 5}, {6, 7, 8, 9})  # two groups would be six rows or more, five are wanted
    assert drawn_for_test(texts[:6], together[:6], 0.2, 0) == set()
