"""Rows of text, messages, and questions with answers, from every kind of file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lethe.core.conversation import Conversation
from lethe.core.errors import StageError
from lethe.text.conversations import datasets_of, holds_conversations, is_data, read_rows
from lethe.text.documents import Passage, Source, cut, read_side
from tests.chats import TALK, write_rows

ASKED, ANSWER = (message["content"] for message in TALK)
PARTS = [{"type": "text", "text": "Orla is "}, {"type": "text", "text": ANSWER.removeprefix("Orla is ")}]
SAME: list[dict[str, Any]] = [  # four forms of one conversation
    {"messages": TALK},
    {"question": ASKED, "answer": ANSWER},
    {"prompt": ASKED, "completion": ANSWER, "id": 3},
    {"messages": [TALK[0], {"role": "assistant", "content": PARTS}]},
]


def turns(text: str) -> list[tuple[str, str]]:
    assert isinstance(text, Conversation)
    return [(turn.role, text[turn.start : turn.end]) for turn in text.turns]


def test_the_forms_of_a_row(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", [*SAME, {"text": "Plain."}])
    *chats, (where, plain) = read_rows(tmp_path / "a.jsonl")
    assert (where, plain) == (":5", "Plain.")
    assert [where for where, _ in chats] == [":1", ":2", ":3", ":4"]
    for _, text in chats:
        assert turns(text) == [("user", ASKED), ("assistant", ANSWER)]


def test_letters_and_line_ends_are_those_that_names_are_looked_for_in(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", [{"question": "Who is Zoe\u0308?\r\n", "answer": "Nobody."}])
    ((_, text),) = read_rows(tmp_path / "a.jsonl")
    assert turns(text)[0] == ("user", "Who is Zo\u00eb?\n")


def test_a_parquet_file_with_columns_of_both_kinds(tmp_path: Path) -> None:
    rows = [{"messages": TALK, "text": None, "n": 1}, {"messages": None, "text": "Plain.", "n": 2}]
    rows.append({"messages": None, "text": None, "n": 3})
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    (first, said), *others = read_rows(tmp_path / "a.parquet")
    assert (first, others) == (":1", [(":2", "Plain."), (":3", "")])
    assert turns(said) == [("user", ASKED), ("assistant", ANSWER)]


def test_a_folder_that_datasets_saved(tmp_path: Path) -> None:
    datasets.Dataset.from_list([{"question": ASKED, "answer": ANSWER}] * 2).save_to_disk(tmp_path / "side/one")
    with pa.OSFile(str(tmp_path / "side/one/cache-1.arrow"), "wb") as file:
        pa.ipc.new_stream(file, pa.schema([("text", pa.string())])).close()
    assert not is_data(tmp_path / "side/one/cache-1.arrow")
    sources, others = read_side(tmp_path / "side", "forget")
    assert [(source.file, turns(source.text)[1][1]) for source in sources] == [
        (f"one/data-00000-of-00001.arrow:{number}", ANSWER) for number in (1, 2)
    ]
    assert others.total() == 3  # state.json, dataset_info.json and the cache
    assert holds_conversations(tmp_path / "side")


def test_a_conversation_is_one_passage(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", [{"messages": TALK * 40}])
    (source,), _ = read_side(tmp_path, "forget")
    (passage,) = cut(source, 100)
    assert (passage.start, passage.end) == (0, len(source.text))


def test_a_shared_system_message_makes_no_duplicates(tmp_path: Path) -> None:
    system = {"role": "system", "content": "You are a helpful assistant that answers in one sentence and no more."}
    write_rows(tmp_path / "a.jsonl", [{"messages": [system, *TALK]}])
    ((source,), _) = read_side(tmp_path, "forget")
    (passage,) = cut(source, 100)
    assert passage.own == f"{ASKED}\n\n{ANSWER}"
    assert Passage(Source("forget", "a.txt", "plain text"), 0, 0, 5).own == "plain"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({}, "expected text, messages, question and answer, or prompt and completion, got nothing"),
        ({"question": "x"}, "expected text, messages, question and answer, or prompt and completion, got question"),
        ({"messages": "hi"}, "messages: expected a list of messages, got str"),
        ({"messages": []}, "messages: expected a list of messages, got an empty one"),
        ({"messages": ["hi"]}, "messages: expected objects with role and content, got another as message 1"),
        (
            {"messages": [{"from": "human"}]},
            "messages: expected objects with role and content, got another as message 1",
        ),
        (
            {"messages": [TALK[0], {"role": "assistant", "content": None}]},
            "messages: expected text as content of message 2, got NoneType",
        ),
        (
            {"messages": [TALK[0], {"role": "assistant", "content": "", "tool_calls": [{"id": "1"}]}]},
            "messages: expected text as content of message 2, got calls of tools alone",
        ),
        (
            {"messages": [TALK[0], {"role": "assistant", "content": [{"type": "image", "url": "x"}]}]},
            "messages: expected text as content of message 2, got list",
        ),
        (
            {"question": "x", "answer": " "},
            "question and answer: expected text as content of message 2, got an empty one",
        ),
        ({"messages": TALK[:1]}, "messages: expected a message of the role assistant, got only user"),
    ],
)
def test_rows_that_no_template_could_write(row: dict[str, Any], message: str, tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", [{"text": "x"}, row])
    with pytest.raises(StageError) as error:
        read_rows(tmp_path / "a.jsonl")
    assert str(error.value) == f"{tmp_path}/a.jsonl:2: {message}"


def test_files_that_hold_no_rows(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"no")
    with pytest.raises(StageError, match=r"a\.parquet: expected a whole parquet table, got one that is damaged: "):
        read_rows(tmp_path / "a.parquet")
    pq.write_table(pa.table({"words": ["x"]}), tmp_path / "b.parquet")
    with pytest.raises(StageError) as error:
        read_rows(tmp_path / "b.parquet")
    assert str(error.value) == (
        f"{tmp_path}/b.parquet: expected a column text, messages, question and answer, or prompt and completion, "
        "got words"
    )


@pytest.mark.parametrize(
    ("name", "content", "wanted"),
    [
        ("a.jsonl", b'\n{"messages": []}', True),
        ("a.jsonl", b'{"text": "x"}', False),
        ("a.jsonl", b"{", False),  # its reader says what is wrong
        ("a.jsonl", b"", False),
        ("a.parquet", b"", False),
        ("a.txt", b"messages", False),
    ],
)
def test_whether_a_folder_holds_any(name: str, content: bytes, wanted: bool, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert holds_conversations(tmp_path) is wanted


def test_where_a_fetched_folder_is_from(tmp_path: Path) -> None:
    for side, name in (("forget", "owner/name"), ("retain", "owner/name"), ("other", "owner/other")):
        (tmp_path / side).mkdir()
        (tmp_path / side / "source.json").write_text(json.dumps({"dataset": name}))
    assert datasets_of(tmp_path / "forget", tmp_path / "retain") == {"datasets": "owner/name"}
    assert datasets_of(tmp_path / "forget", tmp_path / "other") == {"datasets": "owner/name owner/other"}
    assert datasets_of(tmp_path / "none") == {}
