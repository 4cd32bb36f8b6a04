"""What the models write, step by step: the same as elsewhere in lethe, and as the sampling says."""

from __future__ import annotations

from itertools import pairwise
from threading import Lock
from typing import Any

import pytest

from lethe.app import asking
from lethe.app.asking import Question, answers, narrowed, next_words
from lethe.app.marks import Marker
from lethe.app.shelf import Reader, Shelf
from lethe.core.errors import StageError
from lethe.evaluation.familiarity import name_matcher
from lethe.inference.decoding import continue_greedily, end_ids, prompt_ids, sample_continuations, texts_after

MARKER = Marker(name_matcher({"Orla": True, "Harrow Hill": True}))
GREEDY = {"temperature": 0, "top_k": 0, "top_p": 1, "new_tokens": 8, "seed": 0, "samples": 1}
PROMPT = "Tom sat by the"


def question(prompt: str = PROMPT, models: tuple[str, ...] = ("baseline", "unlearned"), **given: Any) -> Question:
    more = {name: given.pop(name) for name in ("chat", "earlier", "start") if name in given}
    values = {"models": list(models), "prompt": prompt, "chat": False, "earlier": {}, "start": ""} | more
    return Question.model_validate(values | {"sampling": GREEDY | given})


def events(shelf: Shelf, asked: Question) -> list[dict[str, Any]]:
    return [row for row in answers(asked, shelf.ask(asked.models), shelf.lock, MARKER) if row.keys() - {"model"}]


def done(shelf: Shelf, asked: Question) -> dict[str, dict[str, Any]]:
    return {row["model"]: row for row in events(shelf, asked) if row.get("done") or row.get("error")}


def test_the_greedy_text_is_that_of_the_evaluation(shelf: Shelf) -> None:
    found = done(shelf, question())
    for name, (model, tokenizer, _) in shelf.ready.items():
        ids = prompt_ids(tokenizer, PROMPT, False)
        [one] = continue_greedily(model, [ids], [()], 8, end_ids(model, tokenizer))
        [text] = texts_after(tokenizer, [ids], [one.tokens])
        assert found[name]["text"] == text
        assert "".join(part[0] for part in found[name]["parts"]) == text
        assert (found[name]["tokens"], found[name]["ended"]) == (len(one.tokens), one.ended)


def test_the_models_write_in_turn_and_the_first_words_come_before_the_last(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "EVERY", 0.0)
    rows = events(shelf, question())
    order = [row["model"] for row in rows if "parts" in row]
    assert order[:4] == ["baseline", "unlearned"] * 2
    shown = [
        "".join(part[0] for part in row["parts"]) for row in rows if row.get("model") == "baseline" and "parts" in row
    ]
    assert len(shown) > 4
    assert all(later.startswith(first) for first, later in pairwise(shown))
    assert [sorted(row) for row in rows[-3:]] == [["model", "next"], ["model", "next"], ["end"]]


def test_what_starts_the_answer_is_judged_with_it(shelf: Shelf) -> None:
    found = done(shelf, question(start="Orla and"))["unlearned"]
    assert found["parts"][0] == ["Orla", "Orla", 3]
    assert found["leaked"] == ["Orla"]
    assert done(shelf, question("Orla saw", start="Orla and"))["unlearned"]["leaked"] == []


def test_a_seed_gives_its_text_and_another_seed_another(shelf: Shelf) -> None:
    texts = [done(shelf, question(temperature=2.0, seed=seed))["baseline"]["text"] for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_among_the_one_likeliest_the_text_is_greedy(shelf: Shelf) -> None:
    greedy = done(shelf, question())["baseline"]["text"]
    assert done(shelf, question(temperature=2.0, top_k=1))["baseline"]["text"] == greedy
    assert done(shelf, question(temperature=2.0, top_p=1e-6))["baseline"]["text"] == greedy


def test_top_k_and_top_p_leave_the_likeliest() -> None:
    import torch

    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    kept = [
        narrowed(logits, top_k, top_p).isfinite().tolist()[0]
        for top_k, top_p in ((0, 1.0), (2, 1.0), (0, 0.4), (0, 0.5), (0, 0.6), (0, 0.81), (1, 0.81))
    ]
    # top p keeps tokens until those before have as much: 0.5 alone has 0.4 and 0.5, not 0.6; with 0.3 not 0.81
    assert [sum(row) for row in kept] == [4, 2, 1, 1, 2, 3, 1]
    assert kept[4] == [True, True, False, False]


def test_samples_are_those_of_the_attack(shelf: Shelf) -> None:
    found = done(shelf, question(temperature=1.5, samples=4, seed=3))["baseline"]
    model, tokenizer, _ = shelf.ready["baseline"]
    ids = prompt_ids(tokenizer, PROMPT, False)
    [drawn] = sample_continuations(model, [ids], 4, 8, end_ids(model, tokenizer), 1.5, 3)
    texts = texts_after(tokenizer, [ids] * 4, [one.tokens for one in drawn])
    assert ["".join(part[0] for part in row["parts"]) for row in found["samples"]] == texts
    assert found["leaking"] == sum(bool(row["leaked"]) for row in found["samples"])
    refused = done(shelf, question(samples=4))["baseline"]["error"]
    assert refused.startswith("samples: expected a temperature above 0")


def test_every_sample_that_names_the_corpus_is_counted(shelf: Shelf) -> None:
    found = done(shelf, question(temperature=1.0, samples=3, start="Orla and"))["baseline"]
    assert (found["leaking"], found["leaked"]) == (3, ["Orla"])


def test_a_chat_goes_on_from_what_was_said(shelf: Shelf) -> None:
    earlier = {"baseline": [{"role": "user", "content": "Orla?"}, {"role": "assistant", "content": "no"}]}
    reader = shelf.ready["baseline"]
    asked = asking.asked(question("Tom?", chat=True, earlier=earlier), "baseline", reader)
    read = reader.tokenizer.decode(asked.ids, skip_special_tokens=True)
    assert read.split("\n")[:3] == ["user: Orla?", "assistant: no", "user: Tom?"]
    assert MARKER.parts(asked.text, "Orla")[1] == []  # a name that the chat gave is no leak
    alone = asking.asked(question("Tom?", chat=False, earlier=earlier), "baseline", reader)
    assert "Orla" not in reader.tokenizer.decode(alone.ids)


def test_a_chat_needs_a_template(shelf: Shelf) -> None:
    import copy

    reader = shelf.ready["baseline"]
    without = copy.deepcopy(reader.tokenizer)
    without.chat_template = None
    found = list(
        answers(
            question(chat=True, models=("baseline",)), {"baseline": Reader(reader.model, without, 64)}, Lock(), MARKER
        )
    )
    assert found == [
        {"model": "baseline", "error": "chat: expected a tokenizer with a chat template, got one without"},
        {"end": True},
    ]


def test_a_prompt_that_leaves_no_room_is_told_for_its_model(shelf: Shelf) -> None:
    found = done(shelf, question("Tom sat. " * 40))
    assert set(found) == {"baseline", "unlearned"}
    assert found["baseline"]["error"].startswith(
        "prompt: expected at most 56 tokens, the context less the new tokens, got"
    )
    found = done(shelf, question(new_tokens=64))  # it is not the prompt that is too long
    assert found["unlearned"]["error"] == "new tokens: expected fewer than 64, the context, got 64"


def test_the_next_words_have_the_probabilities_of_the_model(shelf: Shelf) -> None:
    import torch

    reader = shelf.ready["baseline"]
    asked = asking.asked(question(), "baseline", reader)
    rows = next_words(reader, asked, shelf.lock, MARKER)
    assert [row["p"] for row in rows] == sorted((row["p"] for row in rows), reverse=True)
    assert len({row["word"] for row in rows}) == len(rows)
    with torch.inference_mode():
        probabilities = reader.model(torch.tensor([asked.ids])).logits[0, -1].softmax(dim=-1)
    # a word has at most the probability of its first token, and all words together at most that of the likeliest eight
    assert 0 < sum(row["p"] for row in rows) <= float(probabilities.topk(8).values.sum()) + 1e-4


@pytest.mark.parametrize(
    ("texts", "scores", "word", "count"),
    [
        ([" Har", "row", " Hill"], [-1.0, -0.5, -0.25], "Harrow", 2),  # e^-1.5: two tokens spell it
        ([" a", " lan", "tern"], [-1.0, -0.5, -0.25], "a", 1),
        ([".", " He", ""], [-1.0, -0.5, -0.25], ".", 1),
        (["\n", "\n", "Tom"], [-1.0, -0.5, -0.25], "Tom", 3),
        ([" ", " ", " "], [-1.0, -0.5, -0.25], "(space)", 1),
    ],
)
def test_a_word_ends_where_the_next_begins(
    texts: list[str], scores: list[float], word: str, count: int, monkeypatch: pytest.MonkeyPatch, shelf: Shelf
) -> None:
    import math

    def spelt(tokenizer: object, prompts: object, rows: list[list[int]]) -> list[str]:
        return ["".join(texts[i - 100] for i in row) for row in rows]

    monkeypatch.setattr("lethe.inference.decoding.texts_after", spelt)
    asked = asking.Asked([1], "Tom saw", "")
    found = asking.first_word(shelf.ready["baseline"], asked, [100, 101, 102], scores, MARKER)
    name = "Harrow Hill" if word == "Harrow" else None
    assert found == (word, pytest.approx(math.exp(sum(scores[:count]))), name)


def test_two_tabs_write_at_once_what_each_would_alone(shelf: Shelf) -> None:
    alone = [done(shelf, question(text))["baseline"]["text"] for text in (PROMPT, "The mill")]
    both = [answers(question(text), shelf.ask(["baseline"]), shelf.lock, MARKER) for text in (PROMPT, "The mill")]
    found: list[str] = ["", ""]
    left = {0, 1}
    while left:
        for number in list(left):
            row = next(both[number], None)
            if row is None:
                left.discard(number)
            elif row.get("done"):
                found[number] = row["text"]
    assert found == alone


def test_numbers_that_are_none_stop_a_model_with_one_line(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    broken = shelf.ready["baseline"].model
    weight = next(broken.parameters())
    kept = weight.detach().clone()
    try:
        with torch.no_grad():
            weight.fill_(float("nan"))
        with pytest.raises(StageError, match="expected finite logits, got NaN"):
            next_words(shelf.ready["baseline"], asking.Asked([1, 2], "", ""), shelf.lock, MARKER)
        found = [row for row in answers(question(), shelf.ask(["baseline"]), shelf.lock, MARKER) if "error" in row]
        assert "expected finite logits" in found[0]["error"]
    finally:
        with torch.no_grad():
            weight.copy_(kept)
