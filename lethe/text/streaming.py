"""Parquet read and written in batches, for text that need not fit into memory.

Row groups of about GROUP_BYTES are written; a table smaller than that gives the same file as `tables.write_parquet`.
Batches of about BATCH_BYTES are read, whatever the size of the row groups. So a stage that reads the corpus holds a
row group or a document at a time, and its counts.

Separate from tables.py because a change here need not rerun trainings, which hold all their blocks anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lethe.core.conversation import TURNS, has_conversations, stored
from lethe.core.tables import check_columns, facts_of

GROUP_BYTES = 16 << 20  # of a row group in memory, about three million tokens of blocks
BATCH_BYTES = 2 << 20
BUFFER_BYTES = 1 << 20  # of a column's compressed bytes read at a time


@contextmanager
def parquet_stream(
    schema: pa.Schema, path: Path, group_bytes: int | None = None, /, **facts: str
) -> Iterator[Callable[[pa.Table], None]]:
    """A function that appends tables of this schema to the file; `facts` are stored in its metadata.

    Below `group_bytes`, GROUP_BYTES by default, the file does not depend on how the rows are split into tables.
    """
    schema = schema.with_metadata({key: str(value) for key, value in facts.items()})
    path.parent.mkdir(parents=True, exist_ok=True)
    waiting: list[pa.Table] = []
    most = group_bytes or GROUP_BYTES
    with pq.ParquetWriter(path, schema, compression="zstd", write_statistics=False) as writer:

        def flush() -> None:
            writer.write_table(pa.concat_tables(waiting).combine_chunks())  # a page ends where a chunk does
            waiting.clear()

        def append(table: pa.Table) -> None:
            waiting.append(table.cast(schema))
            if sum(part.nbytes for part in waiting) >= most:
                flush()

        append(schema.empty_table())  # a file without rows still has the schema
        yield append
        if waiting:
            flush()


def read_batches(path: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """The rows of these columns, in batches of about BATCH_BYTES. Raises StageError if a column is missing."""
    with pq.ParquetFile(path, buffer_size=BUFFER_BYTES) as file:
        check_columns(path, file.schema_arrow.names, columns)
        for group in range(file.num_row_groups):
            rows = rows_at_once(file.metadata.row_group(group), columns)
            yield from file.iter_batches(rows, [group], list(columns), use_threads=False)


def rows_at_once(group: pq.RowGroupMetaData, columns: Sequence[str]) -> int:
    """How many of a row group's rows make up BATCH_BYTES, by their mean."""
    found = (group.column(number) for number in range(group.num_columns))
    size = sum(column.total_uncompressed_size for column in found if column.path_in_schema.split(".")[0] in columns)
    return max(1, BATCH_BYTES * group.num_rows // max(1, size))


def read_facts(path: Path) -> dict[str, str]:
    """The facts that `write_parquet` and `parquet_stream` stored in the file's metadata."""
    return facts_of(pq.read_schema(path))


def training_texts(corpus: Path, side: str) -> Iterator[tuple[int, str]]:
    """(document, text) of every training document of one side, in the corpus's order; one text is held at a time."""
    turns = [TURNS.name] if has_conversations(corpus) else []
    for batch in read_batches(corpus, ("document", "side", "part", "text", *turns)):
        documents, sides, parts, texts = (batch.column(name) for name in ("document", "side", "part", "text"))
        for row in range(len(batch)):
            if (sides[row].as_py(), parts[row].as_py()) == (side, "train"):
                said = batch.column(TURNS.name)[row].as_py() if turns else None
                yield documents[row].as_py(), stored(texts[row].as_py(), said)


@dataclass(frozen=True)
class Texts:
    """The training texts of one side, read from the corpus again on every iteration."""

    corpus: Path
    side: str

    def __iter__(self) -> Iterator[str]:
        return (text for _, text in training_texts(self.corpus, self.side))
