"""Views of data/corpus.parquet and data/blocks.parquet that several stages need."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lethe.core.hashing import check_tokenizer
from lethe.core.tables import CORPUS, read_parquet

if TYPE_CHECKING:
    import numpy as np


class Blocks(NamedTuple):
    """data/blocks.parquet as arrays."""

    block: np.ndarray  # int32 [N]
    document: np.ndarray  # int32 [N]
    tokens: np.ndarray  # int32 [N, T], padded on the right
    length: np.ndarray  # int32 [N], real tokens


def training_documents(corpus: Path, sides: Sequence[str]) -> list[tuple[str, bool]]:
    """(text, forget) of every training document of these sides, in the corpus's order."""
    return [(text, side == "forget") for side, text in _texts(corpus, sides, "train")]


def held_out_texts(corpus: Path, side: str) -> list[str]:
    """The held-out documents of one side, in the corpus's order."""
    return [text for _, text in _texts(corpus, (side,), "held_out")]


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


def _texts(corpus: Path, sides: Sequence[str], part: str) -> list[tuple[str, str]]:
    table, _ = read_parquet(corpus, CORPUS.names)
    rows = zip(*(table[name].to_pylist() for name in ("side", "part", "text")), strict=True)
    return [(side, text) for side, found, text in rows if side in sides and found == part]
