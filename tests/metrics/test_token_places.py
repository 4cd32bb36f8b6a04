"""Where the tokens of a passage stand in the text."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lethe.metrics.collect import Passage, drawn_passages
from lethe.metrics.token_places import SHOWN, located, token_rows
from tests.conftest import tiny_tokenizer

TEXTS = ["Another one.", "Orla went to Harrow Hill, and the lamp stood by the old mill until Tom came back. " * 3]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tiny_tokenizer(" ".join(TEXTS) * 3)


def test_each_token_stands_where_the_text_has_it(tokenizer: Any) -> None:
    passages = drawn_passages(TEXTS, tokenizer, "forget", 8, 99, seed=0)
    assert len(passages) > SHOWN
    for passage in passages:
        number, spans = located(passage, TEXTS, tokenizer, 8)
        assert len(spans) == len(passage.tokens) - 1
        text = TEXTS[number]
        # `<s>` comes before the text, so every token of it has a place, and they are next to each other
        assert "".join(text[start:end] for start, end in spans) == passage.text
        own = [tokenizer.decode([token]).strip() for token in passage.tokens[1:]]
        assert [text[start:end].strip() for start, end in spans] == own


def test_a_passage_of_another_corpus(tokenizer: Any) -> None:
    with pytest.raises(ValueError, match=r"^forget 0 is a block of none of the texts$"):
        located(Passage("forget 0", [1, 2], "Nobody"), TEXTS, tokenizer, 8)


def test_the_rows_hold_probabilities_and_no_text(tokenizer: Any) -> None:
    passages = drawn_passages(TEXTS, tokenizer, "forget", 8, 99, seed=0)

    def certain(of: float) -> Any:
        members = [SimpleNamespace(chosen=np.full(len(one.tokens) - 1, math.log(of))) for one in passages]
        return SimpleNamespace(members=members)

    rows = token_rows({"step-5": certain(1), "unlearned": certain(0.25)}, passages, TEXTS, tokenizer, 8)
    assert {row["item"] for row in rows} == {one.item for one in passages[:SHOWN]}
    assert list(rows[0]) == ["item", "text", "start", "end", "baseline", "suppressed", "unlearned", "retrained"]
    assert {(row["baseline"], row["unlearned"], row["retrained"]) for row in rows} == {("", "0.25", "")}
