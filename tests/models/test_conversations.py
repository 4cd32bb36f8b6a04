"""Conversations in three chat templates: the tokens are the template's own, and every token knows its words."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from lethe.core.conversation import Conversation, conversation
from lethe.core.errors import StageError
from lethe.models.conversations import closing_token, has_template, rendered, text_tokenizer
from lethe.models.tokenization import cut_blocks, spelled
from tests.chats import CHATML, DATED, TALK, TRIMS, chat_tokenizer, tiny_chat

MORE = [*TALK, {"role": "user", "content": "  And Tom?\n"}, {"role": "assistant", "content": "Tom sat by the river."}]
TEMPLATES = {"chatml": CHATML, "trims": TRIMS, "dated": DATED}
each_template = pytest.mark.parametrize("kind", TEMPLATES)


@pytest.fixture(scope="module")
def tokenizers() -> dict[str, Any]:
    return {kind: chat_tokenizer(template) for kind, template in TEMPLATES.items()}


def said(messages: list[dict[str, str]] = MORE, everything: bool = False) -> Conversation:
    return conversation(messages).trained_on(everything)


@each_template
def test_the_tokens_are_those_of_the_template(kind: str, tokenizers: dict[str, Any]) -> None:
    tokenizer = tokenizers[kind]
    undated = tokenizer.chat_template.replace("strftime_now('%d %b %Y')", "'26 Jul 2024'")
    wanted = tokenizer.apply_chat_template(MORE, return_dict=True, chat_template=undated)["input_ids"]
    found = spelled(tokenizer, said())
    assert [*found.lead, *found.ids] == wanted
    blocks = cut_blocks(tokenizer, said(), 16)
    assert [i for block in blocks for i in block.tokens[len(found.lead) :]] == list(found.ids)
    assert all(block.tokens[: len(found.lead)] == found.lead for block in blocks)
    assert found.lead == ([] if kind == "chatml" else [tokenizer.bos_token_id])  # which its template does not write
    spans = [(block.start, block.end) for block in blocks]
    assert (spans[0][0], spans[-1][1]) == (0, len(said()))
    assert all(one[1] == other[0] for one, other in pairwise(spans))


@each_template
def test_every_token_knows_where_it_ends_in_the_words(kind: str, tokenizers: dict[str, Any]) -> None:
    tokenizer, text = tokenizers[kind], said()
    found = rendered(tokenizer, text)
    assert sorted(found.ends) == list(found.ends)
    spoken = "".join(
        text[end - 1] for before, end in zip([0, *found.ends], found.ends, strict=False) if end == before + 1
    )
    words = [message["content"].strip() if kind == "trims" else message["content"] for message in MORE]
    assert spoken.startswith(words[0])
    places = [text.index("Orla?"), text.index("Harrow"), text.index("river")]
    for place in places:  # the character of the rendered text that ends there is the same one
        assert found.text[list(found.ends).index(place + 1)] == text[place]


@each_template
def test_answers_are_learnt_and_the_token_that_ends_them(kind: str, tokenizers: dict[str, Any]) -> None:
    tokenizer = tokenizers[kind]
    found = spelled(tokenizer, said())
    assert found.trained is not None
    learnt = [i for i, own in zip(found.ids, found.trained, strict=True) if own]
    ending = "</s>" if kind == "dated" else "<|im_end|>"
    closing = f" {ending}" if kind == "dated" else ending  # its template puts a space before
    assert tokenizer.decode(learnt).replace(" </s>", "</s>").replace(ending, closing).replace("  ", " ") in (
        f"{MORE[1]['content']}{closing}{MORE[3]['content']}{closing}",
        f"{MORE[1]['content']}{closing} {MORE[3]['content']}{closing}",
        f" {MORE[1]['content']}{closing} {MORE[3]['content']}{closing}",
    )
    assert closing_token(tokenizer) == ending


def test_with_all_messages_the_template_is_learnt_too(tokenizers: dict[str, Any]) -> None:
    assert spelled(tokenizers["chatml"], said(everything=True)).trained is None
    assert all(block.trained is None for block in cut_blocks(tokenizers["chatml"], said(everything=True), 16))


def test_words_that_look_like_the_template_are_found_where_they_are(tokenizers: dict[str, Any]) -> None:
    odd = [{"role": "user", "content": "user"}, {"role": "assistant", "content": "assistant\nuser"}]
    text = said(odd)
    found = rendered(tokenizers["chatml"], text)
    assert found.trained is not None
    learnt = "".join(letter for letter, own in zip(found.text, found.trained, strict=True) if own)
    assert learnt == "assistant\nuser<|im_end|>"


@pytest.mark.parametrize(
    ("template", "messages", "message"),
    [
        (None, TALK, "expected a tokenizer with a chat template for conversations, got none"),
        (
            TRIMS,
            [{"role": "system", "content": "x"}, *TALK],
            "expected messages that its chat template takes, got the roles system, user, assistant: "
            "System role not supported",
        ),
        (
            "{{ messages[0]['content'] + 1 }}",  # which jinja2 leaves to Python
            TALK,
            "expected messages that its chat template takes, got the roles user, assistant: can only concatenate str",
        ),
        (CHATML.replace("message['content']", "message['content'] | upper"), TALK, "writes the messages as they are"),
        ("{% for m in messages | reverse %}{{ m['content'] }}{% endfor %}", TALK, "writes the messages as they are"),
        ("{{ messages[0]['content'] }}", TALK, "writes the messages as they are"),
    ],
)
def test_templates_that_do_not_fit(template: str | None, messages: Any, message: str) -> None:
    with pytest.raises(StageError) as error:
        rendered(chat_tokenizer(template), said(messages))
    assert message in str(error.value)


def test_which_folder_has_a_template(tmp_path: Path) -> None:
    tiny_chat(tmp_path / "chat")
    tiny_chat(tmp_path / "plain", None)
    assert has_template(tmp_path / "chat")
    assert not has_template(tmp_path / "plain")
    (tmp_path / "plain/tokenizer_config.json").write_text('{"chat_template": "x"}')
    assert has_template(tmp_path / "plain")
    assert hasattr(text_tokenizer(tmp_path / "chat", conversations=True), "chat_template")
    assert not hasattr(text_tokenizer(tmp_path / "chat", conversations=False), "chat_template")
