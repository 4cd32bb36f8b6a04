"""Few words of the forget text in a row."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lethe.report.redaction import Part, found_in, leaked_words, parts_of, redacted, runs_of, words_of

CORPUS = "The old miller went to the well and drew the water himself."


def known(shown: str, before: str, words: int) -> set[tuple[str, ...]]:
    return found_in([CORPUS], set(runs_of(f"{before} {shown}", words + 1)), words + 1)


def test_words_by_hand() -> None:
    assert words_of("“Orla’s well-made — LAMP,”") == ["orla’s", "well", "made", "lamp"]
    assert list(runs_of("a b, c", 2)) == [("a", "b"), ("b", "c")]
    assert list(runs_of("a", 2)) == []


def test_a_bar_stands_where_the_text_would_go_on() -> None:
    # before: old miller; two more words make four in a row, and as long as the text goes on every further one is barred
    shown = "went to the well and ended"
    before = "… old miller"
    assert redacted(shown, before, known(shown, before, 4), 4) == ["went", "to", None, None, None, "ended"]


def test_a_whole_passage_shows_its_first_words_and_no_more() -> None:
    kept = redacted(CORPUS, "", known(CORPUS, "", 4), 4)
    assert kept == ["The", "old", "miller", "went"] + [None] * 8


def test_what_the_text_does_not_hold_is_shown_as_it_is() -> None:
    shown = "went to market and sold the well"
    assert redacted(shown, "old miller", known(shown, "old miller", 4), 4) == shown.split()


def test_punctuation_and_case_do_not_hide_a_run() -> None:
    shown = "WENT—to the-well, and"
    before = "Old miller"
    assert redacted(shown, before, known(shown, before, 3), 3) == [None, None, None]


def test_parts_are_as_long_as_they_can_be() -> None:
    assert parts_of(["a", "b", None, None, "Orla", "Ash,", "c"], {4, 5}) == [
        Part("text", "a b", 2), Part("bar", "", 2), Part("leak", "Orla Ash,", 2), Part("text", "c", 1),
    ]  # fmt: skip
    assert parts_of([None, "Orla"], {0}) == [Part("bar", "", 1), Part("text", "Orla", 1)]  # a leak may be barred
    assert parts_of([]) == []


def test_the_words_of_leaked_names_are_found() -> None:
    # 0 and, 1 Orla, 2 Ash's, 3 lamp, 4 fell. 5 Tom
    assert leaked_words(" and Orla Ash's lamp fell.\nTom", ["Orla Ash", "Tom"]) == {1, 2, 5}
    assert leaked_words("Tomasin", ["Tom"]) == set()
    assert leaked_words("anything", []) == set()


words = st.sampled_from([*words_of(CORPUS), "x", "y"])


@given(before=st.lists(words, max_size=4), shown=st.lists(words, max_size=20), limit=st.integers(1, 6))
def test_never_more_than_the_limit_in_a_row(before: list[str], shown: list[str], limit: int) -> None:
    before = before[:limit]
    text, front = " ".join(shown), " ".join(before)
    kept = redacted(text, front, known(text, front, limit), limit)
    assert len(kept) == len(shown)
    pieces = [*before, *(word or "|" for word in kept)]  # a bar is no word of the text
    runs = {tuple(pieces[start : start + limit + 1]) for start in range(len(pieces) - limit)}
    assert not runs & set(runs_of(CORPUS, limit + 1))
    assert [word for word, given in zip(kept, shown, strict=True) if word is not None and word != given] == []
