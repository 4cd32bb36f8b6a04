"""Labelled texts: the user's table, and data/task.parquet, the same rows with side and part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from lethe.core.errors import StageError
from lethe.core.tables import read_parquet

SUFFIXES = (".csv", ".jsonl", ".parquet")
SIDES = ("forget", "retain")
PARTS = ("train", "test")
TASK = pa.schema(
    [
        ("row", pa.int32()),  # its index in the user's table
        ("text", pa.string()),
        ("label", pa.string()),
        ("side", pa.string()),  # forget | retain
        ("part", pa.string()),  # train | test
    ]
)


class Labelled(NamedTuple):
    """One text of the task, as data/task.parquet has it."""

    row: int
    text: str
    label: str
    side: str
    part: str


def read_table(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a table, or of all tables in a folder in order of their names, with these columns as text.

    Raises StageError naming the file, and the line where there are lines, for what cannot be read.
    """
    if not path.exists():
        raise StageError(f"{path}: no such file or folder; expected a table: {', '.join(SUFFIXES)}")
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    tables = [file for file in files if file.suffix in SUFFIXES]
    if not tables:
        raise StageError(f"{path}: expected a table ({', '.join(SUFFIXES)}), got none")
    rows = [row for table in tables for row in read_one(table, columns)]
    if not rows:
        raise StageError(f"{path}: expected at least one row with {' and '.join(columns)}, got none")
    return rows


def read_one(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of one file. Numbers and truth values become text as JSON writes them."""
    readers: dict[str, Callable[[Path], list[tuple[str, dict[str, Any]]]]] = {
        ".csv": csv_rows,
        ".jsonl": jsonl_rows,
        ".parquet": parquet_rows,
    }
    return [{name: cell(row, name, where) for name in columns} for where, row in readers[path.suffix](path)]


def cell(row: dict[str, Any], name: str, where: str) -> str:
    """A filled cell as text. Raises StageError for a missing column or an empty cell."""
    if name not in row:
        raise StageError(f"{where}: expected a column {name}, got {', '.join(row)}")
    found = row[name]
    if found is None or not str(found).strip():
        raise StageError(f"{where}: expected a value, got an empty cell under {name}")
    return str(found).lower() if isinstance(found, bool) else str(found)


def csv_rows(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """(path:line, row) of a CSV with a header."""
    import csv

    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            return [(f"{path}:{reader.line_num}", row) for row in reader]
    except UnicodeDecodeError:
        raise StageError(f"{path}: not UTF-8; expected a UTF-8 text file") from None


def jsonl_rows(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """(path:line, row) of JSON lines."""
    from lethe.core.tables import numbered_jsonl

    return [(f"{path}:{line}", row) for line, row in numbered_jsonl(path, {})]


def parquet_rows(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """(path, row) of a parquet file."""
    table, _ = read_parquet(path, ())
    return [(str(path), row) for row in table.to_pylist()]


def task_rows(
    labels: Sequence[str], texts: Sequence[str], forget: Sequence[bool], test: set[int]
) -> list[dict[str, Any]]:
    """Rows of data/task.parquet, in the table's order."""
    return [
        {"row": index, "text": text, "label": label} | {"side": SIDES[not forget[index]], "part": PARTS[index in test]}
        for index, (text, label) in enumerate(zip(texts, labels, strict=True))
    ]


def check_classes(rows: Sequence[dict[str, Any]]) -> None:
    """Raise StageError if a set has no row in a split, or a split of the retain set lacks a label of the table.

    The forget set need not have every label, but its training and test splits must have the same labels.
    """
    labels = {(side, part): {row["label"] for row in rows if (row["side"], row["part"]) == (side, part)}
              for side in SIDES for part in PARTS}  # fmt: skip
    everything = set.union(*labels.values())
    for side in SIDES:
        wanted = everything if side == "retain" else labels["forget", "train"] | labels["forget", "test"]
        for part in PARTS:
            missing = sorted(wanted - labels[side, part])
            if missing or not labels[side, part]:
                found = f"no row labelled {', '.join(missing)}" if missing else "no row"
                raise StageError(
                    f"data/task.parquet: expected every label in every split, got {found} in {side} {part}; change "
                    "split.test or split.seed"
                )


def read_task(path: Path) -> list[Labelled]:
    """The rows of data/task.parquet, in its order."""
    table, _ = read_parquet(path, TASK.names)
    return [Labelled(**row) for row in table.select(TASK.names).to_pylist()]


def task_rules(path: Path) -> list[str]:
    """The patterns of the entity list that selected the forget set; empty if another rule did."""
    import json

    _, facts = read_parquet(path, ())
    return json.loads(facts["patterns"])
