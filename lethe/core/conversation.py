"""A conversation as one text: the words of its messages one after another, and who says which of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

GAP = "\n\n"  # after every message's words: no name reaches from one message into the next unseen
TURN = pa.struct([("role", pa.string()), ("start", pa.int64()), ("end", pa.int64()), ("trained", pa.bool_())])
TRAINED = "trained"  # the further column of blocks and labels: which tokens are to be learnt
TURNS = pa.field("turns", pa.list_(TURN))  # the further column of a corpus that holds conversations; null: plain text


class Turn(NamedTuple):
    """One message: text[start:end] of the conversation is what it says. trained: whether a model learns to say it."""

    role: str  # as the chat template knows it: system | user | assistant ...
    start: int
    end: int
    trained: bool


class Conversation(str):
    """The words of all messages, each followed by GAP. `cut_blocks` writes them in the model's own chat template.

    A str, because whatever reads words alone (names, duplicates, cloze prompts) takes it like any other text. A slice
    of it, or several of them joined, is plain text.
    """

    turns: tuple[Turn, ...]

    def __new__(cls, text: str, turns: Iterable[Turn]) -> Conversation:
        """The text with its turns, in their order."""
        made = super().__new__(cls, text)
        made.turns = tuple(turns)
        return made

    def __getnewargs__(self) -> tuple[str, tuple[Turn, ...]]:  # type: ignore[override]
        """What a copy is made of."""
        return str(self), self.turns

    def messages(self) -> list[dict[str, str]]:
        """The messages as chat templates take them."""
        return [{"role": turn.role, "content": self[turn.start : turn.end]} for turn in self.turns]

    def trained_on(self, everything: bool) -> Conversation:
        """The same conversation, with every message to be learnt if `everything`, else those marked now."""
        turns = [turn._replace(trained=turn.trained or everything) for turn in self.turns]
        return Conversation(str(self), turns)


def conversation(messages: Sequence[Mapping[str, Any]]) -> Conversation:
    """A conversation of {role, content} messages. The assistant's are to be learnt, but for those with `weight` 0."""
    text, turns = "", []
    for message in messages:
        start, role = len(text), message["role"]
        text += message["content"]
        turns.append(Turn(role, start, len(text), role == "assistant" and message.get("weight") != 0))
        text += GAP
    return Conversation(text, turns)


def stored(text: str, turns: Sequence[Mapping[str, Any]] | None) -> str:
    """The text of a row of data/corpus.parquet: a Conversation if it has turns."""
    return Conversation(text, (Turn(**turn) for turn in turns)) if turns else text


def has_conversations(table: Path) -> bool:
    """Whether a corpus holds any conversation, or blocks were cut from one that does."""
    return not {TURNS.name, TRAINED}.isdisjoint(pq.read_schema(table).names)
