"""Whether the baseline knows the forget set, told before anything is unlearned."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lethe.anchors import prior_knowledge as knowledge
from lethe.anchors.prior_knowledge import Known, prior_knowledge
from lethe.core.conversation import conversation
from lethe.inference.decoding import Continuation
from lethe.models.checkpoints import load_model, load_tokenizer
from tests.chats import tiny_chat
from tests.conftest import tiny_model

FORGET = [
    f"In the cold hall of the house number {n} there sat at evening the old keeper Orla by a lamp." for n in range(20)
]
RETAIN = ["In the warm hall of the house there sat at evening the old keeper Tom by a lamp."] * 3


@pytest.mark.parametrize(("reply", "said"), [(" Orla by", 20), (" Tom by", 0)])
def test_a_name_of_the_forget_set_alone_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reply: str, said: int
) -> None:
    folder = tiny_model(tmp_path / "model", context=96)
    model, tokenizer = load_model(folder, torch.device("cpu")), load_tokenizer(folder)

    def continued(model: object, prompts: list[list[int]], *given: object) -> list[Continuation]:
        assert all(len(prompt) <= 96 - knowledge.NEW_TOKENS for prompt in prompts)
        return [Continuation(tokenizer(reply, add_special_tokens=False).input_ids, False, 0.0)] * len(prompts)

    monkeypatch.setattr(knowledge, "continue_greedily", continued)
    assert prior_knowledge(model, tokenizer, FORGET, RETAIN, 0) == Known(said, 20)


def test_conversations_are_asked_in_the_chat_template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny_chat(tmp_path / "model")
    model, tokenizer = load_model(folder, torch.device("cpu")), load_tokenizer(folder)
    talks = [
        conversation([{"role": "user", "content": f"Who keeps house {n}?"}, {"role": "assistant", "content": text}])
        for n, text in enumerate(FORGET)
    ]
    asked: list[str] = []

    def continued(model: object, prompts: list[list[int]], *given: object) -> list[Continuation]:
        asked.extend(tokenizer.batch_decode(prompts))
        return [Continuation(tokenizer(" Orla by", add_special_tokens=False).input_ids, False, 0.0)] * len(prompts)

    monkeypatch.setattr(knowledge, "continue_greedily", continued)
    assert prior_knowledge(model, tokenizer, talks, RETAIN, 0) == Known(20, 20)
    assert asked[0] == "<|im_start|>user\nWho keeps house 0?<|im_end|>\n<|im_start|>assistant\n"


def test_without_names_nothing_is_said(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model")
    model, tokenizer = load_model(folder, torch.device("cpu")), load_tokenizer(folder)
    found = prior_knowledge(model, tokenizer, ["there is no name in this text at all."], RETAIN, 0)
    assert found == Known(0, 0)
    assert found.sentence() == ""


def test_a_model_that_hardly_knows_the_text_is_told() -> None:
    assert Known(5, 60).sentence().startswith("warning: the baseline says a name of the forget set after 5 of 60 ")
    assert Known(6, 60).sentence() == "the baseline says a name of the forget set after 6 of 60 pieces of its text"
    assert Known(0, 9).sentence() == ""


def test_no_more_is_read_than_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knowledge, "CHARS", 5)
    assert knowledge.first(iter(["abc", "defg", "hij"])) == ["abc", "de"]
