"""What a model is shown and what is read out of it, against one text at a time and the whole logits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lethe.core.errors import StageError
from lethe.metrics import collect as readout
from lethe.metrics.collect import Passage
from lethe.metrics.name_swaps import Frame
from lethe.metrics.questions import Question
from lethe.models.checkpoints import load_model, load_tokenizer
from tests.conftest import TINY_TEXT, tiny_model, tiny_tokenizer

ASKED = [
    Question("a", "Orla went to", "Harrow Hill", "Harrow Hill", ["the mill", "Tom"], True),
    Question("b", "Nobody", "knew", "knew", [], True),
]


def test_answers_are_weighed_as_the_model_weighs_them(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path)
    model, tokenizer = load_model(folder, torch.device("cpu")), load_tokenizer(folder)
    sums = readout.answer_scores(model, tokenizer, ASKED)
    means = readout.per_token(tokenizer, ASKED, sums)
    assert [list(found) for found in sums] == [["Harrow Hill", "the mill", "Tom"], ["knew"]]
    for question, of_answers, of_tokens in zip(ASKED, sums, means, strict=True):
        given = tokenizer(question.prompt)["input_ids"]
        for answer in of_answers:
            ids = tokenizer(f"{question.prompt} {answer}")["input_ids"]
            assert ids[: len(given)] == given
            with torch.inference_mode():
                logs = model(input_ids=torch.tensor([ids])).logits[0].double().log_softmax(dim=-1)
            true = sum(float(logs[i - 1, ids[i]]) for i in range(len(given), len(ids)))
            assert of_answers[answer] == pytest.approx(true, abs=1e-4)
            assert of_tokens[answer] == pytest.approx(true / (len(ids) - len(given)), abs=1e-4)


def test_passages_are_drawn_and_different() -> None:
    text = " ".join(f"Tom looked at the water {number} times." for number in range(40))
    drawn = readout.drawn_passages([text, text], tiny_tokenizer(), "forget", tokens=16, limit=5, seed=0)
    assert [passage.item for passage in drawn] == [f"forget {number}" for number in range(5)]
    assert len({passage.text for passage in drawn}) == 5
    assert all(8 <= len(passage.tokens) <= 16 and passage.text in text for passage in drawn)
    assert readout.drawn_passages(["Tom."], tiny_tokenizer(), "forget", tokens=16, limit=5, seed=0) == []


def test_halves_and_rests() -> None:
    tokenizer = tiny_tokenizer()
    tokens = tokenizer(TINY_TEXT)["input_ids"][:9]
    passage = Passage("forget 0", tokens, "")
    given, rest = readout.halves(passage)
    assert (len(given), len(rest)) == (5, 4)
    assert readout.second_halves([passage], tokenizer) == [tokenizer.decode(rest)]


def test_sentences_that_grew_too_long_are_left_out() -> None:
    tokenizer = tiny_tokenizer()
    frames = [Frame("a", "Tom sat by the river", [(0, 3)]), Frame("b", "Tom " * 40, [])]
    (found,) = readout.sentences(frames, tokenizer, context=32)
    assert found.item == "a"
    assert found.tokens == tokenizer("Tom sat by the river")["input_ids"]
    names = len(tokenizer("Tom", add_special_tokens=False)["input_ids"])
    assert found.own == [False] * names + [True] * (len(found.tokens) - 1 - names)


def test_a_question_that_does_not_fit_is_one_line() -> None:
    long = ASKED[0]._replace(prompt="Orla " * 70)
    tokens = len(tiny_tokenizer()("Orla " * 70)["input_ids"])
    with pytest.raises(StageError) as caught:
        readout.check_lengths([ASKED[1], long], tiny_tokenizer(), context=64, new_tokens=9)
    assert str(caught.value) == (
        f"a: expected at most 64 tokens, the model's context, got {tokens + 9} with its longest answer; shorten "
        "it or lower measure.answer_tokens"
    )
