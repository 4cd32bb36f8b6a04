"""Conversations in a model's own chat template, with the place in the conversation of every character it writes."""

from __future__ import annotations

import json
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lethe.core.conversation import Conversation
from lethe.core.errors import StageError, one_line
from lethe.core.tables import read_json

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

MARK = "\ue0f0"  # stands for a message's words while the template's own are found; of the private use area
# For templates that write the date: a run tomorrow must read the same tokens.
DATE = {"%d": "26", "%m": "07", "%b": "Jul", "%B": "July", "%y": "24", "%Y": "2024", "%A": "Friday", "%a": "Fri"}
TODAY = (
    "{%- macro strftime_now(format) -%}{{- format"
    + "".join(f" | replace('{code}', '{said}')" for code, said in DATE.items())
    + " -}}{%- endmacro -%}"
)


class Rendered(NamedTuple):
    """A conversation as a model reads it."""

    text: str
    ends: array[int]  # per character of it: the place in the conversation's text up to which it has been written
    trained: bytearray | None  # per character: 1 if it is to be learnt; None: all of them


def template_text(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[dict[str, str]], answering: bool = False
) -> str:
    """The messages as the chat template writes them. answering: with the beginning of the assistant's next message.

    Raises StageError if the tokenizer has no template or the template refuses the messages.
    """
    if tokenizer.chat_template is None:
        raise StageError(
            f"{tokenizer.name_or_path}: expected a tokenizer with a chat template for conversations, got none; put "
            "chat_template.jinja into the model's folder, or give plain text"
        )
    try:
        template = tokenizer.get_chat_template()
        fixed = TODAY + template if "strftime_now" in template else template
        found: Any = tokenizer.apply_chat_template(
            list(messages), chat_template=fixed, tokenize=False, add_generation_prompt=answering
        )
    except Exception as error:  # the template's own refusal, or one that its code stumbles over
        roles = ", ".join(message["role"] for message in messages)
        raise StageError(
            f"{tokenizer.name_or_path}: expected messages that its chat template takes, got the roles {roles}: "
            f"{one_line(error)}"
        ) from None
    return str(found)


def rendered(tokenizer: PreTrainedTokenizerBase, said: Conversation) -> Rendered:
    """The conversation in the tokenizer's chat template.

    Where every message is to be learnt, so is what the template writes. Else, of the template's own text, only the
    special token right after an answer, by which a model ends its turn. Raises StageError if the template has no place
    for a message, or writes them changed or in another order.
    """
    messages = said.messages()
    whole = template_text(tokenizer, messages)
    own = template_parts(tokenizer, messages)
    words = written_words(whole, own, [message["content"] for message in messages])
    if words is None:
        raise StageError(
            f"{tokenizer.name_or_path}: expected a chat template that writes the messages as they are and in their "
            f"order, got another text for the conversation that begins {said[:40]!r}"
        )
    partly, specials = not all(turn.trained for turn in said.turns), special_tokens(tokenizer)
    ends, trained = array("q"), bytearray()
    for turn, before, spoken, after in zip(said.turns, own, words, own[1:], strict=False):
        if not ends:
            ends.extend([0] * len(before))
            trained.extend(bytes(len(before)))
        lead = said[turn.start : turn.end].find(spoken) + turn.start
        ends.extend(range(lead + 1, lead + len(spoken) + 1))
        trained.extend([turn.trained] * len(spoken))
        following = next((other.start for other in said.turns if other.start >= turn.end), len(said))
        ends.extend([following] * len(after))
        closing = closing_characters(after, specials) if turn.trained else 0
        trained.extend([1] * closing + [0] * (len(after) - closing))
    return Rendered(whole, ends, trained if partly else None)


def template_parts(tokenizer: PreTrainedTokenizerBase, messages: Sequence[dict[str, str]]) -> list[str]:
    """What the template writes before, between and after the messages' words: one part more than there are messages."""
    marked = [message | {"content": f"{MARK}{number}{MARK}"} for number, message in enumerate(messages)]
    rest, parts = template_text(tokenizer, marked), []
    for message in marked:
        part, _, rest = rest.partition(message["content"])
        parts.append(part)
    return [*parts, rest]


def written_words(whole: str, own: Sequence[str], contents: Sequence[str]) -> list[str] | None:
    """Each message's words as they stand between the template's parts: as they are, or without white space around them.

    None if they do not.
    """
    place, found = len(own[0]), []
    if not whole.startswith(own[0]):
        return None
    for number, content in enumerate(contents):
        after = own[number + 1]
        last = number + 1 == len(contents)
        for words in dict.fromkeys((content, content.strip(), content.rstrip(), content.lstrip())):
            end = place + len(words) + len(after)
            if whole.startswith(words + after, place) and (not last or end == len(whole)):
                found.append(words)
                place = end
                break
        else:
            return None
    return found


def closing_characters(after: str, specials: Sequence[str]) -> int:
    """How far the special token reaches that ends a turn, in what the template writes after it; 0 if none does."""
    spoken = after.lstrip()
    ending = next((token for token in specials if spoken.startswith(token)), "")
    return len(after) - len(spoken) + len(ending) if ending else 0


def closing_token(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """The special token by which the chat template ends an answer; None if it writes none."""
    exchange = [{"role": "user", "content": ""}, {"role": "assistant", "content": ""}]
    after = template_parts(tokenizer, exchange)[-1]
    return after[: closing_characters(after, special_tokens(tokenizer))].strip() or None


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """The texts of all special and added tokens that are more than white space, the longest first."""
    named = map(str, (*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()))
    return sorted({token for token in named if token.strip()}, key=lambda token: (-len(token), token))


def text_tokenizer(folder: Path, conversations: bool) -> Tokenizer | PreTrainedTokenizerFast:
    """What cuts a corpus into blocks: the folder's bare tokenizer, for conversations the one with a template."""
    from lethe.models.checkpoints import load_tokenizer
    from lethe.models.tokenization import backend_tokenizer

    return load_tokenizer(folder) if conversations else backend_tokenizer(folder)


def has_template(folder: Path) -> bool:
    """Whether a model folder has a chat template, in a file of its own or in tokenizer_config.json."""
    return bool(template_source(folder))


def template_source(folder: Path) -> str:
    """A folder's chat template as its file has it, of several all of them; "" where there is none."""
    files = (folder / f"chat_template.{kind}" for kind in ("jinja", "json"))
    found = "".join(own_text(path) for path in files if path.exists())
    stated = tokenizer_settings(folder).get("chat_template")
    return found or (stated if isinstance(stated, str) else json.dumps(stated, ensure_ascii=False) if stated else "")


def own_text(path: Path) -> str:
    """The text of a file of a model. Raises StageError if it is not UTF-8 or cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StageError(f"{path}: expected text in UTF-8, got a file that is none: {one_line(error)}") from None


def tokenizer_settings(folder: Path) -> dict[str, Any]:
    """The values of a folder's tokenizer_config.json, none where it has no such file."""
    path = folder / "tokenizer_config.json"
    found = read_json(path) if path.exists() else {}
    if not isinstance(found, dict):
        raise StageError(f"{path}: expected a JSON object, got {type(found).__name__}")
    return found
