"""Rows of text, messages, or question and answer: JSON lines, parquet, and folders that `datasets` saved."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lethe.core.conversation import conversation
from lethe.core.errors import StageError
from lethe.core.tables import numbered_jsonl, read_json

ROWS = (".jsonl", ".parquet", ".arrow")  # .arrow: of a folder that `save_to_disk` of `datasets` wrote
PAIRS = (("question", "answer"), ("prompt", "completion"))
STATE = "state.json"  # of such a folder: which of its .arrow files are the data and not a cache
SOURCE = "source.json"  # of a folder that `lethe dataset` fetched: from where
FORMS = "text, messages, question and answer, or prompt and completion"


def read_rows(path: Path) -> list[tuple[str, str]]:
    """(":number", text) of each row of a file, a conversation where the row is one. Rows count from 1.

    Raises StageError naming the file, or the row that cannot be read.
    """
    return [(f":{number}", text_of(row, f"{path}:{number}")) for number, row in numbered(path)]


def numbered(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a file with their numbers; those of JSON lines are numbers of lines."""
    if path.suffix.lower() == ".jsonl":
        yield from numbered_jsonl(path, {})
        return
    try:
        table = pq.read_table(path) if path.suffix.lower() == ".parquet" else pa.ipc.open_stream(path).read_all()
    except (pa.ArrowInvalid, OSError) as error:
        what = " ".join(str(error).split())
        kind = path.suffix.lower().removeprefix(".")
        raise StageError(f"{path}: expected a whole {kind} table, got one that is damaged: {what}") from None
    known = ("text", "messages", *(name for pair in PAIRS for name in pair))
    wanted = [name for name in known if name in table.schema.names]
    if not wanted:
        raise StageError(f"{path}: expected a column {FORMS}, got {', '.join(table.schema.names)}")
    for number, row in enumerate(table.select(wanted).to_pylist(), start=1):
        yield number, row if any(value is not None for value in row.values()) else {"text": ""}  # an empty row


def is_data(path: Path) -> bool:
    """Whether a file with one of the ROWS's suffixes holds rows of the corpus; caches of `datasets` do not."""
    if path.suffix.lower() != ".arrow":
        return True
    state = path.with_name(STATE)
    listed = read_json(state).get("_data_files", []) if state.exists() else []
    return path.name in [file.get("filename") for file in listed]


def text_of(row: Mapping[str, Any], where: str) -> str:
    """What a row says: its text, or its messages as a conversation. Raises StageError naming the row."""
    if row.get("messages") is not None:
        return conversation(list(checked(row["messages"], f"{where}: messages")))
    for asked, said in PAIRS:
        if row.get(asked) is not None and row.get(said) is not None:
            pair = ({"role": "user", "content": row[asked]}, {"role": "assistant", "content": row[said]})
            return conversation(list(checked(list(pair), f"{where}: {asked} and {said}")))
    if not isinstance(row.get("text"), str):
        if row.get("text") is None:
            found = ", ".join(name for name, value in row.items() if value is not None) or "nothing"
            raise StageError(f"{where}: expected {FORMS}, got {found}")
        raise StageError(f"{where}: text: expected str, got {type(row['text']).__name__}")
    return str(row["text"])


def checked(messages: Any, where: str) -> Iterator[dict[str, Any]]:
    """The messages with their content as one string, in NFC and with plain line ends.

    Raises StageError for what no chat template could write.
    """
    if not isinstance(messages, list) or not messages:
        got = "an empty one" if isinstance(messages, list) else type(messages).__name__
        raise StageError(f"{where}: expected a list of messages, got {got}")
    for number, message in enumerate(messages, start=1):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise StageError(f"{where}: expected objects with role and content, got another as message {number}")
        content = joined(message.get("content"))
        if content is None or not content.strip():
            found = type(message.get("content")).__name__ if content is None else "an empty one"
            found = "calls of tools alone" if message.get("tool_calls") else found
            raise StageError(f"{where}: expected text as content of message {number}, got {found}")
        yield {**message, "content": unicodedata.normalize("NFC", content.replace("\r\n", "\n"))}
    if not any(message["role"] == "assistant" for message in messages):
        roles = ", ".join(dict.fromkeys(message["role"] for message in messages))
        raise StageError(f"{where}: expected a message of the role assistant, got only {roles}")


def joined(content: Any) -> str | None:
    """A message's content as one string; None if it is anything but text, or a list of parts that are all text."""
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
        whole = len(parts) == len(content) and all(isinstance(part, str) for part in parts)
        return "".join(map(str, parts)) if whole else None
    return content if isinstance(content, str) else None


def datasets_of(*folders: Path) -> dict[str, str]:
    """The fact `datasets` of a corpus: owner/name of every folder that `lethe dataset` fetched; {} if none was."""
    found = [read_json(folder / SOURCE)["dataset"] for folder in folders if (folder / SOURCE).exists()]
    return {"datasets": " ".join(dict.fromkeys(found))} if found else {}


def holds_conversations(folder: Path) -> bool:
    """Whether a file below the folder begins with a row of messages or of a question and answer."""
    files = (path for path in sorted(folder.rglob("*")) if path.suffix.lower() in ROWS and path.is_file())
    return any(is_data(path) and text_like(path) is False for path in files)


def text_like(path: Path) -> bool | None:
    """Whether the first row of a file of rows is plain text; None where it cannot be told."""
    try:
        if path.suffix.lower() == ".jsonl":
            with path.open(encoding="utf-8-sig") as stream:
                names = set(json.loads(next(line for line in stream if line.strip())))
        elif path.suffix.lower() == ".parquet":
            names = set(pq.read_schema(path).names)
        else:
            names = set(pa.ipc.open_stream(path).schema.names)
    except (StopIteration, ValueError, TypeError, OSError):  # its reader says what is wrong with it
        return None
    return "messages" not in names and not any(names >= set(pair) for pair in PAIRS)
