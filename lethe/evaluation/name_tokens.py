"""The next tokens that would give a corpus away: how its names begin, where no other text begins a word like that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from lethe.models.tokenization import cut_blocks

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

TELLING = 5.0  # a token tells of the forget side if it is more than this many times as frequent as on the retain side
PIECE = 512  # tokens in which a text is counted


def token_counts(tokenizer: PreTrainedTokenizerFast, texts: Iterable[str]) -> Counter[int]:
    """How often each id occurs in the texts."""
    return Counter(i for text in texts for block in cut_blocks(tokenizer, text, PIECE) for i in block.tokens)


def distinctive_tokens(forget: Mapping[int, int], retain: Mapping[int, int]) -> set[int]:
    """The ids whose relative frequency on the forget side is more than TELLING times that on the retain side.

    forget, retain: token id -> count. Names of one text often begin with a piece that every text uses.
    """
    in_forget, in_retain = max(1, sum(forget.values())), max(1, sum(retain.values()))
    return {i for i, count in forget.items() if count / in_forget > TELLING * retain.get(i, 0) / in_retain}


def first_tokens(tokenizer: PreTrainedTokenizerFast, names: Collection[str]) -> dict[str, set[int]]:
    """The ids with which each name begins after a space and at the start of a line."""
    starts: dict[str, set[int]] = {name: set() for name in names}
    for before, skipped in (("a ", 1), ("a\n", 2)):  # a space belongs to the name's first token, a line end does not
        for name in names:
            encoding = tokenizer(before + name, add_special_tokens=False, return_offsets_mapping=True)
            spans = encoding["offset_mapping"]
            starts[name].add(next(i for i, (_, end) in zip(encoding["input_ids"], spans, strict=True) if end > skipped))
    return starts


def content_ids(
    starts: Mapping[str, set[int]], due: Iterable[str], given: Collection[str], telling: Collection[int]
) -> set[int]:
    """The telling first tokens of the names due that a prompt does not give away; none that begins one it gives."""
    wanted = {i for name in due if name not in given for i in starts[name]}
    return (wanted & set(telling)) - {i for name in given for i in starts[name]}
