"""Conversations as texts that know who says what."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

from lethe.core.conversation import Conversation, Turn, conversation, has_conversations, stored
from lethe.core.tables import blocks_schema, write_parquet
from tests.chats import TALK

SAID = conversation([{"role": "system", "content": "Be brief."}, *TALK, TALK[0], {**TALK[1], "weight": 0}])


def test_the_turns_are_spans_of_the_text() -> None:
    words = [message["content"] for message in TALK]
    assert "".join(f"{said}\n\n" for said in ["Be brief.", *words, *words]) == SAID
    assert [SAID[turn.start : turn.end] for turn in SAID.turns][1:3] == [message["content"] for message in TALK]
    assert [turn.trained for turn in SAID.turns] == [False, False, True, False, False]  # the last has weight 0
    assert all(turn.trained for turn in SAID.trained_on(everything=True).turns)
    assert SAID.messages()[1:3] == TALK


def test_it_is_a_text_like_any_other() -> None:
    assert type(SAID[2:]) is type(str(SAID)) is type("".join([SAID])) is str
    for other in (copy.deepcopy(SAID), pickle.loads(pickle.dumps(SAID))):
        assert (other, other.turns) == (SAID, SAID.turns)


def test_rows_of_a_corpus() -> None:
    rows = [turn._asdict() for turn in SAID.turns]
    found = stored(str(SAID), rows)
    assert isinstance(found, Conversation)
    assert found.turns == SAID.turns
    assert type(stored("plain", None)) is str
    assert Turn(**rows[0]) == SAID.turns[0]


def test_a_table_says_whether_it_has_any(tmp_path: Path) -> None:
    for chats in (False, True):
        write_parquet([], blocks_schema(4, chats), tmp_path / "blocks.parquet")
        assert has_conversations(tmp_path / "blocks.parquet") is chats
