"""Which samples are shown."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stages.lib.samples import changed_positions, label_samples, side_by_side, spread, starting_words
from tests.conftest import tiny_tokenizer


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


def test_side_by_side_keeps_the_order_of_the_models() -> None:
    said = [{"model": model, "id": 5, "completion": f"{model} says a lot"} for model in ("baseline", "unlearned")]
    assert side_by_side([{"id": 5, "prompt": "a b c"}], said, samples=3, words=2) == [
        {
            "id": 5,
            "prompt": "… b c",
            "answers": [
                {"model": "baseline", "completion": "baseline says …", "grade": None},
                {"model": "unlearned", "completion": "unlearned says …", "grade": None},
            ],
        }
    ]


def test_changed_positions_by_hand() -> None:
    tokens = np.array([[0, 1, 2, 3, 1]])  # the fifth is padding
    next_ids = np.array([[1, 3, 1, 9, -100]])  # 9 is no id of the tokenizer's
    starting = np.array([False, True, True, True])
    # 0: label 1 = text 1; 1: label 3 for text 2; 2: label 1 for text 3; 3: beyond the end
    assert changed_positions(tokens, next_ids, np.array([4]), starting).tolist() == [[False, True, True, False, False]]
    starting[3] = False  # a label, or a text, in the middle of a word is not shown
    assert not changed_positions(tokens, next_ids, np.array([4]), starting).any()


def test_label_samples_show_the_text_and_the_label() -> None:
    tokenizer = tiny_tokenizer("the old mill of Tom and of Ann " * 50).backend_tokenizer
    tokens = tokenizer.encode("the old mill of Tom and of Ann").ids
    [ann] = tokenizer.encode(" Ann", add_special_tokens=False).ids
    next_ids = [*tokens[1:], -100]
    next_ids[4] = ann  # after `of`: position 0 is <s>
    arrays = np.array([tokens]), np.array([next_ids])
    changed = changed_positions(*arrays, np.array([len(tokens)]), starting_words(tokenizer))
    assert label_samples([3], *arrays, changed, tokenizer, samples=2, words=3) == [
        {"block": 3, "before": "… mill of", "text": "Tom", "label": "Ann"}
    ]
