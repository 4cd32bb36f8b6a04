"""Which samples are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lethe.report.redaction import Part
from lethe.report.samples import (
    AnchorPosition,
    anchor_positions,
    chosen_prompts,
    label_samples,
    side_by_side,
    spread,
    term_ids,
)
from tests.conftest import tiny_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def test_spread_by_hand() -> None:
    # 10 in two halves of 5: the middles 2 and 7 (2.5 and 7.5 rounded down)
    assert spread(10, 2) == [2, 7]
    assert spread(2, 5) == [0, 1]
    assert spread(0, 3) == spread(3, 0) == []


@given(count=st.integers(0, 200), samples=st.integers(0, 200))
def test_spread_is_ascending_and_inside(count: int, samples: int) -> None:
    found = spread(count, samples)
    assert found == sorted(set(found))
    assert len(found) == min(count, samples)
    assert all(0 <= index < count for index in found)


def said(*graded: tuple[str, int, int | None]) -> list[dict[str, Any]]:
    return [{"model": model, "id": id, "completion": "x", "grade": grade} for model, id, grade in graded]


def test_prompts_are_chosen_by_the_rule() -> None:
    rows = said(("baseline", 3, 3), ("baseline", 1, 2), ("baseline", 2, 1), ("baseline", 4, 3), ("unlearned", 4, 2),
                ("unlearned", 1, 0), ("retrained", 2, 3), ("unlearned", 2, None))  # fmt: skip
    # 4 leaks still; at 1 and 3 the baseline leaks; what the retrained model says at 2 does not count
    assert chosen_prompts(rows, 5) == {4: "still leaks", 1: "leaked before", 3: "leaked before"}
    assert chosen_prompts(rows, 2) == {4: "still leaks", 1: "leaked before"}
    silent = said(*(("baseline", id, 0) for id in range(10)))
    assert chosen_prompts(silent, 2) == {2: "no leak", 7: "no leak"}
    assert chosen_prompts([], 2) == chosen_prompts(rows, 0) == {}


def test_side_by_side_shows_the_compared_models_in_their_order() -> None:
    models = ("retrained", "step-00003", "unlearned", "baseline", "suppressed")
    rows = [{"model": model, "id": 5, "completion": f"{model} says a lot"} for model in models]
    [sample] = side_by_side([{"id": 5, "prompt": "a b c d e"}], rows, [], samples=3, words=4)
    assert sample["id"] == 5
    assert sample["prompt"] == [Part("bar", "", 3), Part("text", "d e", 2)]  # half of the words for the prompt
    assert sample["answers"] == [
        {"model": model, "parts": [Part("text", f"{model} says a lot", 4)], "leaks": False, "grade": None}
        for model in ("baseline", "suppressed", "unlearned", "retrained")
    ]


def test_side_by_side_republishes_no_long_run_of_the_text() -> None:
    text = "the lamp went out and the mill stood dark until the morning came"
    row = {"model": "baseline", "id": 5, "completion": " and the mill stood dark then", "grade": 3, "leaked": ["the"]}
    [sample] = side_by_side([{"id": 5, "prompt": "the lamp went out"}], [row], [text], samples=1, words=4)
    # two words of the prompt and two of the completion are four in a row; the rest of the run is a bar
    assert sample["prompt"] == [Part("bar", "", 2), Part("text", "went out", 2)]
    [answer] = sample["answers"]
    assert answer["leaks"]
    assert answer["parts"] == [
        Part("text", "and", 1), Part("leak", "the", 1), Part("bar", "", 3), Part("text", "then", 1),
    ]  # fmt: skip


TEXT = "the old mill of Tom Ash and of Ann and of Tomasin"


def labelled(changes: dict[int, str]) -> tuple[Tokenizer, np.ndarray, np.ndarray, np.ndarray]:
    """A tokenizer that knows every word of TEXT, TEXT as tokens, its labels (the text's own but for `changes`) and
    its length, padded by one token. `<s>` is position 0."""
    tokenizer = tiny_tokenizer(f"{TEXT} " * 50).backend_tokenizer
    tokens = tokenizer.encode(TEXT).ids
    assert len(tokens) == 1 + len(TEXT.split())
    next_ids = [*tokens[1:], -100, -100]
    for place, word in changes.items():
        next_ids[place] = tokenizer.token_to_id(f"Ġ{word}") if word else -100
    return tokenizer, np.array([[*tokens, tokens[1]]]), np.array([next_ids]), np.array([len(tokens)])


def test_term_ids_are_those_of_running_text() -> None:
    tokenizer, *_ = labelled({})
    the, tom, ash = (tokenizer.token_to_id(f"Ġ{word}") for word in ("the", "Tom", "Ash"))
    assert term_ids(tokenizer, ["the", "Tom Ash"]) == {(the,), (tom, ash)}


def test_due_places_by_hand() -> None:
    #       0   1   2   3    4  5   6   7   8  9   10  11 12
    # TEXT: <s> the old mill of Tom Ash and of Ann and of Tomasin
    tokenizer, tokens, next_ids, length = labelled({3: "the", 4: "Ann", 8: "Tom", 11: "Ann"})
    due = anchor_positions(tokens, next_ids, length, term_ids(tokenizer, ["Tom Ash", "Tom", "Ann"]), tokenizer)
    # after 3 no term is due; after 4 `Tom Ash`, not only `Tom`; after 8 `Ann`; after 11 `Tomasin`, which is no term
    assert due == [AnchorPosition(0, 4, 7), AnchorPosition(0, 8, 10)]
    tokenizer, tokens, next_ids, length = labelled({4: "", 8: "Ann"})
    # no label after 4; after 8 the label is the text's
    assert anchor_positions(tokens, next_ids, length, term_ids(tokenizer, ["Tom Ash", "Ann"]), tokenizer) == []


def test_a_term_ends_with_its_word() -> None:
    tokenizer = tiny_tokenizer("we saw Tom " * 50).backend_tokenizer
    tom = term_ids(tokenizer, ["Tom"])
    for text, found in (("we saw Tomasin", 0), ("we saw Tom, we", 1), ("we saw Tom we", 1), ("we saw Tom", 1)):
        tokens = np.array([tokenizer.encode(text).ids])
        next_ids = np.full_like(tokens, tokens[0, 1])
        assert len(anchor_positions(tokens, next_ids, np.array([tokens.shape[1]]), tom, tokenizer)) == found, text


def test_label_samples_show_the_term_and_the_label() -> None:
    tokenizer, tokens, next_ids, _ = labelled({4: "Ann"})
    for words, before, shown in ((3, "… of", "Tom Ash"), (4, "… mill of", "Tom Ash"), (1, "…", "Tom …")):
        found = label_samples([3], tokens, next_ids, [AnchorPosition(0, 4, 7)], tokenizer, samples=2, words=words)
        assert found == [{"block": 3, "before": before, "text": shown, "label": "Ann"}]


def test_label_samples_come_from_evenly_spaced_blocks() -> None:
    tokenizer, tokens, next_ids, _ = labelled({})
    rows = np.repeat(tokens, 4, axis=0), np.repeat(next_ids, 4, axis=0)
    due = [AnchorPosition(row, place, place + 2) for row in (0, 2, 3) for place in (4, 8, 11)]
    # blocks 0, 2 and 3 hold a place: the middle ones of 2 halves are the first and the last; the middle place is 8
    found = label_samples([5, 6, 7, 8], *rows, due, tokenizer, samples=2, words=2)
    assert [(sample["block"], sample["text"]) for sample in found] == [(5, "Ann"), (8, "Ann")]
