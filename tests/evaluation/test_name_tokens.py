"""The next tokens that would give a corpus away."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from lethe.evaluation import name_tokens as content
from lethe.models.checkpoints import load_tokenizer
from tests.conftest import TINY_TEXT, tiny_tokenizer


def test_telling_tokens_by_hand() -> None:
    # forget: 100 tokens, retain: 1000
    forget = {1: 10, 2: 10, 3: 10, 4: 70}
    retain = {1: 19, 2: 20, 4: 961}
    # 1: 0.10 > 5 * 0.019 = 0.095; 2: 0.10 = 5 * 0.020; 3: never on the retain side; 4: 0.7 < 5 * 0.961
    assert content.distinctive_tokens(forget, retain) == {1, 3}
    assert content.distinctive_tokens(forget, {}) == {1, 2, 3, 4}  # no retain text: nothing to compare with
    assert content.distinctive_tokens({}, retain) == set()


counts = st.dictionaries(st.integers(0, 9), st.integers(1, 50))


@given(counts, counts)
def test_no_token_tells_of_both_sides(forget: dict[int, int], retain: dict[int, int]) -> None:
    assert (
        not content.distinctive_tokens(forget, retain)
        & content.distinctive_tokens(retain, forget)
        & set(forget)
        & set(retain)
    )


def test_first_tokens_after_a_space_and_at_a_line_start() -> None:
    tokenizer = tiny_tokenizer()
    starts = content.first_tokens(tokenizer, ["Orla", "Harrow Hill", "Tom"])
    for name, ids in starts.items():
        spaced = tokenizer(f" {name}", add_special_tokens=False)["input_ids"][0]
        bare = tokenizer(name, add_special_tokens=False)["input_ids"][0]
        assert ids == {spaced, bare}


def test_first_tokens_of_a_sentencepiece_tokenizer(realdata: Path) -> None:
    tokenizer = load_tokenizer(realdata / "models/stories260K")
    starts = content.first_tokens(tokenizer, ["Lily", "Oz", "Dorothy"])
    shown = {name: set(tokenizer.convert_ids_to_tokens(sorted(ids))) for name, ids in starts.items()}
    # with 512 tokens ▁D is none: the bare ▁ starts half of all words, and distinctive_tokens drops it
    assert shown == {"Lily": {"▁Lily", "L"}, "Oz": {"▁O", "O"}, "Dorothy": {"▁", "D"}}


def test_content_ids_by_hand() -> None:
    starts = {"Orla": {1, 2}, "Orwen": {1, 3}, "Harrow Hill": {4, 5}, "Tom": {6}}
    telling = {1, 2, 3, 4}
    assert content.content_ids(starts, starts, set(), telling) == {1, 2, 3, 4}
    # Orla stands in the prompt: 1 may be hers, so Orwen is told by 3 only
    assert content.content_ids(starts, starts, {"Orla"}, telling) == {3, 4}
    assert content.content_ids(starts, ["Tom", "Orwen"], {"Orwen"}, telling) == set()


def test_token_counts_count_every_token_once() -> None:
    tokenizer = tiny_tokenizer()
    texts = [TINY_TEXT, TINY_TEXT * 30]  # the second is longer than a piece
    counted = content.token_counts(tokenizer, texts)
    assert counted.pop(0) == 1 + 4  # a BOS in front of every piece: 1650 tokens are four pieces of 511
    assert counted == Counter(i for text in texts for i in tokenizer(text, add_special_tokens=False)["input_ids"])
