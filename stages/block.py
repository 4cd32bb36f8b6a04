"""Cuts the training text of the forget set into blocks of tokens that can be traced to their source.

reads   data/corpus.parquet  models/baseline
writes  data/blocks.parquet
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import pyarrow as pa
from pydantic import Field

from lethe.core.conversation import TRAINED, has_conversations
from lethe.core.errors import StageError
from lethe.core.hashing import tokenizer_sha256
from lethe.core.params import StageParams, read_params
from lethe.core.stage import run, workspace
from lethe.core.tables import blocks_schema
from lethe.models.config import context_length
from lethe.models.conversations import text_tokenizer
from lethe.models.tokenization import cut_blocks, padding_id
from lethe.text.streaming import parquet_stream, training_texts

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast


class Params(StageParams):
    tokens: Annotated[int, Field(gt=1)]  # a single token has no next token


def main() -> None:
    """Holds one document with its tokens and one row group of blocks, so memory does not grow with the corpus."""
    params = read_params("block", Params)
    with workspace("block") as work:
        folder, corpus = Path("models/baseline"), Path("data/corpus.parquet")
        chats = has_conversations(corpus)
        check_context(params.tokens, context_length(folder), folder)
        tokenizer, pad = text_tokenizer(folder, chats), padding_id(folder)
        facts = {"tokenizer": tokenizer_sha256(folder), "block_tokens": str(params.tokens), "pad_token": str(pad)}
        blocks = documents = total = 0
        with parquet_stream(blocks_schema(params.tokens, chats), work / "data/blocks.parquet", **facts) as append:
            for document, text in training_texts(corpus, "forget"):
                table = block_table(document, text, blocks, tokenizer, params.tokens, pad, chats)
                append(table)
                blocks, documents = blocks + len(table), documents + 1
                total += int(table["length"].to_numpy().sum())
        if total < params.tokens:
            raise StageError(
                f"data/corpus.parquet: corpus shorter than one block: expected at least {params.tokens} tokens of "
                f"forget text to train on, got {total}; add text or lower block.tokens"
            )
        print(f"block: {blocks} blocks of {params.tokens} tokens from {documents} documents, {total} tokens in all")


def check_context(block_tokens: int, context: int | None, folder: Path) -> None:
    """Raise StageError if a block exceeds the model's context; `None` is a model without a limit."""
    if context is not None and block_tokens > context:
        raise StageError(
            f"params.yaml: block.tokens: expected at most {context}, the context of {folder}, got {block_tokens}"
        )


def block_table(
    document: int,
    text: str,
    first: int,
    tokenizer: Tokenizer | PreTrainedTokenizerFast,
    block_tokens: int,
    pad: int,
    chats: bool = False,
) -> pa.Table:
    """One document's blocks, numbered from `first`, under blocks_schema; the short last one is padded."""
    found = cut_blocks(tokenizer, text, block_tokens)
    tokens = np.full((len(found), block_tokens), pad, np.int32)
    for row, block in zip(tokens, found, strict=True):
        row[: len(block.tokens)] = block.tokens
    columns = {
        "block": np.arange(first, first + len(found), dtype=np.int32),
        "document": np.full(len(found), document, np.int32),
        "start": np.array([block.start for block in found], np.int64),
        "end": np.array([block.end for block in found], np.int64),
        "length": np.array([len(block.tokens) for block in found], np.int32),
        "tokens": pa.FixedSizeListArray.from_arrays(pa.array(tokens.reshape(-1)), block_tokens),
    }
    if chats:
        learnt = np.zeros((len(found), block_tokens), bool)
        for row, block in zip(learnt, found, strict=True):
            row[:] = block.trained is None  # the padding of plain text too: then nothing is masked for it
            row[: len(block.tokens)] |= block.trained or False
        columns[TRAINED] = pa.FixedSizeListArray.from_arrays(pa.array(learnt.reshape(-1)), block_tokens)
    return pa.table(columns, blocks_schema(block_tokens, chats))


if __name__ == "__main__":
    run(main)
