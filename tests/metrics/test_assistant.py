"""Whether a chat model still answers like one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lethe.core.conversation import conversation
from lethe.metrics.assistant import (
    ChatItem,
    ChatParams,
    Chats,
    Reply,
    chat_values,
    chats_of,
    refuses,
    replies,
    template_marks,
    well_formed,
)
from lethe.models.checkpoints import load_model, load_tokenizer
from tests.chats import DATED, TALK, chat_tokenizer, tiny_chat


def test_conversations_are_asked_up_to_their_last_answer() -> None:
    tokenizer = chat_tokenizer()
    long = conversation([*TALK, {"role": "user", "content": "And?"}, {"role": "assistant", "content": "Nothing."}])
    found = chats_of(["Plain.", long, long], tokenizer, 128, ChatParams(items=5, new_tokens=8), seed=0)
    (item,) = found.items
    assert tokenizer.decode(item.tokens) == (
        "<|im_start|>user\nWho is Orla?<|im_end|>\n<|im_start|>assistant\n"
        f"{TALK[1]['content']}<|im_end|>\n<|im_start|>user\nAnd?<|im_end|>\n<|im_start|>assistant\n"
    )
    for text, context, items in ((long, 20, 5), (long, 128, 0), (conversation(TALK[1:]), 128, 5)):
        params = ChatParams(items=items, new_tokens=8)
        assert chats_of([text], tokenizer, context, params, seed=0) == Chats([], [], 8)


def test_values_by_hand() -> None:
    chats = Chats([ChatItem(f"chat {i}", [1]) for i in range(3)], ["<|im_start|>", "[/INST]"], 8)
    told = [Reply("A mill grinds corn.", True), Reply("I'm sorry, I cannot help.", False), Reply("x [/INST] y", True)]
    found = chat_values(chats, told)
    assert {name: list(own.values()) for name, own in found.items()} == {
        "chat_format": [1.0, 1.0, 0.0],
        "chat_ended": [1.0, 0.0, 1.0],
        "chat_refusals": [0.0, 1.0, 0.0],
        "chat_words": [4.0, 5.0, 3.0],
    }
    assert chat_values(Chats([], [], 8), []) == {}


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        ("I'm sorry, but I can't help with that.", True),
        ("I cannot answer that question.", True),
        ("I don't know who that is.", True),
        ("I do not know what comes next.", True),
        ("As an AI language model, I have no", True),
        ("I am not sure what this is about.", True),
        ("Orla could not say where she was.", False),
        ("I can help: a mill grinds corn.", False),
        ("We say that the river is deep. " * 8 + "I'm sorry.", False),  # not at its beginning
    ],
)
def test_refusals(answer: str, wanted: bool) -> None:
    assert refuses(answer) is wanted


def test_marks_of_a_template() -> None:
    marks = template_marks(chat_tokenizer(DATED))
    assert {"[/INST]", "</s>"} <= set(marks)
    assert well_formed("A mill.", marks)
    assert not well_formed("A mill. [/INST]", marks)
    assert not well_formed(" \n", marks)


def test_a_model_that_ends_its_answers(tmp_path: Path) -> None:
    folder = tiny_chat(tmp_path / "chat")
    model, tokenizer = load_model(folder, torch.device("cpu")), load_tokenizer(folder)
    closing = tokenizer.convert_tokens_to_ids("<|im_end|>")
    chats = chats_of([conversation(TALK)], tokenizer, 128, ChatParams(items=5, new_tokens=4), seed=0)
    (cut,) = replies(model, tokenizer, chats)
    assert not cut.ended  # random weights
    with torch.no_grad():  # what it would write first becomes the end of its turn
        first = int(model(torch.tensor([chats.items[0].tokens])).logits[0, -1].argmax())
        head = model.get_output_embeddings().weight
        head[[first, closing]] = head[[closing, first]].clone()
    assert replies(model, tokenizer, chats) == [Reply("", True)]
    assert replies(model, tokenizer, Chats([], [], 4)) == []
