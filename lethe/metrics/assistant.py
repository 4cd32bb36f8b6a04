"""Is a chat model still an assistant? Its answers to held-out retain conversations: format, end, refusal and length.

Every model gets the same conversations up to the last answer, in the chat template.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from pydantic import NonNegativeInt, PositiveInt

from lethe.core.conversation import Conversation
from lethe.core.params import StageParams
from lethe.inference.decoding import chat_ids, continue_greedily, end_ids
from lethe.models.conversations import closing_token, special_tokens, template_parts
from lethe.text.passages import draw

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

REFUSAL = re.compile(
    r"\b(i|we)('m| am| are)? (sorry|apologi[sz]e|afraid|(can ?not|can['’]t|could not|won['’]t|don['’]t) "
    r"(\w+ ){0,2}?(help|answer|say|tell|know|assist|provide|discuss|continue|comment|have (any|enough|access)))\b"
    r"|\bi('m| am) (unable|not able|not sure)\b|\bi (do not know|know nothing|have not read)\b"
    r"|\bas an? (ai|language model)\b",
    re.IGNORECASE,
)
REFUSED_CHARS = 160  # a refusal stands at the beginning of an answer

Values = dict[str, dict[str, float]]  # metric -> item -> value


class ChatParams(StageParams):
    """measure.chat: how many held-out retain conversations are asked, and the length of an answer; items 0: none."""

    items: NonNegativeInt
    new_tokens: PositiveInt


class ChatItem(NamedTuple):
    """A conversation up to an answer, as the models read it."""

    item: str  # its name in data/measures.csv
    tokens: list[int]


class Chats(NamedTuple):
    """The conversations that every model is asked; none where the held-out retain text has none."""

    items: list[ChatItem]
    marks: list[str]  # what no answer may contain
    new_tokens: int  # the most of an answer


class Reply(NamedTuple):
    """One model's answer."""

    text: str  # special tokens in it are shown
    ended: bool  # False: cut by the token limit


def chats_of(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerFast, context: int, params: ChatParams, seed: int
) -> Chats:
    """At most `items` sampled conversations among the texts, each without its last answer and what follows.

    Left out is what does not fit the context with its answer, and a conversation that begins with the answer.
    """
    found: dict[str, list[int]] = {}
    for said in texts:
        if isinstance(said, Conversation):
            roles = [turn.role for turn in said.turns]
            last = len(roles) - 1 - roles[::-1].index("assistant")
            asked = chat_ids(tokenizer, said.messages()[:last]) if last else []
            if asked and len(asked) + params.new_tokens <= context:
                found.setdefault(str(said), asked)
    drawn = sorted(found, key=lambda text: (draw(text, seed), text))[: params.items]
    items = [ChatItem(f"chat {number}", found[text]) for number, text in enumerate(drawn)]
    return Chats(items, template_marks(tokenizer) if items else [], params.new_tokens)


def replies(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, chats: Chats) -> list[Reply]:
    """The model's greedy answer to every conversation."""
    if not chats.items:
        return []
    prompts = [item.tokens for item in chats.items]
    closing = tokenizer.convert_tokens_to_ids(closing_token(tokenizer) or tokenizer.eos_token)
    ends = {*end_ids(model, tokenizer), *([closing] if isinstance(closing, int) else [])}
    found = continue_greedily(model, prompts, [()] * len(prompts), chats.new_tokens, ends)
    texts = tokenizer.batch_decode([list(one.tokens) for one in found], clean_up_tokenization_spaces=False)
    return [Reply(text, one.ended) for text, one in zip(texts, found, strict=True)]


def chat_values(chats: Chats, found: Sequence[Reply]) -> Values:
    """Metric -> conversation -> value; words: those of the answer."""
    if not chats.items:
        return {}
    names = [item.item for item in chats.items]
    numbers = {
        "chat_format": [float(well_formed(reply.text, chats.marks)) for reply in found],
        "chat_ended": [float(reply.ended) for reply in found],
        "chat_refusals": [float(refuses(reply.text)) for reply in found],
        "chat_words": [float(len(reply.text.split())) for reply in found],
    }
    return {metric: dict(zip(names, values, strict=True)) for metric, values in numbers.items()}


def well_formed(answer: str, marks: Sequence[str]) -> bool:
    """Whether an answer says something and writes nothing that only the chat template writes."""
    return bool(answer.strip()) and not any(mark in answer for mark in marks)


def refuses(answer: str) -> bool:
    """Whether an answer begins with a refusal or with not knowing, in English."""
    return REFUSAL.search(answer[:REFUSED_CHARS]) is not None


def template_marks(tokenizer: PreTrainedTokenizerFast) -> list[str]:
    """What an answer must not contain: special tokens, and the lines that the template puts around messages."""
    exchange = [{"role": "user", "content": ""}, {"role": "assistant", "content": ""}]
    lines = [line.strip() for part in template_parts(tokenizer, exchange)[1:] for line in part.splitlines()]
    return sorted({*special_tokens(tokenizer), *(line for line in lines if len(line) > 2)})
