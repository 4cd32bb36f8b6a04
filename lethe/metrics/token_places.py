"""How likely each model finds every token of a few training passages, and where in the text the token stands."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lethe.core.tables import COMPARED
from lethe.models.tokenization import cut_blocks, leading_ids, spell

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from lethe.metrics.collect import Passage, Readout

SHOWN = 3  # passages: the first ones drawn

Span = tuple[int, int]


def token_rows(
    found: Mapping[str, Readout],
    members: Sequence[Passage],
    texts: Sequence[str],
    tokenizer: PreTrainedTokenizerFast,
    block_tokens: int,
) -> list[dict[str, Any]]:
    """Rows of data/tokens.csv: the characters of a token, and its probability under each compared model.

    texts: those that the members were cut from, in blocks of `block_tokens`. A passage's first token has no context and
    no row, unless the tokenizer puts something before it.
    """
    rows = []
    for number, passage in enumerate(members[:SHOWN]):
        text, spans = located(passage, texts, tokenizer, block_tokens)
        chosen = {model: found[model].members[number].chosen.tolist() for model in COMPARED if model in found}
        for index, (start, end) in enumerate(spans):
            likely = {model: f"{math.exp(logs[index]):.4g}" for model, logs in chosen.items()}
            row = {"item": passage.item, "text": text, "start": start, "end": end}
            rows.append(row | dict.fromkeys(COMPARED, "") | likely)
    return rows


def located(
    passage: Passage, texts: Sequence[str], tokenizer: PreTrainedTokenizerFast, block_tokens: int
) -> tuple[int, list[Span]]:
    """The text that a passage was cut from, by its number, and the characters there of each token but the first."""
    first = len(leading_ids(tokenizer.backend_tokenizer))
    for number, text in enumerate(texts):
        if passage.text not in text:
            continue
        for place, block in enumerate(cut_blocks(tokenizer, text, block_tokens)):
            if (text[block.start : block.end], block.tokens) == (passage.text, passage.tokens):
                before = place * (block_tokens - first)
                _, all_ends = spell(tokenizer.backend_tokenizer, text)
                ends = all_ends[before : before + len(block.tokens) - first]
                spans = zip([block.start, *ends[:-1]], ends, strict=True)
                return number, [*[(block.start, block.start)] * first, *spans][1:]
    raise ValueError(f"{passage.item} is a block of none of the texts")
