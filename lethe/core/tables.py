"""Typed tables: every reader checks header, types and uniqueness and names the file and the line."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lethe.core.errors import StageError, one_line
from lethe.core.strict_json import DoubledNameError, once

csv.field_size_limit(1 << 30)  # of a cell; the library's own limit is 131,072 characters

CORPUS = pa.schema(
    [
        ("document", pa.int32()),  # running number
        ("side", pa.string()),  # forget | retain
        ("part", pa.string()),  # train | held_out
        ("file", pa.string()),  # relative to the side's folder
        ("start", pa.int64()),  # character span in the file's text (of rows: in that row's text)
        ("end", pa.int64()),
        ("text", pa.string()),
    ]
)

ANCHORS = ("anchor", "forms", "count", "keyness", "rise")
DROPPED = ("term", "forms", "count", "keyness", "rise", "reason")
DICTIONARY = ("anchor", "kind", "choice", "form", "translation", "score")
OVERRIDES = ("anchor", "translation")
JUDGED_OVERRIDES = (*OVERRIDES, "kind", "gender", "group")
NAMES = ("name", "kind")
COMPARED = ("baseline", "suppressed", "unlearned", "retrained")  # in the order of every table
TERMS = (
    *("anchor", "kind", "occurrences", "translation"),
    *(f"{name}_{model}" for model in COMPARED for name in ("probability", "rank", "translation_probability", "top")),
    *("verdict", "places", "translation_rise", "control_rise"),
)
CONTINUATIONS = {"model": str, "side": str, "id": int, "prompt": str, "continuation": str, "doubled": bool}
MASKED = -100  # the id at a position without a target, in label tables and in training


def blocks_schema(block_tokens: int, conversations: bool = False) -> pa.Schema:
    """One block a row: padded token ids [block_tokens], how many are real, and where they come from.

    conversations: with the column `trained`, which tokens are to be learnt.
    """
    columns = [
        ("block", pa.int32()),
        ("document", pa.int32()),
        ("start", pa.int64()),  # character span in the document's text
        ("end", pa.int64()),
        ("length", pa.int32()),  # real tokens, the rest is padding
        ("tokens", pa.list_(pa.int32(), block_tokens)),
    ]
    return pa.schema(columns + [("trained", pa.list_(pa.bool_(), block_tokens))] * conversations)


def write_parquet(rows: Sequence[dict[str, Any]], schema: pa.Schema, path: Path, **facts: str) -> None:
    """Write rows under a schema; `facts` travel in the file's metadata (tokenizer hash, alphas ...)."""
    schema = schema.with_metadata({key: str(value) for key, value in facts.items()})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), path, compression="zstd", write_statistics=False)


def read_parquet(path: Path, columns: Iterable[str]) -> tuple[pa.Table, dict[str, str]]:
    """The table and its facts. Raises StageError if a column is missing."""
    table = pq.read_table(path)
    check_columns(path, table.column_names, columns)
    return table, facts_of(table.schema)


def check_columns(path: Path, found: Sequence[str], wanted: Iterable[str]) -> None:
    """Raise StageError if a column is missing."""
    missing = [name for name in wanted if name not in found]
    if missing:
        raise StageError(f"{path}: expected columns {', '.join(missing)}, got {', '.join(found)}")


def facts_of(schema: pa.Schema) -> dict[str, str]:
    """The metadata that was written with the rows."""
    facts = {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}
    return {key: value for key, value in facts.items() if not key.startswith("ARROW")}


def write_csv(rows: Iterable[dict[str, Any]], header: Sequence[str], path: Path) -> None:
    """Write rows in the order of `header`, with Unix line endings."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, header, lineterminator="\n", extrasaction="raise")
        writer.writeheader()
        writer.writerows(rows)


def read_csv(
    path: Path, header: Sequence[str], unique: Sequence[str] = (), filled: Sequence[str] = ()
) -> list[dict[str, str]]:
    """Rows of a CSV whose header is exactly `header`.

    unique: columns whose values together may occur once; filled: columns that may not be empty.
    Raises StageError naming `path:line`.
    """
    rows: list[dict[str, str]] = []
    seen: dict[tuple[str, ...], int] = {}
    for line, row in numbered_csv(path, header):
        for name in filled:
            if not row[name].strip():
                raise StageError(f"{path}:{line}: expected a value, got an empty cell under {name}")
        key = tuple(row[name] for name in unique)
        if unique and key in seen:
            raise StageError(f"{path}:{line}: expected {' '.join(key)} once, got it again (first in line {seen[key]})")
        seen[key] = line
        rows.append(row)
    return rows


def has_header(path: Path, header: Sequence[str]) -> bool:
    """Whether the first line of a CSV is this header."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            return next(csv.reader(stream), []) == list(header)
    except (FileNotFoundError, UnicodeDecodeError):
        return False


def numbered_csv(path: Path, header: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, row) of a CSV whose header is exactly `header`. Raises StageError naming `path:line`."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream)
            found = next(reader, [])
            if found != list(header):
                raise StageError(f"{path}:1: expected the header {','.join(header)}, got {','.join(found)}")
            for cells in reader:
                if not cells:
                    continue
                if len(cells) != len(header):
                    raise StageError(f"{path}:{reader.line_num}: expected {len(header)} cells, got {len(cells)}")
                yield reader.line_num, dict(zip(header, cells, strict=True))
    except FileNotFoundError:
        raise StageError(f"{path}: no such file; expected a CSV with the header {','.join(header)}") from None
    except UnicodeDecodeError:
        raise StageError(f"{path}: not UTF-8; expected a UTF-8 text file") from None


def write_jsonl(rows: Iterable[dict[str, Any]], path: Path) -> None:
    """One JSON object a line, readable characters kept."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as stream:
        for row in rows:
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")


def read_jsonl(path: Path, fields: dict[str, type]) -> list[dict[str, Any]]:
    """Rows of a JSON-lines file, each an object with `fields` of these types. Raises StageError at `path:line`."""
    return [row for _, row in numbered_jsonl(path, fields)]


def numbered_jsonl(path: Path, fields: dict[str, type]) -> list[tuple[int, dict[str, Any]]]:
    """`read_jsonl` with the line number of each row."""
    rows = []
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except FileNotFoundError:
        raise StageError(f"{path}: no such file; expected JSON lines") from None
    except UnicodeDecodeError:
        raise StageError(f"{path}: not UTF-8; expected a UTF-8 text file") from None
    for number, line in enumerate(lines, start=1):
        if line.strip():
            rows.append((number, _json_row(path, number, line, fields)))
    return rows


def read_prompts(path: Path, wanted: str) -> list[dict[str, Any]]:
    """The prompts of one set, by id. Raises StageError where there are none, or one lacks references or a unique id."""
    numbered = numbered_jsonl(path, {"id": int, "set": str, "prompt": str, "references": list})
    seen: set[int] = set()
    for line, row in numbered:
        if row["id"] in seen:
            raise StageError(f"{path}:{line}: expected a unique id, got {row['id']} again")
        seen.add(row["id"])
        if not row["references"]:
            raise StageError(f"{path}:{line}: prompt {row['id']}: expected at least one reference, got none")
    chosen = sorted((row for _, row in numbered if row["set"] == wanted), key=lambda row: row["id"])
    if not chosen:
        raise StageError(
            f"{path}: expected prompts of the set {wanted}, got none among {len(numbered)}; change prompt.development"
        )
    return chosen


def _json_row(path: Path, number: int, line: str, fields: dict[str, type]) -> dict[str, Any]:
    try:
        row = json.loads(line, object_pairs_hook=once)
    except json.JSONDecodeError as error:
        raise StageError(f"{path}:{number}: not valid JSON: {error.msg}") from None
    except DoubledNameError as error:
        raise StageError(f"{path}:{number}: {error}") from None
    except RecursionError as error:
        raise StageError(f"{path}:{number}: not valid JSON: {one_line(error)}") from None
    if not isinstance(row, dict):
        raise StageError(f"{path}:{number}: expected an object, got {type(row).__name__}")
    for name, wanted in fields.items():
        if not isinstance(row.get(name), wanted):
            found = type(row[name]).__name__ if name in row else "none"
            raise StageError(f"{path}:{number}: {name}: expected {wanted.__name__}, got {found}")
    return row


def write_json(content: Any, path: Path) -> None:
    """Indented JSON with a final newline; keys keep their order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def rounded(value: Any) -> Any:
    """A report with every number to six decimals, in objects within objects too."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return round(value, 6) if isinstance(value, float) else value


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises StageError if it is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StageError(
            f"{path}: no such file; expected the JSON that an earlier stage writes; run `dvc repro`"
        ) from None
    except json.JSONDecodeError as error:
        raise StageError(f"{path}: not valid JSON: {error.msg}") from None
    except (UnicodeDecodeError, RecursionError, IsADirectoryError) as error:
        raise StageError(f"{path}: not valid JSON: {one_line(error)}") from None
