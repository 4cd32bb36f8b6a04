"""Views of data/corpus.parquet and data/blocks.parquet that several stages need."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lethe.core.hashing import check_tokenizer
from lethe.core.tables import CORPUS, read_parquet

if TYPE_CHECKING:
    import numpy as np


class Document(NamedTuple):
    """A row of data/corpus.parquet: a run of one file's text that belongs to one part."""

    document: int
    side: str  # forget | retain
    part: str  # train | held_out
    file: str
    start: int  # character span in the file's text
    end: int
    text: str


class Blocks(NamedTuple):
    """data/blocks.parquet as arrays."""

    block: np.ndarray  # int32 [N]
    document: np.ndarray  # int32 [N]
    tokens: np.ndarray  # int32 [N, T], padded on the right
    length: np.ndarray  # int32 [N], real tokens


def read_documents(corpus: Path) -> list[Document]:
    """The whole corpus, in its order; `lethe.text.streaming` reads one that need not fit into memory.

    Raises StageError if a column is missing.
    """
    table, _ = read_parquet(corpus, CORPUS.names)
    return [Document(**row) for row in table.select(CORPUS.names).to_pylist()]


def training_documents(corpus: Path, sides: Sequence[str]) -> list[tuple[str, bool]]:
    """(text, forget) of every training document of these sides, in the corpus's order."""
    documents = read_documents(corpus)
    return [(one.text, one.side == "forget") for one in documents if one.side in sides and one.part == "train"]


def held_out_texts(corpus: Path, side: str) -> list[str]:
    """The held-out documents of one side, in the corpus's order."""
    return [one.text for one in read_documents(corpus) if (one.side, one.part) == (side, "held_out")]


def read_blocks(path: Path, model: Path) -> Blocks:
    """The blocks as arrays. Raises StageError if they were cut with another tokenizer than the model's."""
    table, facts = read_parquet(path, ("block", "document", "tokens", "length"))
    check_tokenizer(facts["tokenizer"], model, path)
    tokens = fixed_width(table, "tokens")
    return Blocks(table["block"].to_numpy(), table["document"].to_numpy(), tokens, table["length"].to_numpy())


def fixed_width(table: object, column: str) -> np.ndarray:
    """A fixed-size list column as an int32 array [N, T]."""
    flat = table[column].combine_chunks()  # type: ignore[index]
    return flat.flatten().to_numpy(zero_copy_only=False).reshape(len(flat), -1).copy()


def real_tokens(blocks: Blocks) -> Iterator[list[int]]:
    """The token ids of each block without its padding."""
    return (tokens[:length].tolist() for tokens, length in zip(blocks.tokens, blocks.length, strict=True))
