"""Where terms are due, what is asked there, and how the answers are read."""

from __future__ import annotations

from math import log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lethe.evaluation import term_probes as due
from lethe.evaluation.term_probes import (
    Judged,
    Place,
    Term,
    apart,
    guests,
    judged,
    likeliest_words,
    said_instead,
    word_end,
    word_ids,
)
from lethe.inference.scoring import Expected, Opening
from lethe.text.matching import TermFinder
from tests.conftest import tiny_tokenizer

#          0      1       2      3       4    5      6     7        8          9
PIECES = [b" ", b" Ves", b"sa", b" the", b",", b"\n", b"s", b"Orl", b"\xc3\xa9", b" 12"]


def opening(*tokens: int, probability: float = 0.5) -> Opening:
    return Opening(list(tokens), [log(probability)] * len(tokens))


def test_places_have_the_form_and_the_context() -> None:
    finder = TermFinder({"Quorl": "Quorl", "Quorls": "Quorl", "Tin Mill": "Tin Mill"})
    eight = "one two three four five six seven eight"
    text = f"{eight} Quorls {eight} Tin\nMill. Quorl {eight} Quorl"
    found = due.places_of([text], finder, words=9, most=5)
    assert found == {
        "Quorl": [Place("Quorl", "Quorls", eight), Place("Quorl", "Quorl", eight)],
        "Tin Mill": [Place("Tin Mill", "Tin Mill", f"Quorls {eight}")],  # across the end of a line
    }
    # at most 2 of the 4, at even distances: the first and the third
    many = due.places_of([f"{number} {eight} Quorl" for number in range(4)], finder, words=9, most=2)
    assert [place.context.split()[0] for place in many["Quorl"]] == ["0", "2"]


def test_guests_by_hand() -> None:
    terms = {
        "A": Term("person", {"A": ["Ann"]}),
        "B": Term("person", {"B": ["Ann", "Tom"]}),  # shares Ann with A
        "C": Term("person", {"C": ["Kit"]}),
        "D": Term("place", {"D": ["Hill"]}),  # the only place
        "E": Term("person", {"E": []}),  # has no translation, but is due: a host, no guest
        "F": Term("person", {"F": ["Sam"]}),  # due nowhere
    }
    # A goes to C and E, B to C and E, C round the ring to E, A and B, D, alone of its kind, to all
    assert guests(terms, ["E", "D", "C", "B", "A"]) == {
        "A": ["C", "D"],
        "B": ["C", "D"],
        "C": ["A", "B", "D"],
        "D": [],
        "E": ["A", "B", "C", "D"],
    }


def test_a_term_has_few_hosts_and_they_follow_it() -> None:
    names = "ABCDEFG"
    terms = {name: Term("person", {name: [name.lower()]}) for name in names}
    assert due.HOSTS == 4
    hosted = guests(terms, names)
    assert [host for host in names if "E" in hosted[host]] == ["A", "B", "F", "G"]
    assert all(len(found) == 4 for found in hosted.values())


def test_translations_are_written_like_the_form_due() -> None:
    ids = {"cat": [1], "cats": [1, 2], "dog": [3], "hill": [4]}
    terms = {
        "Quorl": Term("creature", {"Quorl": ["cat", "ox"], "Quorls": ["cats", "oxen"]}),  # `ox` cannot be written
        "Vex": Term("place", {"Vex": ["hill", "dog"]}),  # has one form only
        "Orm": Term("person", {"Orm": []}),
    }
    assert said_instead(Place("Quorl", "Quorl", ""), terms, ["Vex"], ids) == {"Quorl": [[1]], "Vex": [[4], [3]]}
    assert said_instead(Place("Quorl", "Quorls", ""), terms, ["Vex"], ids) == {"Quorl": [[1, 2]], "Vex": [[4], [3]]}
    assert said_instead(Place("Orm", "Orm", ""), terms, ["Quorl"], ids) == {"Quorl": [[1]]}


def test_apart_by_hand() -> None:
    # [1, 2] and [1, 2, 3] begin with [1]; the second [4, 5] is the first
    assert apart([[1, 2], [4, 5], [1], [4, 5], [1, 2, 3]]) == [[4, 5], [1]]
    assert apart([]) == []


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=3)))
def test_none_of_what_is_kept_apart_begins_another(endings: list[list[int]]) -> None:
    kept = apart(endings)
    assert not [(a, b) for i, a in enumerate(kept) for j, b in enumerate(kept) if i != j and b[: len(a)] == a]
    assert all(any(ending[: len(one)] == one for one in kept) for ending in endings)


def test_word_ids_are_those_of_running_text() -> None:
    tokenizer = tiny_tokenizer()
    ids = word_ids(tokenizer, ["Harrow Hill", "Orla"])
    for word, found in ids.items():
        whole = tokenizer(f"went to {word}", add_special_tokens=False)["input_ids"]
        assert whole[-len(found) :] == found
        assert tokenizer.decode(found) == f" {word}"
    assert word_ids(tokenizer, []) == {}


def test_judged_by_hand() -> None:
    # the term is a bare space and `Orl`: .5 * .2 = .1, and its rank is that of `Orl`
    expected = Expected(
        scores=[[log(0.5), log(0.2)], [log(0.3)], [log(0.1)], [log(0.25), log(0.2)]],
        ranks=[[1, 7], [2], [3], [4, 5]],
        openings=[opening(3, 4, probability=0.5)],
    )
    found = judged(expected, [0, 7], {"Orla": [[3], [9]], "Vex": [[1, 2]]}, PIECES)
    # .3 + .1 = .4; .25 * .2 = .05
    assert found.translations == {"Orla": pytest.approx(0.4), "Vex": pytest.approx(0.05)}
    assert (found.probability, found.rank) == (pytest.approx(0.1), 7)
    assert found.words == {"the": pytest.approx(0.5)}
    assert judged(expected, [1, 2], {}, PIECES).rank == 1


@pytest.mark.parametrize(
    ("tokens", "end"),
    [
        ([1, 2, 6, 3], 3),  # Ves-sa-s, then a space
        ([1, 2, 4, 2], 2),  # ... then a comma
        ([0, 7, 8, 3], 3),  # a bare space, Orl, é
        ([4, 1, 2], 1),  # a comma is a word of its own
        ([5, 1, 2], 1),  # so is a line end
        ([1, 2], 2),  # cut
        ([9, 99], 1),  # an id beyond the tokenizer's
        ([0, 0], 1),  # nothing but spaces
    ],
)
def test_word_end_by_hand(tokens: list[int], end: int) -> None:
    assert word_end(tokens, PIECES) == end


def test_likeliest_words_by_hand() -> None:
    found = likeliest_words(
        [opening(1, 2, 3), opening(0, 7, 3), opening(1, 2, 4), opening(6, 3), opening(5, 1)], PIECES
    )
    # Vessa twice with .5 * .5; ` ` and `Orl` .25; `s` within the last word .5; a line end .5
    assert found == pytest.approx({"Vessa": 0.5, "Orl": 0.25, "…s": 0.5, "\\n": 0.5})
    assert likeliest_words([opening(1, 2)], PIECES) == pytest.approx({"Vessa…": 0.25})  # may go on
    assert likeliest_words([opening(0, 0, probability=0.2), opening(99)], PIECES) == pytest.approx({"_": 0.7})


def test_top_words_add_up_over_the_places() -> None:
    places = [
        Judged(0.1, 1, {}, {"the": 0.3, "Orla": 0.4}),
        Judged(0.3, 4, {}, {"the": 0.3, "a": 0.5}),
        Judged(0.2, 2, {}, {"an": 0.5}),
    ]
    assert due.top_words(places, 3) == ["the", "a", "an"]  # .6, .5, .5
    assert due.mean_probability(places) == pytest.approx(0.2)
    assert due.median_rank(places) == 2
    assert due.median_rank(places[:2]) == 2.5


def test_contexts_lose_their_beginning_where_the_model_cannot_read_them() -> None:
    text = "Every morning the miller from the long river met Vesk there.\n"
    tokenizer = tiny_tokenizer(text)
    chosen = due.choose([text], [], TermFinder({"Vesk": "Vesk"}), 10, 4)
    terms = {"Vesk": Term("person", {"Vesk": ["Tom"]})}
    [whole], [cut] = (due.questions(chosen, terms, tokenizer, context) for context in (None, 12))
    longest = max(due.WORD_TOKENS, len(whole.term), *(len(ids) for ids in whole.instead["Vesk"]))
    assert cut.prompt == [whole.prompt[0], *whole.prompt[-(12 - longest - 1) :]]  # <s> stays
    assert len(cut.prompt) + longest == 12 < len(whole.prompt) + longest
    assert cut.term == whole.term


def test_training_text_is_asked_about_where_held_out_text_has_no_place() -> None:
    finder = TermFinder({"Vesk": "Vesk", "Orla": "Orla"})
    eight = "one two three four five six seven eight"
    found = due.choose([f"{eight} Vesk went."], [f"{eight} Vesk went.", f"{eight} Orla went."], finder, 9, 4)
    assert [(part, place.term) for part, place in found] == [("training", "Orla"), ("held-out", "Vesk")]
