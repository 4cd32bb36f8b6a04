"""The next tokens that leak a name: first tokens of names that are distinctive of the forget set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from lethe.models.tokenization import cut_blocks

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

DISTINCTIVE = 5.0  # a token is distinctive if it is more than this many times as frequent in the forget set
PIECE = 512  # tokens per block in which a text is counted


def token_counts(tokenizer: PreTrainedTokenizerFast, texts: Iterable[str]) -> Counter[int]:
    """How often each id occurs in the texts; of conversations in what is said, not in the template around it."""
    return Counter(i for text in texts for block in cut_blocks(tokenizer, str(text), PIECE) for i in block.tokens)


def distinctive_tokens(forget: Mapping[int, int], retain: Mapping[int, int]) -> set[int]:
    """The ids whose relative frequency in the forget set is more than DISTINCTIVE times that in the retain set.

    forget, retain: token id -> count. Many names begin with a token that every text uses; these are not distinctive.
    """
    in_forget, in_retain = max(1, sum(forget.values())), max(1, sum(retain.values()))
    return {i for i, count in forget.items() if count / in_forget > DISTINCTIVE * retain.get(i, 0) / in_retain}


def first_tokens(tokenizer: PreTrainedTokenizerFast, names: Collection[str]) -> dict[str, set[int]]:
    """The ids with which each name begins after a space and at the start of a line."""
    starts: dict[str, set[int]] = {name: set() for name in names}
    for before, skipped in (("a ", 1), ("a\n", 2)):  # a space belongs to the name's first token, a line break does not
        for name in names:
            encoding = tokenizer(before + name, add_special_tokens=False, return_offsets_mapping=True)
            spans = encoding["offset_mapping"]
            starts[name].add(next(i for i, (_, end) in zip(encoding["input_ids"], spans, strict=True) if end > skipped))
    return starts


def content_ids(
    starts: Mapping[str, set[int]], names: Iterable[str], given: Collection[str], distinctive: Collection[int]
) -> set[int]:
    """The distinctive first tokens of the names that a prompt lacks, except those that begin a name it contains."""
    new = {i for name in names if name not in given for i in starts[name]}
    return (new & set(distinctive)) - {i for name in given for i in starts[name]}
