"""Text as blocks of tokens, each with its character span."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lethe.core.conversation import Conversation
from lethe.core.errors import StageError
from lethe.models.conversations import rendered, tokenizer_settings

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

PIECE_CHARS = 1 << 20  # tokenized at once; bounds the memory of one call, a longer text is cut at a blank line


class Block(NamedTuple):
    """Token ids, what the tokenizer puts first (BOS) included, unpadded; text[start:end] is what they spell."""

    tokens: list[int]
    start: int
    end: int
    trained: list[bool] | None = None  # of each token, whether it is to be learnt; None: all of them


class Spelled(NamedTuple):
    """The token ids of a text, without what stands first in every block of it."""

    lead: list[int]  # that: BOS, or nothing
    ids: array[int]
    ends: array[int]  # the character of the text where each token ends
    trained: list[bool] | None


def cut_blocks(tokenizer: Tokenizer | PreTrainedTokenizerFast, text: str, block_tokens: int) -> list[Block]:
    """The text in blocks of at most `block_tokens`; only the last may be shorter.

    Every block begins with what the tokenizer puts before a text (BOS, or nothing). The spans tile the text. A
    Conversation is written in the chat template, which needs transformers' tokenizer, and its blocks begin with BOS if
    the template does.
    """
    first, ids, ends, trained = spelled(tokenizer, text)
    room = block_tokens - len(first)
    if room < 1:
        raise ValueError(f"block_tokens {block_tokens} leaves no room after {len(first)} leading tokens")
    if not ids:
        return []
    last_tokens = [min(i + room, len(ids)) - 1 for i in range(0, len(ids), room)]
    spans = _tile([ends[i] for i in last_tokens], len(text))
    blocks = []
    for i, span in zip(range(0, len(ids), room), spans, strict=True):
        learnt = None if trained is None else [False] * len(first) + trained[i : i + room]
        blocks.append(Block([*first, *ids[i : i + room]], *span, learnt))
    return blocks


def spelled(tokenizer: Tokenizer | PreTrainedTokenizerFast, text: str) -> Spelled:
    """The tokens of a text, or of a Conversation in the tokenizer's chat template.

    Raises StageError if the tokenizer has no template that writes the conversation.
    """
    backend: Any = getattr(tokenizer, "backend_tokenizer", tokenizer)
    first = leading_ids(backend)
    if not isinstance(text, Conversation):
        return Spelled(first, *spell(backend, text), None)
    found = rendered(tokenizer, text)  # type: ignore[arg-type]
    encoding = backend.encode(found.text, add_special_tokens=False)
    ids, spans = list(encoding.ids), list(encoding.offsets)
    lead = first if ids[: len(first)] == first else []
    ids, spans = ids[len(lead) :], spans[len(lead) :]
    ends = array("q", (found.ends[end - 1] if end else 0 for _, end in spans))
    if found.trained is None:
        return Spelled(lead, array("i", ids), ends, None)
    learnt = [any(found.trained[start:end]) for start, end in spans]
    return Spelled(lead, array("i", ids), ends, learnt)


def spell(backend: Tokenizer, text: str) -> tuple[array[int], array[int]]:
    """The token ids of a text, without what the tokenizer puts before it, and the character where each token ends."""
    ids, ends = array("i"), array("q")
    for start, piece in _pieces(text):
        encoding = backend.encode(piece, add_special_tokens=False)
        ids.extend(encoding.ids)
        ends.extend(start + end for _, end in encoding.offsets)
    return ids, ends


def backend_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a model folder without transformers around it: the same ids, a hundredth of the import.

    Raises StageError if the folder holds no tokenizer.json.
    """
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    if not path.exists():
        raise StageError(f"{folder}: expected a model folder with its fast tokenizer, got no tokenizer.json")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library has no class of its own for it
        raise StageError(f"{path}: expected a tokenizer, got a file that is none: {error}") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def padding_id(folder: Path) -> int:
    """The id that fills a short block: the tokenizer's padding token, or where it has none its end of text."""
    config = tokenizer_settings(folder)
    tokens = [config.get(f"{name}_token") for name in ("pad", "eos", "unk")]
    named: list[Any] = [token.get("content") if isinstance(token, dict) else token for token in tokens if token]
    if named and not isinstance(named[0], str):
        one = f"{named[0]!r} for one of them"
        raise StageError(f"{folder}/tokenizer_config.json: expected tokens as texts, got {one}")
    found = backend_tokenizer(folder).token_to_id(named[0]) if named else None
    if found is None:
        what = f"{named[0]}, which tokenizer.json lacks" if named else "none of them"
        raise StageError(f"{folder}: expected a tokenizer with a padding, end or unknown token, got {what}")
    return found


def leading_ids(backend: Tokenizer) -> list[int]:
    """What the tokenizer puts before a text: [BOS], or nothing. Raises StageError if it has no token for the text."""
    encoding = backend.encode("a")
    special = encoding.special_tokens_mask
    if 0 not in special:
        raise StageError("tokenizer.json: expected a tokenizer with tokens for the letter a, got none")
    return encoding.ids[: special.index(0)]


def _tile(ends: list[int], length: int) -> list[tuple[int, int]]:
    """Spans that follow one another without a gap; a character split between two blocks belongs to the first."""
    ends[-1] = length
    starts = [0, *ends[:-1]]
    return list(zip(starts, ends, strict=True))


def _pieces(text: str) -> Iterator[tuple[int, str]]:
    """(start, text) of pieces of about PIECE_CHARS, cut before a blank line, else a line end, else a space."""
    start = 0
    while len(text) - start > PIECE_CHARS:
        limit = start + PIECE_CHARS
        cuts = (text.rfind(mark, start + 1, limit) for mark in ("\n\n", "\n", " "))
        cut = next((found for found in cuts if found > start), limit)
        yield start, text[start:cut]
        start = cut
    yield start, text[start:]
