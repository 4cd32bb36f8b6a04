"""Tokens as text: the bytes of each piece, and the tokens of a word alone."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from lethe.core.errors import StageError

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

Tokens = tuple[int, ...]
BYTE_PIECE = re.compile(r"<0x([0-9A-F]{2})>")


def own_tokens(ids: Sequence[int], spans: Sequence[tuple[int, int]], special: set[int]) -> Tokens:
    """The tokens after a text's first character; () if one reaches across its edge or is a special (unknown) token."""
    own = tuple(token for token, (_, end) in zip(ids, spans, strict=True) if end > 1)
    across = any(start < 1 < end for start, end in spans)
    return () if across or special.intersection(own) else own


def piece_text(tokens: Sequence[int], pieces: Sequence[bytes]) -> str:
    """The text of some tokens; half characters at its ends are left out, and ids of which the tokenizer has none."""
    return b"".join(pieces[token] for token in tokens if token < len(pieces)).decode(errors="ignore")


def piece_bytes(tokenizer: PreTrainedTokenizerBase) -> list[bytes]:
    """What each id adds to the text: a space for the space marker, a line end for a special token.

    Raises StageError if the tokenizer is neither byte-level BPE nor of SentencePiece's kind.
    """
    to_bytes = spelling_of(tokenizer.backend_tokenizer, "tokenizer.json")
    pieces = [to_bytes(piece or "") for piece in tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))]
    for special in tokenizer.all_special_ids:
        pieces[special] = b"\n"
    return pieces


def spelling_of(backend: Tokenizer, where: str) -> Callable[[str], bytes]:
    """How a piece becomes bytes. Raises StageError where that is neither of the two known ways, as with WordPiece."""
    decoder = json.dumps(json.loads(backend.to_str())["decoder"], ensure_ascii=False)
    if '"ByteLevel"' in decoder:
        return byte_level_piece
    if "\u2581" in decoder:
        return sentence_piece
    raise StageError(f"{where}: expected byte-level BPE or SentencePiece's space marker, got neither")


def sentence_piece(piece: str) -> bytes:
    """`▁went` -> b" went", `<0x0A>` -> a line end."""
    byte = BYTE_PIECE.fullmatch(piece)
    return bytes([int(byte[1], 16)]) if byte else piece.replace("\u2581", " ").encode()


def byte_level_piece(piece: str) -> bytes:
    """`Ġwent` -> b" went". An added token outside the byte alphabet is its own text."""
    if all(char in BYTE_OF for char in piece):
        return bytes(BYTE_OF[char] for char in piece)
    return piece.encode()


def byte_alphabet() -> dict[str, int]:
    """GPT-2's printable stand-in for each byte: itself where it has a shape, else the next character from U+0100 on."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {chr(byte): byte for byte in shown} | {chr(0x100 + n): byte for n, byte in enumerate(hidden)}


BYTE_OF = byte_alphabet()
