"""Cuts the training part of the forget side into blocks of tokens that can be traced to their text.

reads   data/corpus.parquet  models/baseline
writes  data/blocks.parquet
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from stages.lib.blocks import backend_tokenizer, context_length, cut_blocks, padding_id
from stages.lib.errors import StageError
from stages.lib.models import tokenizer_sha256
from stages.lib.params import StageParams, read_params
from stages.lib.stage import run, workspace
from stages.lib.tables import blocks_schema, read_parquet, write_parquet

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class Params(StageParams):
    tokens: Annotated[int, Field(gt=1)]  # one token has no next


def main() -> None:
    params = read_params("block", Params)
    with workspace("block") as work:
        folder = Path("models/baseline")
        check_context(params.tokens, context_length(folder), folder)
        tokenizer, pad = backend_tokenizer(folder), padding_id(folder)
        corpus, _ = read_parquet(Path("data/corpus.parquet"), ("document", "side", "part", "text"))
        train = [row for row in corpus.to_pylist() if (row["side"], row["part"]) == ("forget", "train")]
        rows = block_rows(train, tokenizer, params.tokens, pad)
        total = sum(row["length"] for row in rows)
        if total < params.tokens:
            raise StageError(
                f"data/corpus.parquet: corpus shorter than one block: found {total} tokens of forget text to train on, "
                f"wanted at least {params.tokens}; add text or lower block.tokens"
            )
        facts = {"tokenizer": tokenizer_sha256(folder), "block_tokens": str(params.tokens), "pad_token": str(pad)}
        write_parquet(rows, blocks_schema(params.tokens), work / "data/blocks.parquet", **facts)
        print(f"block: {len(rows)} blocks of {params.tokens} tokens from {len(train)} documents, {total} tokens in all")


def check_context(block_tokens: int, context: int | None, folder: Path) -> None:
    """Raise StageError for a block that the model cannot read as a whole; `None` is a model without a limit."""
    if context is not None and block_tokens > context:
        raise StageError(
            f"params.yaml: block.tokens: found {block_tokens}, wanted at most {context}, the context of {folder}"
        )


def block_rows(documents: Sequence[dict[str, Any]], tokenizer: Tokenizer, block_tokens: int, pad: int) -> list[dict]:
    """Rows of blocks_schema: every block of every document, the short last ones padded."""
    cuts = [(row["document"], block) for row in documents for block in cut_blocks(tokenizer, row["text"], block_tokens)]
    return [
        {"block": number, "document": document, "start": block.start, "end": block.end, "length": len(block.tokens)}
        | {"tokens": block.tokens + [pad] * (block_tokens - len(block.tokens))}
        for number, (document, block) in enumerate(cuts)
    ]


if __name__ == "__main__":
    run(main)
